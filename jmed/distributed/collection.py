"""When Python looks for unused cycles of objects: seldom or never, where many objects come to stay."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = 100_000  # new objects until Python looks; its own 700 cost a tenth of the planning of very many questions


def collect_seldom() -> None:
    """From now on, in this process."""
    gc.set_threshold(SELDOM)


@contextmanager
def without_collection() -> Iterator[None]:
    """While torch and transformers are imported, a sixth of whose time it takes (5.0 s, 4.2 without); afterwards cycles
    that hold tensors are found as soon as ever."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
