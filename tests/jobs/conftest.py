"""One local Ray for all job tests, and the models that they examine."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from jmed.models.tiny import build_tiny_model
from tests.conftest import ROOT
from tests.jobs.cluster import LocalCluster, free_port
from tests.jobs.models import build_tiny, training_lines

os.environ["RAY_AUTH_MODE"] = "disabled"
# As in an activated environment: a submitted job's `python` is looked up in the PATH that Ray was started with.
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@dataclass(frozen=True)
class LocalRay:
    address: str  # for RAY_ADDRESS
    dashboard: str  # for ray job submit


@pytest.fixture(scope="package")
def local_ray() -> Iterator[LocalRay]:
    """A Ray with two CPUs, its own temporary folder, gone after the tests of this folder: idle, too, it costs time."""
    import ray

    folder = tempfile.mkdtemp(prefix="jmed-ray-")  # short: Ray puts sockets there, whose paths have a limit
    context = ray.init(
        num_cpus=2,
        include_dashboard=True,
        dashboard_port=free_port(),
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=256 * 1024**2,
        _temp_dir=folder,
    )
    address = context.address_info["address"]
    # `ray start` writes this file, `ray.init` does not. Without it, a submitted job on a machine with another Ray joins
    # either of them (Ray 2.60, `get_ray_address_from_environment`).
    Path(folder, "ray_current_cluster").write_text(address)
    yield LocalRay(address, f"http://{context.dashboard_url}")
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def cluster() -> Iterator[LocalCluster]:
    """A head and two nodes with one CPU each and a token; the second node calls itself a small GPU."""
    with LocalCluster() as started:
        started.start_head()
        started.add_node()
        started.add_node(labels="jmed-gpu=l4,jmed-batch-tokens=500")
        yield started


@pytest.fixture(scope="package")
def ray_address(local_ray: LocalRay) -> str:
    return local_ray.address


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's model: random weights, a tokenizer trained on the questions of `mini`."""
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def training_questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The questions of `mini` as training data."""
    file = tmp_path_factory.mktemp("data") / "questions.jsonl"
    file.write_text(training_lines(), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def qwen2_model(tmp_path_factory: pytest.TempPathFactory, qwen2_tokenizer: Path) -> Path:
    """Qwen2's shape and real tokenizer, random weights."""
    tokenizer = AutoTokenizer.from_pretrained(qwen2_tokenizer, local_files_only=True)
    return build_tiny_model(tmp_path_factory.mktemp("qwen2"), tokenizer)


def job_command(job: str, *arguments: str) -> list[str]:
    return [sys.executable, f"jobs/{job}.py", *arguments]


def run_job(job: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A job as its user starts it."""
    return subprocess.run(
        job_command(job, *arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env={**os.environ, **environment},
    )
