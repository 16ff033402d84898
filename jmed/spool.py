"""A list of which memory holds only the beginning: benchmarks of a million questions fit beside a model."""

import errno
import mmap
import os
import pickle
import tempfile
from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, overload

from jmed.errors import UserError

T = TypeVar("T")

IN_MEMORY = 20_000  # items; any more are on disk
BUFFER = 1 << 20  # bytes


class Lazy(Sequence[T]):
    """A sequence whose items are made when they are asked for; `_at` makes one, at a place from 0."""

    @abstractmethod
    def _at(self, place: int) -> T: ...

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        places = range(len(self))[place]  # IndexError as of a list
        return self._at(places) if isinstance(places, int) else list(self.read(places))

    def __iter__(self) -> Iterator[T]:
        return self.read(range(len(self)))

    def read(self, places: Sequence[int]) -> Iterator[T]:
        """Those at these places, each from 0; overridden where several at once are cheaper."""
        return map(self._at, places)


class Spool(Lazy[T]):
    """Items in the order in which they were added; those behind the first IN_MEMORY in a file without a name.

    It lies in the system's folder for temporary files (TMPDIR), and is gone with the process. Only this process reads
    what it pickled itself.
    """

    def __init__(self, items: Iterable[T] = (), in_memory: int = IN_MEMORY) -> None:
        self._held: list[T] = []
        self._in_memory = in_memory
        self._file: Any = None
        self._starts = array("q")  # of the items on disk: where they begin
        self._end = 0
        self._unwritten = False
        self._pages: Any = b""  # the file as memory that the system reads in and drops by itself
        for item in items:
            self.append(item)

    def append(self, item: T) -> None:
        """Add an item; UserError if the disk takes no more."""
        if len(self._held) < self._in_memory:
            self._held.append(item)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=BUFFER)  # noqa: SIM115 (gone with its last reference)
        packed = pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
        with disk_of_temporary_files():
            self._file.write(packed)
        self._starts.append(self._end)
        self._end += len(packed)
        self._unwritten = True

    def __len__(self) -> int:
        return len(self._held) + len(self._starts)

    def _at(self, place: int) -> T:
        if place < len(self._held):
            return self._held[place]
        number = place - len(self._held)
        start = self._starts[number]
        end = self._starts[number + 1] if number + 1 < len(self._starts) else self._end
        if self._unwritten:
            self._write()
        return pickle.loads(self._pages[start:end])

    def _write(self) -> None:
        """What is still in the buffer; then all can be read."""
        with disk_of_temporary_files():
            self._file.flush()
            self._pages = memoryview(mmap.mmap(self._file.fileno(), self._end, access=mmap.ACCESS_READ))
        self._unwritten = False


class View(Lazy[T]):
    """Another order of a sequence, or some of it."""

    def __init__(self, items: Sequence[T], order: Sequence[int]) -> None:
        """`order`: the places, an array of numbers that takes four bytes an item."""
        self._items, self.order = items, order

    def __len__(self) -> int:
        return len(self.order)

    def _at(self, place: int) -> T:
        return self._items[self.order[place]]

    def read(self, places: Sequence[int]) -> Iterator[T]:
        there = array("i", map(self.order.__getitem__, places))
        return self._items.read(there) if isinstance(self._items, Lazy) else map(self._items.__getitem__, there)


@contextmanager
def disk_of_temporary_files() -> Iterator[None]:
    """UserError for a disk that takes no more."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"{tempfile.gettempdir()}: {os.strerror(error.errno)}; very many questions need room for temporary files, "
            "about 3 GB a million: make room, or name another folder with the environment variable TMPDIR"
        ) from None
