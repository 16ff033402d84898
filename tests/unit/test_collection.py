"""When Python looks for unused cycles."""

import gc

import pytest

from jmed.distributed.collection import without_collection


def test_python_does_not_look_and_then_does_again() -> None:
    assert gc.isenabled()
    with without_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_python_looks_again_where_an_import_failed() -> None:
    with pytest.raises(ImportError), without_collection():
        __import__("jmed.there_is_no_such_module")
    assert gc.isenabled()


def test_who_does_not_look_anyway_is_left_alone() -> None:
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
