"""How far a training is: step, loss, tokens a second, time left; read from the log that it writes."""

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jmed.distributed.heartbeat import Heartbeat
from jmed.distributed.metrics import TrainingMetrics
from jmed.distributed.progress import TERMINAL_SECONDS, Count, clock
from jmed.training.log import read_log

WINDOW = 20  # steps over which rate and time left are taken
LAST_LOOK_SECONDS = 5.0  # for the log's end; a folder that hangs must not hold the job


@contextmanager
def watched(log: Path, total: int, model: str, heart: Heartbeat) -> Iterator[None]:
    """Show the log's last step while the body runs, and count its steps for Prometheus, under the model's name."""
    ended, metrics = threading.Event(), TrainingMetrics(model)
    thread = threading.Thread(target=_watch, args=(log, total, heart, metrics, ended), name="TrainingLog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(LAST_LOOK_SECONDS)


def _watch(log: Path, total: int, heart: Heartbeat, metrics: TrainingMetrics, ended: threading.Event) -> None:
    last = False
    while not last:
        last = ended.wait(TERMINAL_SECONDS) if heart.count else False  # the first look at once
        rows: list[dict[str, Any]] = []
        with contextlib.suppress(OSError):  # the heartbeat says that the folder does not answer
            rows = read_log(log)
            metrics.update(rows)
        heart.show(training_count(rows, total), last)


def training_count(rows: list[dict[str, Any]], total: int) -> Count:
    """From the lines of train_log.jsonl; the line is `step 12/40, loss 2.31, 2,413 tokens/s, 1:05 left`."""
    if not rows:
        return Count(0, total, "steps", None, None, 0, f"step 0/{total}")
    last, recent = rows[-1], rows[-WINDOW:]
    seconds = max(sum(row["seconds"] for row in recent), 1e-6)
    left = (total - last["step"]) * seconds / len(recent)
    tokens = sum(row["tokens"] for row in recent) / seconds
    line = f"step {last['step']}/{total}, loss {last['loss']:.4f}, {tokens:,.0f} tokens/s, {clock(left)} left"
    return Count(last["step"], total, "steps", len(recent) / seconds, left, 0, line)
