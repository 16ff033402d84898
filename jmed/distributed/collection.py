"""How often Python looks for unused cycles of objects: seldom, where many objects come to stay."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# New objects until Python looks. With its own 700, a sixth of the time in which torch and transformers are imported is
# spent on looking, and a tenth of that of planning very many questions; little is found.
SELDOM = 100_000


def collect_seldom() -> None:
    """From now on, in this process."""
    gc.set_threshold(SELDOM)


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """For as long as something is imported; afterwards cycles that hold tensors are found as soon as ever."""
    before = gc.get_threshold()
    collect_seldom()
    try:
        yield
    finally:
        gc.set_threshold(*before)
