"""What each machine of the cluster is: memory and disk, and GPUs and what its torch can run on them."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jmed.errors import UserError

ANSWER_SECONDS = 60  # a machine starts a process for it, which imports torch where GPUs are looked for
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Gpu:
    name: str
    memory: int  # bytes
    free: int  # bytes, for a process that has its CUDA context already
    capability: tuple[int, int]  # (8, 6): sm_86
    bfloat16: bool


@dataclass(frozen=True)
class Machine:
    """A node of the cluster; bytes for everything of memory and disk."""

    node: str  # its address
    cpus: int
    memory: int  # host memory that is available now
    disk: int  # free where output_dir lies
    # Where they are looked for:
    gpus: tuple[Gpu, ...] = ()
    architectures: tuple[str, ...] = ()  # that its torch build has code for: sm_75, …
    torch: str = ""  # version


def survey(output_dir: Path, gpus: bool) -> list[Machine]:
    """Ask every node, also for its `gpus` if workers shall use them; UserError names those that do not answer."""
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    # One call a process: it holds a CUDA context on every GPU, which must be gone when training begins.
    look = ray.remote(num_cpus=0, max_calls=1, max_retries=0)(look_around)
    asked = {}
    for node in nodes:
        place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        address, cpus = node["NodeManagerAddress"], int(node["Resources"]["CPU"])
        asked[look.options(scheduling_strategy=place).remote(address, output_dir, cpus, gpus)] = address
    _, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)
    for task in silent:
        ray.cancel(task, force=True)
    if silent:
        raise _lost([asked[task] for task in silent], f"did not answer within {ANSWER_SECONDS} s")
    return [_answer(task, asked[task]) for task in asked]


def _answer(task: "ray.ObjectRef[Machine]", address: str) -> Machine:
    try:
        return ray.get(task)
    except RayError as error:
        line = next(line for line in reversed(str(error).splitlines()) if line.strip())
        raise _lost([address], f"could not be asked ({line.strip()})") from None


def _lost(addresses: list[str], why: str) -> UserError:
    return UserError(f"workers: {', '.join(addresses)} {why}; look at the machine, or take it out of the cluster")


def look_around(address: str, output_dir: Path, cpus: int, gpus: bool) -> Machine:
    """Runs on the machine itself. The GPUs are looked at without reserving one: nothing is computed on them."""
    there = next(folder for folder in (output_dir, *output_dir.parents) if folder.exists())
    machine = Machine(address, cpus, available_memory(), shutil.disk_usage(there).free)
    return _with_gpus(machine) if gpus else machine


def _with_gpus(machine: Machine) -> Machine:
    import torch

    found = tuple(_gpu(number) for number in range(torch.cuda.device_count()))
    return replace(machine, gpus=found, architectures=tuple(torch.cuda.get_arch_list()), torch=torch.__version__)


def _gpu(number: int) -> Gpu:
    import torch

    found = torch.cuda.get_device_properties(number)
    free, _ = torch.cuda.mem_get_info(number)
    return Gpu(found.name, found.total_memory, free, (found.major, found.minor), found.major >= 8)


def available_memory(groups: Path = CGROUPS) -> int:
    """Host memory in bytes that processes could still take, within the container's limit if there is one."""
    import psutil

    available = psutil.virtual_memory().available
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        for folder in (groups, groups / "memory"):  # version 2, version 1
            most, taken = _number(folder / limit), _number(folder / used)
            if most is not None and taken is not None:
                available = min(available, max(0, most - taken + _given_back(folder / "memory.stat")))
    return available


def _number(file: Path) -> int | None:
    """None if there is no such file, or no limit (`max`)."""
    try:
        text = file.read_text("ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _given_back(statistics: Path) -> int:
    """File contents that the kernel keeps only while nobody needs the memory."""
    try:
        lines = statistics.read_text("ascii").splitlines()
    except OSError:
        return 0
    pairs = dict(line.split(" ", 1) for line in lines if " " in line)
    return int(pairs.get("total_inactive_file", pairs.get("inactive_file", 0)))
