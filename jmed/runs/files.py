"""Files that appear whole or not at all."""

import errno
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jmed.errors import UserError
from jmed.runs.again import again

PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.ENOENT)  # of network file systems
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # that only the user can mend
PAUSES = (1, 5, 25)  # seconds
GROUP, TOGETHER = 10_000, 10  # rows of a row group, and tables that are written at once


def write_table(tables: Iterable[pa.Table], schema: pa.Schema, path: Path, **options: Any) -> None:
    """Write the rows of these tables, of some thousand each, as Parquet, GROUP of them a row group at most; the file
    appears whole or not at all. `options`: of ParquetWriter."""
    with whole(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd", **options) as writer:
        waiting = iter(tables)
        while group := list(islice(waiting, TOGETHER)):
            writer.write_table(pa.concat_tables(group), GROUP)


def write_batches(batches: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    """Write tables into an Arrow file, each a record batch that can be read alone, also among very many; the file
    appears whole or not at all. (Parquet keeps a kilobyte of every column of a row group in memory.)"""
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with whole(path) as temporary, pa.ipc.new_file(temporary, schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(*batch.combine_chunks().to_batches())


def write_text(text: str, path: Path) -> None:
    """Write a text file whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def full_disk(error: OSError, kept: str) -> UserError | None:
    """What to tell the user if the disk of the results takes nothing more; `kept`: what is safe."""
    if error.errno not in FULL:
        return None
    return UserError(
        f"output_dir: {os.strerror(error.errno)}; {kept}. Make room or mend the disk, then the same command continues"
    )


def persistently(write: Callable[[], None]) -> None:
    """Write again after an error of a storage path that may pass by; a disk that is full stays so."""
    again(write, PAUSES, lambda error: isinstance(error, OSError) and error.errno in PASSING)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file beside `path` to write into; it takes its place when all is on disk, and goes away if writing fails."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # of its own even if two machines write it
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
