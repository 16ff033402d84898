"""Whose turn it is: a driver that was started again must not be disturbed by workers of the one before."""

import uuid
from dataclasses import dataclass
from pathlib import Path

from jmed.runs.files import write_text


@dataclass(frozen=True)
class Fence:
    """The newest attempt's mark in the run folder; workers of an older one stop at it."""

    path: Path
    mark: str

    @classmethod
    def new(cls, path: Path) -> "Fence":
        """Begin an attempt; all others are over."""
        fence = cls(path, uuid.uuid4().hex)
        write_text(fence.mark, path)
        return fence

    def check(self) -> None:
        """Before anything is written."""
        if self.path.read_text("utf-8") != self.mark:
            raise RuntimeError("another start of this job has taken over its folder; this one stops")
