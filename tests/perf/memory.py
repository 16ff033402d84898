"""The memory that a process holds itself, while something is done."""

import ctypes
import re
import threading
from pathlib import Path
from types import TracebackType
from typing import Self


def own_memory() -> int:
    """Bytes of this process alone; files that are mapped into it, which the system may drop, aside."""
    return status("RssAnon")


def status(name: str) -> int:
    """Bytes of a line of this process's /proc/self/status."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text("utf-8"), re.MULTILINE)
    assert found
    return 1024 * int(found[1])


class Peak:
    """The most memory while the body runs, looked at every few milliseconds."""

    def __init__(self, seconds: float = 0.005) -> None:
        self.seconds, self.ended = seconds, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        self.before = self.most = own_memory()
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ended.set()
        self.thread.join()

    @property
    def growth(self) -> int:
        """Bytes above what there was before."""
        return self.most - self.before

    def _watch(self) -> None:
        while not self.ended.wait(self.seconds):
            self.most = max(self.most, own_memory())
