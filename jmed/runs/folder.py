"""The run folder: new, unfinished, finished or foreign; what is in it is always whole."""

import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from pydantic import BaseModel

from jmed import __version__
from jmed.errors import UserError
from jmed.runs.files import full_disk, write_text

FORMAT = 1  # of the run folder; raised when an older folder can no longer be continued
SHOWN = 4  # so many differences are named when a folder is refused
PACKAGES = (
    "torch", "transformers", "tokenizers", "peft", "bitsandbytes", "deepspeed", "ray", "pyarrow", "scipy",
)  # fmt: skip


class RunFolder:
    """An output folder and the identity (everything that decides the answers) of the run that wants it."""

    def __init__(self, path: Path, identity: dict[str, Any], results: Sequence[str], more: Sequence[str] = ()) -> None:
        """Once all `results` (files or folders) are there, the run is finished; `more` is what it writes beside them.

        A folder that holds any of them but no run.yaml is somebody else's.
        """
        self.path = path
        # As YAML gives it back, so that it equals what was written.
        self.identity = yaml.safe_load(yaml.safe_dump({"format": FORMAT, **identity}, allow_unicode=True))
        self.results, self.written = tuple(results), (*results, *more)
        self.work = path / "unfinished"  # what only a run that has not ended needs; removed when it has

    @property
    def finished(self) -> bool:
        return all((self.path / name).exists() for name in self.results)

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the folder for this run: it must be writable, ours, and in nobody else's hands."""
        try:
            if self.path.is_dir():
                self._refuse_foreign()  # before the lock leaves a file there
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"output_dir: another job is writing {self.path} now; wait for it, or give another folder"
            ) from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            why = getattr(error, "strerror", None) or error
            raise UserError(f"output_dir: {self.path} cannot be written ({why}); give another folder") from None
        try:
            self._refuse_foreign()
            yield
        except OSError as error:
            raise full_disk(error, "what was done so far is kept") or error from None
        finally:
            lock.release()
            self._leave_nothing()

    def _leave_nothing(self) -> None:
        """Take back what a run made that was refused before it began."""
        if (self.path / "run.yaml").is_file():
            return
        shutil.rmtree(self.work, ignore_errors=True)
        if [file.name for file in self.path.iterdir()] == [".lock"]:
            (self.path / ".lock").unlink(missing_ok=True)
            self.path.rmdir()

    def _refuse_foreign(self) -> None:
        file = self.path / "run.yaml"
        if not file.exists():
            if found := [name for name in self.written if (self.path / name).exists()]:
                raise UserError(f"output_dir: {self.path} holds {found[0]} but no run.yaml; give another folder")
            return
        try:
            there = yaml.safe_load(file.read_text("utf-8"))["identity"]
        except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError):
            there = None
        if not isinstance(there, dict):
            raise UserError(f"output_dir: {file} was not written by jmed; give another folder")
        if there != self.identity:
            differences = list(_differences(there, self.identity))
            more = f"; and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
            raise UserError(
                f"output_dir: {self.path} belongs to a run with another configuration "
                f"({'; '.join(differences[:SHOWN])}{more}); give another folder, or the configuration of that run"
            )

    def begin(self, config: BaseModel, details: dict[str, Any]) -> None:
        """Write run.yaml: resolved configuration, identity with data and model hashes, versions, machine."""
        if (self.path / "run.yaml").is_file():
            return
        record = {
            "configuration": config.model_dump(mode="json"),
            "identity": self.identity,
            **details,
            "versions": {"jmed": __version__, "python": platform.python_version(), **versions()},
            "machine": {"system": platform.platform(), "processor": _processor()},
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_text(yaml.safe_dump(record, allow_unicode=True, sort_keys=False), self.path / "run.yaml")


def _differences(there: Any, here: Any, key: str = "") -> Iterator[str]:
    """`method: letters there, options here`, for every leaf that differs."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in sorted(there.keys() | here.keys()):
            yield from _differences(there.get(name), here.get(name), f"{key}.{name}" if key else name)
    elif there != here:
        yield f"{key}: {there} there, {here} here"


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
