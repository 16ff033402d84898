"""What a job depends on and cannot see while it waits: its folder, Ray's machines, its workers.

Each is looked at by a thread of its own, which may hang as long as what it looks at does; nobody waits for it.
"""

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jmed.distributed.fitting import fitting
from jmed.distributed.notes import ANSWERING, READY, Note, clear_notes, read_notes
from jmed.runs.files import write_text

FOLDER_SECONDS, RAY_SECONDS = 2.0, 5.0  # between two looks
LAST_WRITE_SECONDS = 5.0  # for what is written when the job ends; a folder that hangs must not hold it
PROGRESS = "progress.json"


class Watcher(ABC):
    """Looks again and again; `hanging` says for how long a look has not come back."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked: float | None = None  # since when, of the monotonic clock, a look is under way
        self.problem: str | None = None  # of the last look that came back
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def end(self) -> None:
        self.ended.set()

    def hanging(self, now: float) -> float:
        asked = self.asked
        return 0.0 if asked is None else now - asked

    def _run(self) -> None:
        self._look_once()
        while not self.ended.wait(self.seconds):
            self._look_once()

    def _look_once(self) -> None:
        self.asked = time.monotonic()
        try:
            self._look()
            self.problem = None
        except Exception as error:  # whatever it is: the job itself says what it cannot live with
            self.problem = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}".splitlines()[0]
        self.asked = None

    @abstractmethod
    def _look(self) -> None: ...


class FolderWatch(Watcher):
    """Writes progress.json, which is at the same time the proof that the output folder answers; reads the notes."""

    def __init__(self, path: Path, work: Path, record: Callable[[], str | None]) -> None:
        """`record` gives the content of progress.json; None: not yet."""
        super().__init__(FOLDER_SECONDS)
        self.path, self.work, self.record = path, work, record
        self.notes: dict[str, Note] = {}
        self.changed: dict[str, float] = {}  # when this side saw a note change: the clocks of machines differ
        self.answered = 0.0  # when it saw that a worker went on to its next batch; of several at once, Ray says later
        self.written: str | None = None

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            clear_notes(self.work)
        super()._run()
        self._look_once()  # the last word

    def end(self) -> None:
        super().end()
        if self.thread.is_alive():
            self.thread.join(LAST_WRITE_SECONDS)

    def _look(self) -> None:
        self.path.stat()
        if self.work.is_dir():  # until the job has ended
            notes, now = read_notes(self.work), time.monotonic()
            self.changed.update({name: now for name, note in notes.items() if self.notes.get(name) != note})
            if any(_went_on(note, self.notes.get(name)) for name, note in notes.items()):
                self.answered = now
            self.notes = notes
        text = self.record()
        if text is None or text == self.written:
            return
        # Before run.yaml is there the job may still be refused, and then it must leave nothing.
        if (self.path / "run.yaml").exists():
            write_text(text, self.path / PROGRESS)
            self.written = text


def _went_on(note: Note, before: Note | None) -> bool:
    """A worker of an evaluation has answered a batch and begun the next; one that is started anew begins with 1."""
    return before is not None and before.state in (ANSWERING, READY) and note.batches > max(1, before.batches)


@dataclass(frozen=True)
class Machine:
    """A node of the cluster."""

    name: str
    resources: dict[str, float]


@dataclass(frozen=True)
class Need:
    """What the workers of a job need."""

    count: int
    cpus: float
    gpus: float  # each

    def room(self, machines: list[Machine]) -> int:
        """Workers that these machines have room for, if nobody else were there; at most `count`."""
        return int(min(self.count, sum(fitting(machine.resources, self.cpus, self.gpus) for machine in machines)))


class RayWatch(Watcher):
    """The machines of the cluster, at the start and now."""

    def __init__(self, need: Need, seconds: float = RAY_SECONDS) -> None:
        super().__init__(seconds)
        self.need = need
        self.first: dict[str, Machine] = {}
        self.alive: dict[str, Machine] = {}
        self.free: dict[str, float] = {}

    def _look(self) -> None:
        import ray

        if not ray.is_initialized():
            return
        nodes = ray.nodes()
        self.alive = {
            node["NodeID"]: Machine(node["NodeManagerHostname"] or node["NodeManagerAddress"], node["Resources"])
            for node in nodes
            if node["Alive"]
        }
        self.first = {**self.alive, **self.first}  # a machine that joined later and went again is lost, too
        self.free = ray.available_resources()

    def lost(self) -> list[str]:
        """Names of the machines that were there and are not."""
        return sorted(machine.name for node, machine in self.first.items() if node not in self.alive)
