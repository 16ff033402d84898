"""What all tests share: the real benchmark files and tokenizer, which lie beside the project and never in it."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several processes (`--dist loadgroup`): all jobs in one, begun first; the browser too has one for itself."""
    items.sort(key=lambda item: item.path.parent.name != "jobs")
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(item.path.stem if folder == "unit" else folder))


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
