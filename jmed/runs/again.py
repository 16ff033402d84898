"""Trying again what fails for a moment."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

Value = TypeVar("Value")


def again(attempt: Callable[[], Value], pauses: Sequence[float], passes: Callable[[Exception], bool]) -> Value:
    """What `attempt` gives; after an error that `passes` it is tried again, after a pause (in seconds)."""
    for pause in pauses:
        try:
            return attempt()
        except Exception as error:
            if not passes(error):
                raise
        time.sleep(pause)
    return attempt()
