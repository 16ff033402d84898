"""Ray itself: joining a cluster or starting a local one, and what it offers."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray

from jmed.configuration.finetune import FinetuneWorkers
from jmed.configuration.schema import WorkersConfig
from jmed.errors import UserError

LOCAL_OBJECT_STORE = 256 * 1024**2  # only prompts and short answers pass through it


@dataclass(frozen=True)
class Workers:
    """How many workers, and what each reserves."""

    count: int
    gpus: float
    cpus: int
    reserved_cpus: float  # what Ray sets aside for each; see reserved_cpus


def connect() -> None:
    """Join the cluster of a submitted job or RAY_ADDRESS; otherwise start a Ray of our own on this machine.

    Without an address Ray would look for a cluster that was once started here, and fail where it is gone.
    """
    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level="ERROR")
    else:
        ray.init(
            address="local",
            log_to_driver=False,
            logging_level="ERROR",
            include_dashboard=False,
            object_store_memory=LOCAL_OBJECT_STORE,
        )


@contextmanager
def native_log(path: Path) -> Iterator[None]:
    """Send what Ray's C++ code writes on standard error to a file; `sys.stderr` goes on as before.

    It has no level of its own that a driver could set: warnings about Ray Data's internals would stand between the
    lines that are meant for the user.
    """
    sys.stderr.flush()
    python_side, kept = sys.stderr, os.dup(2)
    with path.open("ab") as log, os.fdopen(os.dup(2), "w", buffering=1) as stream:
        os.dup2(log.fileno(), 2)
        sys.stderr = stream
        try:
            yield
        finally:
            sys.stderr = python_side
            os.dup2(kept, 2)
            os.close(kept)


def plan_workers(config: WorkersConfig, batches: int, model_bytes: int) -> Workers:
    """Fit the workers asked for into the cluster; what can never be met is refused by name, at once."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus_there = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    gpus = (1.0 if gpus_there else 0.0) if config.gpus == "auto" else config.gpus
    if gpus > 1 and gpus != int(gpus):
        raise UserError(f"workers.gpus: found {gpus:g}; expected a whole number, or a share of one GPU below 1")
    possible = sum(_fitting(node, config.cpus, gpus) for node in nodes)
    if config.count == "auto":
        if not gpus and model_bytes:
            memory = sum(node.get("memory", 0.0) for node in nodes)
            possible = min(possible, max(1, int(0.8 * memory // model_bytes)))
        count = min(possible, batches)
    else:
        count = config.count
    if count > possible or count == 0:
        wanted = "at least one worker" if config.count == "auto" else f"{config.count} workers"
        raise UserError(
            f"workers: {wanted} of {config.cpus} CPUs and {gpus:g} GPUs asked for, the cluster has "
            f"{cpus:g} CPUs and {gpus_there:g} GPUs; ask for less, or add machines"
        )
    count = min(count, batches)
    return Workers(
        count, gpus, config.cpus, reserved_cpus(config.cpus, count, [node.get("CPU", 0.0) for node in nodes])
    )


def plan_training(config: FinetuneWorkers, most: int) -> Workers:
    """The workers of a training run, at most `most`; of `[min, max]` as many as the cluster has room for now."""
    if not isinstance(config.count, list):
        return plan_workers(WorkersConfig(**config.model_dump(include={"count", "gpus", "cpus"})), most, 0)
    smallest = WorkersConfig(count=config.count[0], gpus=config.gpus, cpus=config.cpus)
    plan_workers(smallest, config.count[0], 0)  # refuses what the cluster can never give
    return plan_workers(smallest.model_copy(update={"count": "auto"}), config.count[1], 0)


def reserved_cpus(cpus: int, count: int, nodes: Sequence[float]) -> float:
    """CPUs that Ray sets aside for each of `count` workers on nodes with so many CPUs.

    Ray Data's own tasks (reading, splitting) need one whole CPU of a node; an actor pool that leaves none waits for
    them for ever, without an error (seen with Ray 2.60: two actors of 0.9 on two CPUs, four of 0.75 on two nodes of
    two). Where the workers do not fill the cluster, whole CPUs leave a whole one somewhere. Where they do, each
    reserves so little that one CPU of the largest node is left even if all of them come to lie there. Torch's threads
    stay `cpus`.
    """
    if count * cpus < sum(int(node) for node in nodes):
        return float(cpus)
    return min(float(cpus), int(100 * max(max(nodes) - 1, 0) / count) / 100)


def _fitting(node: dict[str, float], cpus: int, gpus: float) -> int:
    """Workers that fit on a node."""
    by_cpus = int(node.get("CPU", 0.0) // cpus)
    there = node.get("GPU", 0.0)
    if not gpus:
        return by_cpus
    by_gpus = int(there // gpus) if gpus >= 1 else int(there) * int(1 / gpus + 1e-9)
    return min(by_cpus, by_gpus)


def describe(workers: Workers) -> dict[str, Any]:
    """The cluster and the workers, for run.yaml: CPUs, GPUs and their kind, memory in bytes."""
    there = ray.cluster_resources()
    kinds = sorted(name.removeprefix("accelerator_type:") for name in there if name.startswith("accelerator_type:"))
    return {
        "nodes": sum(node["Alive"] for node in ray.nodes()),
        "cpus": there.get("CPU", 0.0),
        "gpus": there.get("GPU", 0.0),
        "gpu_kinds": kinds,
        "memory": int(there.get("memory", 0.0)),
        "workers": asdict(workers),
    }
