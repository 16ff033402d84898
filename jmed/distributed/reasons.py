"""Why nothing happens: the facts in one line, the nearest cause first."""

from collections import Counter
from collections.abc import Iterable

from jmed.distributed.notes import ANSWERING, EXAMINING, LOADING, STARTED, Note
from jmed.distributed.progress import clock
from jmed.distributed.surroundings import FolderWatch, Machine, Need, RayWatch

HANGS = 10.0  # seconds without an answer that are no longer usual
SHOWN = 4  # so many machines are named


def reasons(now: float, moved: float, stage: str, folder: FolderWatch, cluster: RayWatch | None) -> str:
    """What the job waits for, as far as it can be seen; at `moved` (of the monotonic clock) something was done last."""
    found = [*_folder(now, folder)]
    if cluster is None:
        return "; ".join([*found, stage])
    found += _machines(now, cluster)
    notes, loading = seen(folder, cluster, moved)
    silent = [note for name, note in notes.items() if now - folder.changed.get(name, now) >= (now - moved) / 2]
    sitting = [
        note for name, note in notes.items() if note.state == EXAMINING and folder.changed.get(name, 0.0) > moved
    ]
    return "; ".join([*found, _workers(cluster, len(notes), loading, sitting, silent) or stage])


def seen(folder: FolderWatch, cluster: RayWatch, moved: float) -> tuple[dict[str, Note], list[Note]]:
    """The workers on machines that are there, and those of them that load the model."""
    notes = {name: note for name, note in folder.notes.items() if note.node in cluster.alive or not cluster.alive}
    started = {name for name, note in notes.items() if note.state == STARTED and folder.changed.get(name, 0.0) > moved}
    return notes, [note for name, note in notes.items() if note.state == LOADING or name in started]


def _folder(now: float, folder: FolderWatch) -> list[str]:
    if (seconds := folder.hanging(now)) >= HANGS:
        return [f"output_dir: {folder.path} has not answered for {clock(seconds)}"]
    return [f"output_dir: {folder.path}: {folder.problem}"] if folder.problem else []


def _machines(now: float, cluster: RayWatch) -> list[str]:
    found = []
    if (seconds := cluster.hanging(now)) >= HANGS:
        found.append(f"Ray has not answered for {clock(seconds)}")
    elif cluster.problem:
        found.append(f"Ray does not answer ({cluster.problem})")
    if lost := cluster.lost():
        found.append(f"{len(lost)} of {len(cluster.first)} machines {_are(len(lost))} lost ({named(lost)})")
    machines, need = list(cluster.alive.values()), cluster.need
    if machines and (room := need.room(machines)) < need.count:
        there = ", ".join(f"{_sum(machines, kind):g} {kind}s" for kind in ("CPU", "GPU"))
        found.append(f"the cluster has room for {room} of {need.count} workers ({there})")
    return found


def _sum(machines: list[Machine], kind: str) -> float:
    return sum(machine.resources.get(kind, 0.0) for machine in machines)


def _workers(cluster: RayWatch, up: int, loading: list[Note], sitting: list[Note], silent: list[Note]) -> str | None:
    need = cluster.need
    up = min(need.count, up)
    if not up:
        free = ", ".join(f"{cluster.free.get(kind, 0.0):g} {kind}s" for kind in ("CPU", "GPU") if _wanted(need, kind))
        return f"none of {need.count} workers is up yet (free in the cluster: {free})"
    said = []
    if up < need.count or loading:
        at = f", {len(loading)} of them loading the model ({named(one.host for one in loading)})" if loading else ""
        said.append(f"{up} of {need.count} workers {_are(up)} up{at}")
    if sitting:
        begun = sum(note.batches for note in sitting)
        said.append(f"{len(sitting)} of {need.count} workers {_sit(len(sitting))} the exam ({begun} batches begun)")
    busy = [note for note in silent if note.state in (ANSWERING, EXAMINING)] or ([] if said else silent)
    if busy:
        said.append(f"no word from {len(busy)} of {need.count} workers ({named(one.host for one in busy)})")
    return "; ".join(said) or None


def _wanted(need: Need, kind: str) -> bool:
    return kind == "CPU" or need.gpus > 0


def named(names: Iterable[str]) -> str:
    """`a, b 2 times, c`, not more than a line holds."""
    counted = sorted(Counter(names).items())
    shown = [name if count == 1 else f"{name} {count} times" for name, count in counted[:SHOWN]]
    return ", ".join([*shown, *([f"{len(counted) - SHOWN} more"] if len(counted) > SHOWN else [])])


def _sit(count: int) -> str:
    return "sits" if count == 1 else "sit"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
