"""What workers died over: a mark on disk while something is tried, which stays if the process dies meanwhile."""

import os
import shutil
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path


class Attempts:
    """Marks of what is being tried now, and of what was being tried when a worker died, by any worker of a run.

    A mark needs no clock and no word from Ray: it also counts what the kernel killed for memory, and a lost node. The
    marks of one thing are numbered, so that finding them costs no look at those of a thousand other workers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """By the driver, before its workers start: workers of an earlier driver died with it, not over a question."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    @contextmanager
    def trying(self, name: str) -> Iterator[None]:
        """Hold a mark; it goes away at the end, also after an error, and stays if the process is killed."""
        mark = self._mark(name)
        try:
            yield
        finally:
            mark.unlink(missing_ok=True)

    def _mark(self, name: str) -> Path:
        """The first free number; who tries it is written into the file."""
        for number in count():
            mark = self.folder / f"{name}.{number}"
            try:
                with mark.open("x", encoding="utf-8") as stream:
                    stream.write(f"{socket.gethostname()} {os.getpid()}\n")
                return mark
            except FileExistsError:
                continue
        raise AssertionError

    def deaths(self, name: str) -> int:
        """So often it was tried and never ended. (A worker that still runs, cut off from Ray, counts as dead.)"""
        return next(number for number in count() if not (self.folder / f"{name}.{number}").exists())

    def all_deaths(self) -> Counter[str]:
        return Counter(mark.name.partition(".")[0] for mark in self.folder.iterdir())

    def forget(self, name: str) -> None:
        for mark in self.folder.glob(f"{name}.*"):
            mark.unlink(missing_ok=True)
