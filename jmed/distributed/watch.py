"""The live line of a training run: step, loss, tokens a second, time left; read from the log that it writes."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from jmed.distributed.progress import LOG_SECONDS, TERMINAL_SECONDS, clock
from jmed.training.log import read_log

WINDOW = 20  # steps over which rate and time left are taken


@contextmanager
def watched(log: Path, total: int, stream: TextIO) -> Iterator[None]:
    """Print the live line while the body runs: rewritten in a terminal, now and then a new line in a log."""
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(log, total, stream, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _watch(log: Path, total: int, stream: TextIO, ended: threading.Event) -> None:
    terminal, shown, printed = stream.isatty(), "", time.monotonic()
    while not ended.wait(TERMINAL_SECONDS):
        if terminal or time.monotonic() - printed >= LOG_SECONDS:
            shown, printed = _print(log, total, stream, shown), time.monotonic()
    _print(log, total, stream, shown)
    if terminal and shown:
        stream.write("\n")


def _print(log: Path, total: int, stream: TextIO, shown: str) -> str:
    rows = read_log(log)
    line = training_line(rows, total) if rows else ""
    if line != shown:
        stream.write(f"\r\033[K{line}" if stream.isatty() else f"{line}\n")
        stream.flush()
    return line


def training_line(rows: list[dict[str, Any]], total: int) -> str:
    """`step 12/40, loss 2.31, 2,413 tokens/s, 1:05 left`, from the lines of train_log.jsonl."""
    last, recent = rows[-1], rows[-WINDOW:]
    seconds = max(sum(row["seconds"] for row in recent), 1e-6)
    left = clock((total - last["step"]) * seconds / len(recent))
    rate = sum(row["tokens"] for row in recent) / seconds
    return f"step {last['step']}/{total}, loss {last['loss']:.4f}, {rate:,.0f} tokens/s, {left} left"
