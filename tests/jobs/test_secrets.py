"""What the environment holds in secret stands in nothing that a job writes: run folder, output, Ray's own logs."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.conftest import run_job
from tests.jobs.test_bad_input import QUESTION, flags, jsonl

NAMES = (
    "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN",
    "RAY_REDIS_PASSWORD", "OPENAI_API_KEY", "WANDB_API_KEY", "DB_PASSWORD", "HTTPS_PROXY", "PIP_INDEX_URL",
)  # fmt: skip
CANARY = "canary7c1f"
SECRETS = {name: f"{CANARY}{name.lower().replace('_', '')}" for name in NAMES}
SECRETS |= {name: f"http://user:{SECRETS[name]}@proxy.invalid:3128" for name in ("HTTPS_PROXY", "PIP_INDEX_URL")}
CLEAR = "carried7c1f"  # no secret: it must be found, or the search is none


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="jmed-") as folder:  # short: Ray puts sockets there
        yield Path(folder)


def found(word: str, *folders: Path) -> list[str]:
    """The files that hold a word, as text in UTF-8 or UTF-16, or in their names."""
    wanted = re.compile(b"|".join(map(re.escape, (word.encode(), word.encode("utf-16-le")))))
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(file) for file in files if word in file.name or wanted.search(file.read_bytes())]


def run(job: str, ray_folder: Path, **keys: Any) -> subprocess.CompletedProcess[str]:
    """A job with its own Ray, which wants the token of the environment."""
    environment = {**SECRETS, "RAY_AUTH_MODE": "token", "RAY_ADDRESS": "", "RAY_TMPDIR": str(ray_folder)}
    return run_job(job, *flags(**keys), **environment)


def check(done: subprocess.CompletedProcess[str], status: int, *folders: Path) -> None:
    assert done.returncode == status, done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert found(CANARY, *folders) == []


def test_an_evaluation_and_its_ray_keep_secrets(tiny_model: Path, tmp_path: Path, ray_folder: Path) -> None:
    data = jsonl(tmp_path / f"{CLEAR}.jsonl", QUESTION)
    output = tmp_path / "out"
    done = run(
        "evaluate", ray_folder, model__path=tiny_model, benchmarks=[f"jsonl:{data}"], languages=["en"],
        method="letters", output_dir=output,
    )  # fmt: skip
    check(done, 0, output, ray_folder)
    assert found(CLEAR, output)
    assert len(list(ray_folder.rglob("session_*/logs/*"))) > 3


def test_a_training_and_its_ray_keep_secrets(tiny_model: Path, tmp_path: Path, ray_folder: Path) -> None:
    data = jsonl(tmp_path / f"{CLEAR}.jsonl", *({"instruction": f"Say {n}.", "output": f"{n}"} for n in range(4)))
    output = tmp_path / "out"
    done = run(
        "finetune", ray_folder, model__path=tiny_model, stage="instruct", tuning="lora", steps=1, output_dir=output,
        data=[{"path": str(data), "format": "alpaca"}], global_batch_size=2, sequence_length=128,
        workers__count=1,
    )  # fmt: skip
    check(done, 0, output, ray_folder)
    assert found(CLEAR, output)


def test_jobs_that_fail_keep_secrets(tmp_path: Path, ray_folder: Path) -> None:
    """A message for the user, and a traceback."""
    questions = jsonl(tmp_path / "own.jsonl", QUESTION)
    keys = {"benchmark": f"jsonl:{questions}", "language": "en", "output_dir": tmp_path / "out"}
    check(run("score", ray_folder, predictions=tmp_path / "absent", **keys), 2, tmp_path)
    answers = jsonl(tmp_path / "answers.jsonl", {"question_id": "q1", "prediction": "a"})
    check(run("score", ray_folder, predictions=answers, **keys), 0, tmp_path)
    (tmp_path / "out" / "results.json").write_text("{")
    done = run("score", ray_folder, predictions=answers, **keys)
    assert "Traceback" in done.stderr
    check(done, 1, tmp_path)
