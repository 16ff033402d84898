"""The preflight: does training fit into what each worker would get? Said before anything is trained."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from jmed.configuration.finetune import FinetuneConfig
from jmed.distributed.capacity import Workers
from jmed.distributed.places import Place, places, remarks
from jmed.distributed.survey import Machine, survey
from jmed.errors import UserError
from jmed.models.source import ModelSource
from jmed.report.memory import print_memory, size
from jmed.runs.files import write_text
from jmed.training.advice import advise
from jmed.training.memory import Case, MemoryPlan, plan
from jmed.training.schedule import MicroBatch
from jmed.training.skeleton import Unpredictable

PREFLIGHT = "preflight.json"


@dataclass(frozen=True)
class Preflight:
    """The rows of the table, one a place, and the verdict."""

    rows: list[dict[str, Any]]
    disk: dict[str, int]  # bytes needed, and bytes that can be had where output_dir lies
    problems: list[str]  # the worst first
    advice: list[str]
    batch: dict[str, int]
    notes: list[str]  # what does not stop anything

    @property
    def fits(self) -> bool:
        """Also where nothing could be predicted: the largest batch is tried out before training."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """preflight.json; bytes."""
        return {
            "fits": self.fits, "batch": self.batch, "workers": self.rows, "disk": self.disk,
            "problems": self.problems, "advice": self.advice, "notes": self.notes,
        }  # fmt: skip

    def write(self, folder: Path) -> None:
        write_text(json.dumps(self.as_dict(), ensure_ascii=False, indent=1) + "\n", folder / PREFLIGHT)

    def show(self) -> None:
        print_memory(self.as_dict())

    def refuse(self) -> None:
        """UserError if it does not fit: the worst first, then what would fit."""
        if self.problems:
            lines = [*self.problems, *(["What would fit:"] if self.advice else []), *self.advice]
            raise UserError("preflight: " + "\n  ".join(lines))


def preflight(
    config: FinetuneConfig, source: ModelSource, longest: MicroBatch, workers: Workers, output_dir: Path
) -> Preflight:
    """Ask the machines and judge every place where a worker may come to run."""
    written = sum(file.stat().st_size for file in output_dir.rglob("*") if file.is_file())
    return judge(config, source, longest, workers, survey(output_dir, workers.gpus > 0), written)


def judge(
    config: FinetuneConfig,
    source: ModelSource,
    longest: MicroBatch,
    workers: Workers,
    machines: list[Machine],
    written: int = 0,
) -> Preflight:
    """Whether training fits everywhere; `written` bytes in output_dir are of this run, and will be replaced."""
    widest = (len(longest.rows), longest.width)
    judged = [
        _Judged(place, Case(config, source, workers.count, widest, longest.supervised, place.device_type, place.dtype))
        for place in places(config, machines, workers)
    ]
    for one in judged:
        one.look()
    short = sorted((one for one in judged if one.problem), key=lambda one: one.lacking, reverse=True)
    problems = [one.problem for one in short if one.problem]
    disk = {
        "needed": max((one.plan.disk for one in judged if one.plan), default=0),
        "available": min(machine.disk for machine in machines) + written,
    }
    if disk["needed"] > disk["available"]:
        problems.append(
            f"output_dir: checkpoints and result take {size(disk['needed'])}, {size(disk['available'])} are free: "
            "make room, or give another"
        )
    batch = {"rows": widest[0], "width": widest[1], "supervised": longest.supervised}
    notes = [*remarks([one.place for one in judged], machines, workers), *(one.note for one in judged if one.note)]
    return Preflight([one.row() for one in judged], disk, problems, _advice(judged, short), batch, _once(notes))


def _once(lines: list[str]) -> list[str]:
    return list(dict.fromkeys(lines))


@dataclass
class _Judged:
    """A place, what a worker would need there, and what it would get."""

    place: Place
    case: Case
    plan: MemoryPlan | None = field(default=None, init=False)
    problem: str | None = field(default=None, init=False)
    note: str | None = field(default=None, init=False)
    lacking: float = field(default=0, init=False)  # bytes

    def look(self) -> None:
        try:
            self.plan = plan(self.case)
        except Unpredictable as error:
            self.note = (
                f"this architecture's memory cannot be predicted ({error}); the largest batch is tried out first"
            )
        if problem := self.place.problem():
            self.problem, self.lacking = problem, float("inf")
        elif self.plan:
            self._compare(self.plan)

    def _compare(self, needed: MemoryPlan) -> None:
        device, host = self.room(needed)
        if needed.needed > device:
            self.lacking = needed.needed - device
            self.problem = f"{self.place.name}: a worker needs {size(needed.needed)}, it would get {size(device)}"
        elif not needed.fits(device, host):
            self.lacking = needed.host - host
            self.problem = (
                f"{self.place.name}: a worker needs {size(needed.host)} of host memory, it would get {size(host)}"
            )

    def room(self, needed: MemoryPlan) -> tuple[int, int]:
        return self.place.device_memory(), self.place.host_memory(needed.host_shared)

    def row(self) -> dict[str, Any]:
        """Of preflight.json; bytes, and null where nothing could be predicted."""
        found = self.plan
        device, host = self.room(found) if found else (self.place.device_memory(), self.place.host_memory(0))
        return {
            "machine": self.place.machine.node,
            "device": self.place.device,
            "dtype": str(self.place.dtype).removeprefix("torch."),
            "parts": asdict(found.device) if found else None,
            "moment": found.moment if found else None,
            "needed": found.needed if found else None,
            "available": device,
            "host_needed": found.host if found else None,
            "host_available": host,
            "fits": self.problem is None if found or self.problem else None,
            "problem": self.problem,
        }


def _advice(judged: list[_Judged], short: list[_Judged]) -> list[str]:
    """What would fit everywhere; nothing where memory is not the problem."""
    lacking = [one for one in short if one.plan and one.lacking < float("inf")]
    if not lacking:
        return []

    return advise(lacking[0].case, lambda case: all(_fits_there(case, one) for one in judged))


def _fits_there(case: Case, one: _Judged) -> bool:
    try:
        there = plan(replace(case, device_type=one.case.device_type, dtype=one.case.dtype))
    except Unpredictable:
        return False
    return there.fits(*one.room(there))
