"""Rows of a table on disk: of a million questions, memory holds neither prompts nor answers."""

import mmap
import tempfile
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from jmed.spool import BUFFER, disk_of_temporary_files

# Rows taken at once, and their bytes if all were equally long: each time every piece of the table is looked at.
TAKEN, TAKEN_BYTES = 10_000, 64 * 1024**2
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


def take(places: Sequence[int], *tables: pa.Table) -> Iterator[tuple[pa.Table, ...]]:
    """The rows at these places, in this order, some at a time; of tables that are equally long, the same of each."""
    batches = [table.to_batches() for table in tables]
    count = min(max(1, TAKEN_BYTES * len(table) // max(1, table.nbytes)) for table in tables)
    for start in range(0, len(places), min(TAKEN, count)):
        some = places[start : start + min(TAKEN, count)]
        if isinstance(some, range) and some.step == 1:
            yield tuple(table.slice(some.start, len(some)) for table in tables)
        else:
            yield tuple(gather(pieces, some) for pieces in batches)


def gather(batches: Iterable[pa.RecordBatch], places: Sequence[int]) -> pa.Table:
    """The rows at these places, in this order, of batches that follow one another; at least one batch.

    Batch by batch: of several pieces Arrow's own `take` first makes one, which takes the memory of all, and of texts
    of more than 2 GiB there is none.
    """
    wanted = np.asarray(places, dtype=np.int64)
    order = np.argsort(wanted, kind="stable")
    ascending = wanted[order]
    pieces, start = list[pa.RecordBatch](), 0
    for batch in batches:
        first, last = np.searchsorted(ascending, [start, start + len(batch)])
        if first < last or not pieces:
            pieces.append(batch.take(pa.array(ascending[first:last] - start)))
        start += len(batch)
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    return pa.Table.from_batches(pieces).combine_chunks().take(pa.array(back))


def read(places: Sequence[int], *tables: pa.Table) -> Iterator[tuple[pa.Table, ...]]:
    """The same rows, as few at a time as may well be Python's objects."""
    for taken in take(places, *tables):
        for start in range(0, len(taken[0]), READ):
            yield tuple(table.slice(start, READ) for table in taken)
