"""Checkpoints: written by all workers, whole or not at all, so that the last one can always be loaded."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from jmed.errors import UserError
from jmed.training.backend import Backend
from jmed.training.files import STATE
from jmed.training.group import agree

KEPT = 2  # checkpoints; the one before the last stays in case a disk loses the last


class Checkpoints:
    """The folder `step-000120/` of each checkpoint; its state.json says which steps it holds."""

    def __init__(self, folder: Path, backend: Backend) -> None:
        self.folder, self.backend = folder, backend

    def latest(self) -> Path | None:
        return max(self._whole(), default=None)

    def restore(self) -> int:
        """Load the newest checkpoint; returns its step, 0 if there is none. Every worker must see the same one."""
        newest = self.latest()
        names = agree(None if newest else "none")
        if newest is None or names:
            return 0
        self.backend.load(newest)
        return int(json.loads((newest / STATE).read_text("utf-8"))["step"])

    def save(self, step: int) -> None:
        """Commit a checkpoint after `step`; a UserError on every worker if one of them cannot write."""
        final = self.folder / f"step-{step:08d}"
        write_together(self.backend, final, self.backend.save, {"step": step})
        if self.backend.rank == 0:
            for old in self._whole()[:-KEPT]:
                shutil.rmtree(old, ignore_errors=True)

    def _whole(self) -> list[Path]:
        return sorted(path.parent for path in self.folder.glob(f"step-*/{STATE}"))


def write_together(backend: Backend, final: Path, write: Callable[[Path], None], state: dict[str, object]) -> None:
    """All workers `write` into a folder, which takes the place of `final` once every part is on disk."""
    part = final.with_name(f".{final.name}.part")
    _all(backend, lambda: _fresh(part), first_only=True)
    _all(backend, lambda: write(part), first_only=False)
    _all(backend, lambda: _commit(part, final, state), first_only=True)


def _all(backend: Backend, action: Callable[[], None], first_only: bool) -> None:
    """Run on all workers or the first, then go on together or stop together."""
    error = None
    if backend.rank == 0 or not first_only:
        try:
            action()
        except (OSError, RuntimeError, SafetensorError) as failure:  # torch raises RuntimeError for a full disk
            error = f"{type(failure).__name__}: {failure}"
    if error := agree(error):
        raise UserError(
            f"output_dir: a checkpoint could not be written ({error.splitlines()[0]}); the last good one is kept. "
            "Make room or mend the disk, then the same command continues"
        )


def _fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _commit(part: Path, final: Path, state: dict[str, object]) -> None:
    for file in [path for path in part.rglob("*") if path.is_file()]:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    with (part / STATE).open("w", encoding="utf-8") as stream:
        json.dump(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    shutil.rmtree(final, ignore_errors=True)
    part.rename(final)
