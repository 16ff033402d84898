"""What all tests share: the real benchmark files and tokenizer, which lie beside the project and never in it."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

settings.register_profile("jmed", deadline=None)  # how long an example takes is no property, and machines differ
settings.load_profile("jmed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The jobs, which take longest, begin first; those that need the shared cluster come after the others on clusters,
    which it would slow down: from its first test on it runs to the end."""
    items.sort(key=lambda item: ("jobs" not in item.path.parts, "cluster" in getattr(item, "fixturenames", ())))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With several processes (`--dist loadscope`): all jobs in one, those on clusters of their own in one, the browser
    in one, beside them file after file."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFolder(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return file if file.startswith("tests/unit/") else file.rpartition("/")[0]

    return ByFolder(config, log)


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """What a job that runs inside a test's process sets (offline: proxies that are not there) ends with the test."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def seconds_of_children() -> float:
    """Of the processor, by all processes that this one started and that have ended: the machine may be busy."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _shared(part: str) -> Path:
    path = SHARED / part
    if not path.exists():
        pytest.skip(f"needs the real files at ../shared/{part}, which are not part of the project")
    return path


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Real benchmark files in their publishers' layout."""
    return _shared("data")


@pytest.fixture(scope="session")
def qwen2_tokenizer() -> Path:
    """Folder of the real Qwen2 tokenizer."""
    return _shared("tokenizers/qwen2")


@pytest.fixture(scope="session")
def paper_prompts() -> Path:
    """The paper's prompt templates, as data."""
    return _shared("prompts/paper.yaml")
