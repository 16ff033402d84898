"""Checkpoints out of turn: machines that are about to go, and a job that is asked to stop."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from jmed.training.group import gather, rank

LOOK_SECONDS = 2.0  # between two looks; a look takes a message between the workers
TIMES = 5  # while machines are about to go: a checkpoint again after so many times what the last one took


class Stopped(RuntimeError):
    """The job was asked to stop, and has left its last checkpoint."""


class Wish(IntEnum):
    """What is wanted after this step."""

    NOTHING = 0
    SAVE = 1  # a machine is about to go: what is learned by then must not go with it
    STOP = 2  # save, and end


def nobody() -> bool:
    return False


@dataclass
class Notices:
    """Looked at after every step, by every worker alike."""

    leaving: Callable[[], bool] = nobody  # whether a machine is about to go; a collective: called by all workers
    stop: Path | None = None  # a file that whoever wants the run to stop puts there
    looked: float = field(default=0.0, init=False)
    saved: float | None = field(default=None, init=False)
    took: float = field(default=0.0, init=False)

    def wish(self) -> Wish:
        """The same on every worker: the first one's clock and eyes decide."""
        now = time.monotonic()
        if not gather(now - self.looked >= LOOK_SECONDS)[0]:
            return Wish.NOTHING
        self.looked = now
        if gather(rank() == 0 and self.stop is not None and self.stop.exists())[0]:
            return Wish.STOP
        due = self.leaving() and (self.saved is None or now - self.saved >= TIMES * self.took)
        return Wish(gather(int(due))[0])

    def has_saved(self, seconds: float) -> None:
        """A checkpoint was written, in so many seconds."""
        self.saved, self.took = time.monotonic(), seconds
