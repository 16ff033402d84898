"""Notes that workers leave in `unfinished/workers`: that they are up, and what they are at."""

import contextlib
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

FOLDER = "workers"
# A worker of an evaluation loads, is ready, answers a batch, is ready again; that of a training says that it started,
# and before each batch of an exam that it sits one.
LOADING, READY, ANSWERING, STARTED, EXAMINING = "loading", "ready", "answering", "started", "examining"


@dataclass(frozen=True)
class Note:
    """What a worker says of itself."""

    state: str  # one of the above
    host: str
    node: str  # Ray's id of the machine
    batches: int = 0  # begun so far


class Notepad:
    """A worker's note. It is for people who wait: if it cannot be written, the work goes on."""

    def __init__(self, work: Path, name: str, node: str) -> None:
        """`name` stays the same when the worker is started again, so that the note of a dead one is written over."""
        self.path = work / FOLDER / f"{name}.json"
        self.node, self.batches = node, 0

    def say(self, state: str) -> None:
        """Not synced and not whole: it is worth nothing after a crash, and a reader takes half a note for none."""
        self.batches += state in (ANSWERING, EXAMINING)
        note = Note(state, socket.gethostname(), self.node, self.batches)
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(exist_ok=True)
            self.path.write_text(json.dumps(vars(note)), encoding="utf-8")


def worker_notepad(work: Path, name: str | None = None) -> Notepad:
    """Of the Ray actor that calls; without a name its id, which it keeps when Ray starts it again."""
    import ray

    context = ray.get_runtime_context()
    return Notepad(work, name or context.get_actor_id() or f"process-{os.getpid()}", context.get_node_id())


def read_notes(work: Path) -> dict[str, Note]:
    """The notes of all workers, by name."""
    notes = {}
    for file in sorted((work / FOLDER).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            notes[file.stem] = Note(**json.loads(file.read_text("utf-8")))
    return notes


def clear_notes(work: Path) -> None:
    """Those of an earlier attempt."""
    for file in (work / FOLDER).glob("*.json"):
        with contextlib.suppress(OSError):
            file.unlink()
