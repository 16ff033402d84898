"""The preflight: does training fit into what each worker would get? Said before anything is trained."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from jmed.configuration.finetune import FinetuneConfig
from jmed.distributed.session import Workers
from jmed.distributed.survey import Gpu, Machine, survey
from jmed.errors import UserError
from jmed.models.loading import DTYPES
from jmed.models.source import ModelSource
from jmed.report.memory import print_memory
from jmed.runs.files import write_text
from jmed.training.advice import advise
from jmed.training.memory import GIB, Case, MemoryPlan, plan
from jmed.training.schedule import MicroBatch

PREFLIGHT = "preflight.json"
MEGABYTES = 1 << 20


@dataclass(frozen=True)
class Place:
    """Where a worker may come to run."""

    machine: Machine
    gpu: Gpu | None

    @property
    def name(self) -> str:
        return f"{self.machine.node} {self.gpu.name if self.gpu else 'CPU'}"

    def dtype(self, asked: str) -> torch.dtype:
        """What the worker would compute in (`models.loading.choose_dtype`)."""
        if asked != "auto":
            return DTYPES[asked]
        if self.gpu is None:
            return torch.float32
        return torch.bfloat16 if self.gpu.bfloat16 else torch.float16

    def problem(self, asked: str) -> str | None:
        """Why nothing could run here, whatever the memory."""
        if self.gpu is None:
            return None
        major, minor = self.gpu.capability
        if not runs(self.gpu.capability, self.machine.architectures):
            return (
                f"{self.gpu.name} (sm_{major}{minor}) is not among the architectures of torch {self.machine.torch} "
                f"({', '.join(self.machine.architectures)}): install a build that has it, or leave this machine out"
            )
        if asked == "bfloat16" and not self.gpu.bfloat16:
            return f"{self.gpu.name} has no bfloat16: give model.dtype auto or float16"
        return None


def runs(capability: tuple[int, int], architectures: tuple[str, ...]) -> bool:
    """Whether a torch build has code for a GPU: of the same major version, not newer; or PTX that it can compile."""
    major, minor = capability
    for name in architectures:
        kind, _, digits = name.partition("_")
        number = int("".join(sign for sign in digits if sign.isdigit()) or 0)
        own = (number // 10, number % 10)
        if (kind == "sm" and own[0] == major and own[1] <= minor) or (kind == "compute" and own <= capability):
            return True
    return False


@dataclass(frozen=True)
class Preflight:
    """The rows of the table, one a place, and the verdict."""

    rows: list[dict[str, Any]]
    disk: dict[str, int]  # bytes needed and free where output_dir lies
    problems: list[str]
    advice: list[str]
    batch: dict[str, int]

    @property
    def fits(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """preflight.json; bytes."""
        return {
            "fits": self.fits, "batch": self.batch, "workers": self.rows, "disk": self.disk,
            "problems": self.problems, "advice": self.advice,
        }  # fmt: skip

    def write(self, folder: Path) -> None:
        write_text(json.dumps(self.as_dict(), ensure_ascii=False, indent=1) + "\n", folder / PREFLIGHT)

    def show(self) -> None:
        print_memory(self.as_dict())

    def refuse(self) -> None:
        if self.problems:
            lines = [*self.problems, *(["What would fit:"] if self.advice else []), *self.advice]
            raise UserError("preflight: " + "\n  ".join(lines))


def preflight(
    config: FinetuneConfig, source: ModelSource, longest: MicroBatch, workers: Workers, output_dir: Path
) -> Preflight:
    """Ask the machines and judge every place where a worker may come to run."""
    return judge(config, source, longest, workers, survey(output_dir))


def judge(
    config: FinetuneConfig, source: ModelSource, longest: MicroBatch, workers: Workers, machines: list[Machine]
) -> Preflight:
    """Ray may put a worker on any GPU of any machine, so each kind of GPU of each machine has its row."""
    rows, problems, worst = [], [], None
    disk = 0
    for place in _places(machines, workers):
        case = Case(
            config, source, workers.count, (len(longest.rows), longest.width), longest.supervised,
            "cuda" if place.gpu else "cpu", place.dtype(config.model.dtype),
        )  # fmt: skip
        needed = plan(case)
        available, host = _room(place, workers)
        problem = place.problem(config.model.dtype) or _shortage(place, needed, available, host)
        rows.append(_row(place, needed, available, host, problem))
        disk = max(disk, needed.disk)
        if problem:
            problems.append(problem)
            worst = worst or (case, available, host)
    free = min(machine.disk for machine in machines)
    if disk > free:
        problems.append(
            f"output_dir: checkpoints and result take {_size(disk)}, {_size(free)} are free: make room, or give another"
        )
    advice = advise(worst[0], lambda found: found.fits(*worst[1:])) if worst else []
    batch = {"rows": len(longest.rows), "width": longest.width, "supervised": longest.supervised}
    return Preflight(rows, {"needed": disk, "free": free}, list(dict.fromkeys(problems)), advice, batch)


def _places(machines: list[Machine], workers: Workers) -> list[Place]:
    if not workers.gpus:
        return [Place(machine, None) for machine in machines]
    kinds = {(machine.node, gpu.name): Place(machine, gpu) for machine in machines for gpu in machine.gpus}
    if not kinds:
        raise UserError(
            f"workers.gpus: {workers.gpus:g} a worker, and Ray counts GPUs, but torch sees none on "
            f"{', '.join(machine.node for machine in machines)}: look at driver and torch build there"
        )
    return list(kinds.values())


def _room(place: Place, workers: Workers) -> tuple[int, int]:
    """Bytes for one worker on its device, and of host memory: machines share theirs among as many as they can hold."""
    machine = place.machine
    most = max(1, machine.cpus // workers.cpus)
    if place.gpu is not None:
        most = max(1, min(most, int(len(machine.gpus) / workers.gpus)))
    host = machine.memory // min(workers.count, most)
    if place.gpu is None:
        return host, host
    return int(place.gpu.free * min(1.0, workers.gpus)), host


def _shortage(place: Place, needed: MemoryPlan, available: int, host: int) -> str | None:
    if needed.needed > available:
        return f"{place.name}: a worker needs {_size(needed.needed)}, it would get {_size(available)}"
    if not needed.fits(available, host):
        return f"{place.name}: a worker needs {_size(needed.host)} of host memory, it would get {_size(host)}"
    return None


def _row(place: Place, needed: MemoryPlan, available: int, host: int, problem: str | None) -> dict[str, Any]:
    return {
        "machine": place.machine.node,
        "device": place.gpu.name if place.gpu else "CPU",
        "dtype": str(place.dtype(needed.case.config.model.dtype)).removeprefix("torch."),
        "parts": asdict(needed.device),
        "moment": needed.moment,
        "needed": needed.needed,
        "available": available,
        "host_needed": needed.host,
        "host_available": host,
        "fits": problem is None,
        "problem": problem,
    }


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MEGABYTES:.0f} MiB"
