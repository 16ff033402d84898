"""What each machine of the cluster is: GPUs, memory, disk, and what its torch can run on them."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jmed.errors import UserError

ANSWER_SECONDS = 60  # a machine that starts its first worker imports torch


@dataclass(frozen=True)
class Gpu:
    name: str
    memory: int  # bytes
    free: int  # bytes
    capability: tuple[int, int]  # (8, 6): sm_86
    bfloat16: bool


@dataclass(frozen=True)
class Machine:
    """A node of the cluster; bytes for everything of memory and disk."""

    node: str  # its address
    cpus: int
    memory: int  # host memory that is available now
    disk: int  # free where output_dir lies
    gpus: tuple[Gpu, ...]
    architectures: tuple[str, ...]  # that its torch build has code for: sm_75, …
    torch: str


def survey(output_dir: Path) -> list[Machine]:
    """Ask every node; UserError names those that do not answer."""
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    look = ray.remote(num_cpus=0)(look_around)
    asked = {}
    for node in nodes:
        place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = look.options(scheduling_strategy=place).remote(node["NodeManagerAddress"], output_dir, _cpus(node))
        asked[task] = node["NodeManagerAddress"]
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)
    if silent:
        raise UserError(
            f"workers: {', '.join(asked[task] for task in silent)} did not answer within {ANSWER_SECONDS} s; look at "
            "these machines, or take them out of the cluster"
        )
    return ray.get(answered)


def _cpus(node: dict[str, Any]) -> int:
    return int(node["Resources"].get("CPU", 0))


def look_around(address: str, output_dir: Path, cpus: int) -> Machine:
    """Runs on the machine itself. The GPUs are asked for without reserving one: nothing is computed on them."""
    import os

    os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides them from a task that reserves none
    import psutil
    import torch

    there = next(folder for folder in (output_dir, *output_dir.parents) if folder.exists())
    gpus = [_gpu(number) for number in range(torch.cuda.device_count())]
    return Machine(
        address, cpus, psutil.virtual_memory().available, shutil.disk_usage(there).free, tuple(gpus),
        tuple(torch.cuda.get_arch_list()), torch.__version__,
    )  # fmt: skip


def _gpu(number: int) -> Gpu:
    import torch

    found = torch.cuda.get_device_properties(number)
    free, _ = torch.cuda.mem_get_info(number)
    return Gpu(found.name, found.total_memory, free, (found.major, found.minor), found.major >= 8)
