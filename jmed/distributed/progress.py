"""How far a job is: done, rate, time left, as one live line and as numbers for progress.json."""

import sys
import threading
import time
from dataclasses import dataclass
from typing import TextIO

TERMINAL_SECONDS = 0.5  # between two lines
LOG_SECONDS = 10


@dataclass(frozen=True)
class Count:
    """How far a job is now."""

    done: int
    total: int
    unit: str
    rate: float | None  # units a second; None until it is known
    seconds_left: float | None
    errors: int
    line: str  # the same for readers

    @property
    def short(self) -> str:
        """Without rate and time left, which mean nothing while nothing is done."""
        return f"{self.done}/{self.total} {self.unit}"


class Progress:
    """Counts what is done; rate and time left leave out the start, when workers load their models."""

    def __init__(self, total: int, done: int, unit: str) -> None:
        self.total, self.done, self.unit = total, done, unit
        self.errors = 0
        self.since = time.monotonic()
        self.done_then = done
        self.started = False

    def add(self, count: int, errors: int = 0) -> Count:
        now = time.monotonic()
        self.done += count
        self.errors += errors
        counted = self.count(now)
        if not self.started:
            self.started, self.since, self.done_then = True, now, self.done
        return counted

    def count(self, now: float) -> Count:
        """As of `now`, of the monotonic clock."""
        rate = (self.done - self.done_then) / max(now - self.since, 1e-6)
        known = rate > 0 and (self.started or self.done == self.total)
        seconds = (self.total - self.done) / rate if known else None
        percent = 100 * self.done // max(self.total, 1)
        line = f"{self.done}/{self.total} {self.unit} ({percent} %)"
        if seconds is not None:
            line += f", {rate:.1f}/s, {clock(seconds)} left"
        return Count(self.done, self.total, self.unit, rate if known else None, seconds, self.errors, line)


class LiveLine:
    """One line of a job: in a terminal it is rewritten, in a log a new line comes now and then. For several threads."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """On standard error, wherever `sys.stderr` then goes, or on `stream`."""
        self._stream = stream
        self.lock = threading.Lock()
        self.shown, self.at = "", time.monotonic()

    @property
    def stream(self) -> TextIO:
        return self._stream or sys.stderr

    @property
    def terminal(self) -> bool:
        return self.stream.isatty()

    def due(self, now: float) -> bool:
        return now - self.at >= (TERMINAL_SECONDS if self.terminal else LOG_SECONDS)

    def show(self, line: str) -> None:
        """Now; a line that is there already is not repeated. A stream that is gone does not end the job."""
        with self.lock:
            self.at = time.monotonic()
            if line == self.shown:
                return
            self.shown = line
            self._write(f"\r\033[K{line}" if self.terminal else f"{line}\n")

    def note(self, line: str) -> None:
        """A line that stays, in a terminal too, where it may be too long to be rewritten."""
        with self.lock:
            self.at, self.shown = time.monotonic(), ""
            self._write(f"\r\033[K{line}\n" if self.terminal else f"{line}\n")

    def end(self) -> None:
        """What is printed next begins a line of its own."""
        with self.lock:
            if self.terminal and self.shown:
                self._write("\n")
            self.shown = ""

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):  # a closed terminal; ValueError: a closed file
            pass


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
