"""The list on disk is a list."""

import errno
import gc
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jmed import spool
from jmed.errors import UserError
from jmed.spool import Spool, View


@given(st.lists(st.text()), st.integers(0, 4), st.integers(-6, 6), st.slices(8))
def test_it_is_a_list(items: list[str], in_memory: int, place: int, part: slice) -> None:
    spooled = Spool(items, in_memory)
    assert len(spooled) == len(items)
    assert list(spooled) == items
    assert spooled[part] == items[part]
    if -len(items) <= place < len(items):
        assert spooled[place] == items[place]
    else:
        with pytest.raises(IndexError):
            spooled[place]


@given(st.lists(st.one_of(st.integers(), st.none()), max_size=30))
def test_reading_between_writing_changes_nothing(steps: list[int | None]) -> None:
    """Numbers are added, at None everything is read."""
    spooled, expected = Spool[int](in_memory=2), list[int]()
    for step in steps:
        if step is None:
            assert list(spooled) == expected
        else:
            spooled.append(step)
            expected.append(step)
    assert list(spooled) == expected


@given(st.lists(st.text(), min_size=1), st.data())
def test_a_view_is_another_order(items: list[str], data: st.DataObject) -> None:
    order = data.draw(st.lists(st.integers(0, len(items) - 1)))
    view = View(Spool(items, 1), order)
    assert list(view) == [items[place] for place in order] == view[:]
    assert [view[place] for place in range(len(view))] == list(view)


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spooled = Spool(range(100), 10)
    assert spooled[99] == 99
    del spooled
    gc.collect()
    assert not any(tmp_path.iterdir())


def test_a_full_disk_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def seek(self, place: int) -> None: ...

        def write(self, packed: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(spool.tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(UserError, match="TMPDIR"):
        Spool("ab", 1)
