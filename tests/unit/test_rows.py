"""Tables on disk: any rows in any order, whatever pieces the table has."""

import errno
import gc
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jmed import rows
from jmed.errors import UserError
from jmed.rows import Rows, gather, read, take

SCHEMA = pa.schema([("text", pa.string()), ("list", pa.list_(pa.string())), ("number", pa.int64())])


def values(first: int, count: int) -> list[dict[str, object]]:
    return [
        {"text": f"text {n}" if n % 3 else None, "list": [str(n)] * (n % 4), "number": n}
        for n in range(first, first + count)
    ]


def spooled(sizes: list[int]) -> tuple[pa.Table, list[dict[str, object]]]:
    """A table written in pieces of these sizes, and its rows."""
    written, everything = Rows(SCHEMA), list[dict[str, object]]()
    for size in sizes:
        piece = values(len(everything), size)
        written.append(pa.RecordBatch.from_pylist(piece, SCHEMA))
        everything += piece
    return written.table(), everything


def rows_of(pieces: Iterable[tuple[pa.Table, ...]]) -> list[dict[str, object]]:
    return [row for (piece,) in pieces for row in piece.to_pylist()]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(1, 4), st.data())
def test_any_rows_in_any_order(sizes: list[int], at_once: int, data: st.DataObject) -> None:
    table, everything = spooled(sizes)
    assert table.to_pylist() == everything
    order = data.draw(st.lists(st.sampled_from(range(len(everything))), max_size=12)) if everything else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "TAKEN", at_once)
        patch.setattr(rows, "READ", 2)
        assert rows_of(read(order, table)) == [everything[place] for place in order]
        assert rows_of(read(range(len(everything)), table)) == everything
        assert all(len(taken) <= at_once for (taken,) in take(order, table))
        for one, other in read(order, table, table.select(["list"])):
            assert one["list"].equals(other["list"])
    if everything:
        assert gather(table.to_batches(), order).to_pylist() == [everything[place] for place in order]


def test_long_rows_are_taken_in_small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"text": ["x" * 1_000] * 100})
    monkeypatch.setattr(rows, "TAKEN_BYTES", 10_100)
    short = pa.table({"number": range(100)})
    assert [(len(one), len(other)) for one, other in take(list(range(100)), short, table)] == [(10, 10)] * 10


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    table, everything = spooled([3, 4])
    assert table.to_pylist() == everything
    del table
    gc.collect()
    assert not any(tmp_path.iterdir())


def test_a_full_disk_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        closed = False

        def write(self, packed: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def flush(self) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr(rows.tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(UserError, match="TMPDIR"):
        Rows(SCHEMA).append(pa.RecordBatch.from_pylist(values(0, 3), SCHEMA))
