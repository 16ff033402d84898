"""A job that is seen to live: its line, progress.json beside the results, and a reason whenever nothing is done."""

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from jmed.distributed.progress import TERMINAL_SECONDS, Count, LiveLine, clock
from jmed.distributed.reasons import reasons, seen
from jmed.distributed.surroundings import FolderWatch, Need, RayWatch
from jmed.errors import UserError

SILENT_SECONDS = 30.0  # without anything done, then a line says why
JOIN_SECONDS = 5.0  # a terminal that takes nothing must not hold the job
AGAIN_SECONDS = 60.0  # and again


class Heartbeat:
    """While the body runs, threads of its own look after the line and the file; nothing of it can fail the job.

    The job says what it is at (`stage`), that workers are asked for (`watch`), and how far it is (`show`).
    """

    def __init__(self, job: str, path: Path, work: Path, stream: TextIO | None = None) -> None:
        """`path`: the run folder, `work`: its `unfinished`; the line goes to standard error, or to `stream`."""
        self.job, self.path = job, path
        self.state, self.stage_now, self.message = "starting", "starting", ""
        self.line = LiveLine(stream)
        self.count: Count | None = None
        self.moved = time.monotonic()  # when something was done last
        self.said = 0.0  # seconds of silence when it was explained last
        self.started = _today()
        self.folder = FolderWatch(path, work, self._record)
        self.cluster: RayWatch | None = None
        self.asking = False  # workers are at it
        self.ended, self.lock = threading.Event(), threading.Lock()
        self.thread = threading.Thread(target=self._beat, name="Heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self.folder.start()
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ended.set()
        self.thread.join(JOIN_SECONDS)
        if self.cluster:
            self.cluster.end()
        self.line.end()
        self.state, self.message = _ending(error)
        self.folder.end()

    def stage(self, text: str) -> None:
        """What the job does now; said if it takes long. Its own lines may follow."""
        if self.cluster:
            self.cluster.end()
        with self.lock:
            self.line.end()
            self.stage_now, self.asking = text, False
            self.moved, self.said = time.monotonic(), 0.0

    def watch(self, count: int, cpus: float, gpus: float) -> None:
        """Workers are asked for, each with so much: from now on the cluster is looked at."""
        self.stage("waiting for the workers")
        self.cluster = RayWatch(Need(count, cpus, gpus))
        self.cluster.start()
        self.asking = True

    def show(self, count: Count, last: bool = False) -> None:
        """How far the job is; the line comes when it is due, and for the `last` count always."""
        now = time.monotonic()
        with self.lock:
            before, self.count = self.count, count
            if before is not None and count.done != before.done:
                self._moved(now)
            elif not (last and self._moves):
                return
            if last or self.line.due(now):
                self.line.show(count.line)

    def _moved(self, at: float) -> None:
        """Something was done; by whoever holds the lock."""
        self.state, self.message = "running", ""
        self.moved, self.said = at, 0.0

    def _beat(self) -> None:
        while not self.ended.wait(TERMINAL_SECONDS):
            now = time.monotonic()
            if self.asking and self.folder.answered > self.moved:
                with self.lock:
                    self._moved(self.folder.answered)
            silent = now - self.moved
            if silent >= (self.said + AGAIN_SECONDS if self.said else SILENT_SECONDS):
                self._explain(now, silent)

    def _explain(self, now: float, silent: float) -> None:
        moved = self.moved
        why = reasons(now, moved, self.stage_now, self.folder, self.cluster if self.asking else None)
        with self.lock:
            if moved != self.moved:  # something was done meanwhile
                return
            self.state = "waiting" if self._moves else self.state
            self.message, self.said = why, silent
            self.line.note(f"{self.count.short if self.count else self.job}, nothing new for {clock(silent)}: {why}")

    def _record(self) -> str | None:
        """The content of progress.json; None before the work has begun."""
        count = self.count
        if count is None:
            return None
        row = {
            "job": self.job,
            "state": self.state,
            "done": count.done,
            "total": count.total,
            "unit": count.unit,
            "rate": None if count.rate is None else round(count.rate, 3),
            "seconds_left": None if count.seconds_left is None else round(count.seconds_left),
            "errors": count.errors,
            "workers": self._workers(),
            "message": self.message or (self.stage_now if self.state == "starting" else ""),
            "started": self.started,
            "updated": _today(),
        }
        return json.dumps(row, ensure_ascii=False, indent=1) + "\n"

    def _workers(self) -> dict[str, Any] | None:
        if self.cluster is None:
            return None
        notes, loading = seen(self.folder, self.cluster, self.moved)
        wanted = self.cluster.need.count
        return {"wanted": wanted, "up": min(wanted, len(notes)), "loading": min(wanted, len(loading))}

    @property
    def _moves(self) -> bool:
        return self.state in ("running", "waiting")


def _ending(error: BaseException | None) -> tuple[str, str]:
    """State and message of a job that has ended so."""
    if error is None:
        return "finished", ""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "stopped", "the same command continues"
    text = str(error).strip() if isinstance(error, UserError) else f"{type(error).__name__}: {error}".strip()
    return "failed", text.splitlines()[0] if text else type(error).__name__


def _today() -> str:
    """The driver's clock, for readers of the file; nothing is computed from it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
