"""Where a worker may come to run, and what it would get there."""

from dataclasses import dataclass

import torch

from jmed.configuration.finetune import FinetuneConfig
from jmed.distributed.capacity import Workers
from jmed.distributed.survey import Gpu, Machine
from jmed.errors import UserError
from jmed.models.loading import DTYPES


@dataclass(frozen=True)
class Place:
    """A kind of GPU of a machine, or the machine's CPUs. Of several alike it stands for the one with least memory."""

    machine: Machine
    gpu: Gpu | None
    share: float  # of a GPU, for one worker
    neighbours: int  # workers that may come to run on the machine, this one among them
    asked: str  # model.dtype

    @property
    def device(self) -> str:
        return self.gpu.name if self.gpu else "CPU"

    @property
    def device_type(self) -> str:
        return "cuda" if self.gpu else "cpu"

    @property
    def name(self) -> str:
        return f"{self.machine.node} {self.device}"

    @property
    def dtype(self) -> torch.dtype:
        """What the worker would compute in (`models.loading.choose_dtype`)."""
        if self.asked != "auto":
            return DTYPES[self.asked]
        if self.gpu is None:
            return torch.float32
        return torch.bfloat16 if self.gpu.bfloat16 else torch.float16

    def device_memory(self) -> int:
        """Bytes for one worker: of its GPU, or of the machine's memory."""
        return int(self.gpu.free * self.share) if self.gpu else self.host_memory(0)

    def host_memory(self, shared: int) -> int:
        """Bytes of host memory for one worker; `shared` bytes are for one of them beside. (On a CPU, writing the result
        takes no more than the gradients, which are gone then.)"""
        return max(0, self.machine.memory - (shared if self.gpu else 0)) // self.neighbours

    def problem(self) -> str | None:
        """Why nothing could run here, whatever the memory."""
        if self.gpu is None:
            return None
        major, minor = self.gpu.capability
        if not runs(self.gpu.capability, self.machine.architectures):
            return (
                f"{self.name} (sm_{major}{minor}) is not among the architectures of torch "
                f"{self.machine.torch} ({', '.join(self.machine.architectures)}): install a build that has it, or "
                "leave this machine out"
            )
        if self.asked == "bfloat16" and not self.gpu.bfloat16:
            return f"{self.name} has no bfloat16: give model.dtype auto or float16"
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


def places(config: FinetuneConfig, machines: list[Machine], workers: Workers) -> list[Place]:
    """Ray may put a worker on any GPU of any machine that has CPUs enough: each kind of each machine is a place."""
    found = []
    for machine in (machine for machine in machines if machine.cpus >= workers.cpus):
        least: dict[str | None, Gpu | None] = {}
        for gpu in machine.gpus if workers.gpus else ():
            known = least.get(gpu.name)
            least[gpu.name] = min(known, gpu, key=lambda one: one.free) if known else gpu
        if not workers.gpus:
            least[None] = None
        neighbours = min(workers.count, _slots(machine, workers))
        for one in least.values():
            found.append(Place(machine, one, min(1.0, workers.gpus), neighbours, config.model.dtype))
    if not found:
        raise UserError(
            f"workers.gpus: {workers.gpus:g} a worker, and Ray counts GPUs, but torch sees none on "
            f"{', '.join(machine.node for machine in machines)}: look at driver and torch build there"
        )
    return found


def _slots(machine: Machine, workers: Workers) -> int:
    """Workers that the machine has room for; 1 at least."""
    by_cpus = machine.cpus // workers.cpus
    if not workers.gpus:
        return max(1, by_cpus)
    by_gpus = len(machine.gpus) // workers.gpus if workers.gpus >= 1 else len(machine.gpus) * int(1 / workers.gpus)
    return max(1, min(by_cpus, int(by_gpus)))


def remarks(there: list[Place], machines: list[Machine], workers: Workers) -> list[str]:
    """What the user should know of these places."""
    lines = []
    room = sum(_slots(machine, workers) for machine in {place.machine.node: place.machine for place in there}.values())
    kinds = {(place.device, place.device_memory()) for place in there}
    if workers.gpus and room > workers.count and len(kinds) > 1:
        lines.append(
            f"{sum(len(machine.gpus) for machine in machines)} GPUs for {workers.count} workers: Ray may take any, so "
            "training must fit into the smallest"
        )
    older = sorted({place.device for place in there if place.dtype == torch.float16 and place.gpu})
    if older:
        lines.append(f"{', '.join(older)}: float16 with a loss scaler")
    dtypes = sorted({str(place.dtype).removeprefix("torch.") for place in there})
    if len(dtypes) > 1:
        lines.append(
            f"workers compute in {' and '.join(dtypes)}, as their GPUs can; model.dtype float16 makes them all alike"
        )
    if any(place.gpu for place in there):
        lines.append("overhead is an estimate; the largest batch is tried out before training")
    return lines
