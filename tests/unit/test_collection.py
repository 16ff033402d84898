"""How often Python looks for unused cycles."""

import gc

import pytest

from jmed.distributed.collection import SELDOM, collecting_seldom


def test_python_looks_seldom_and_then_as_before() -> None:
    before = gc.get_threshold()
    with collecting_seldom():
        assert gc.get_threshold()[0] == SELDOM
    assert gc.get_threshold() == before


def test_python_looks_as_before_where_an_import_failed() -> None:
    before = gc.get_threshold()
    with pytest.raises(ImportError), collecting_seldom():
        __import__("jmed.there_is_no_such_module")
    assert gc.get_threshold() == before
