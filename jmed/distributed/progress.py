"""One live line: done, rate, time left. In a terminal it is rewritten; in a log a new line comes now and then."""

import time
from typing import TextIO

TERMINAL_SECONDS = 0.5  # between two lines
LOG_SECONDS = 10


class Progress:
    """Counts what is done; rate and time left leave out the start, when workers load their models."""

    def __init__(self, total: int, done: int, unit: str, stream: TextIO) -> None:
        self.total, self.done, self.unit, self.stream = total, done, unit, stream
        self.shown = self.since = time.monotonic()
        self.done_then = done
        self.started = False

    def add(self, count: int) -> None:
        now = time.monotonic()
        terminal = self.stream.isatty()
        self.done += count
        if now - self.shown >= (TERMINAL_SECONDS if terminal else LOG_SECONDS) or self.done == self.total:
            self.shown = now
            self.stream.write(f"\r\033[K{self.line(now)}" if terminal else f"{self.line(now)}\n")
            self.stream.flush()
        if not self.started:
            self.started, self.since, self.done_then = True, now, self.done

    def line(self, now: float) -> str:
        rate = (self.done - self.done_then) / max(now - self.since, 1e-6)
        left = clock((self.total - self.done) / rate) if rate else "unknown time"
        return f"{self.done}/{self.total} {self.unit} ({100 * self.done // self.total} %), {rate:.1f}/s, {left} left"

    def close(self) -> None:
        if self.stream.isatty():
            self.stream.write("\n")


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
