"""Rows of a table on disk: of a million questions, memory holds neither prompts nor answers."""

import mmap
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from jmed.spool import BUFFER, disk_of_temporary_files

TAKEN = 10_000  # rows that are taken at once: each time Arrow looks at every piece of the table
READ = 1_000  # that are Python's objects at once, which then stay in the processor's cache


class Rows:
    """A table that is written piece by piece into a file without a name, as `spool.Spool` keeps its items."""

    def __init__(self, schema: pa.Schema) -> None:
        self._file = tempfile.TemporaryFile(buffering=BUFFER)  # noqa: SIM115 (gone with its last reference)
        self._writer = pa.ipc.new_stream(self._file, schema)

    def append(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Some thousand rows at once: many small pieces make a table slow. UserError if the disk takes no more."""
        with disk_of_temporary_files():
            self._writer.write(rows)

    def table(self) -> pa.Table:
        """All rows, as memory that the system reads in and drops by itself; none can be added any more."""
        with disk_of_temporary_files():
            self._writer.close()
            self._file.flush()
        return pa.ipc.open_stream(pa.py_buffer(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))).read_all()


def take(table: pa.Table, places: Sequence[int]) -> Iterator[pa.Table]:
    """The rows at these places, in this order, TAKEN at a time, each time in one piece."""
    for start in range(0, len(places), TAKEN):
        some = places[start : start + TAKEN]
        if isinstance(some, range) and some.step == 1:
            yield table.slice(some.start, len(some)).combine_chunks()
        else:
            yield table.take(pa.array(some, pa.int64())).combine_chunks()


def read(table: pa.Table, places: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The same rows one by one."""
    for taken in take(table, places):
        for start in range(0, len(taken), READ):
            yield from taken.slice(start, READ).to_pylist()
