"""How many workers a cluster holds, what each reserves, and waiting for machines that are still to come."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources

from jmed.configuration.finetune import FinetuneWorkers
from jmed.configuration.schema import WorkersConfig, WorkerSize
from jmed.distributed.fitting import fitting
from jmed.distributed.progress import LOG_SECONDS
from jmed.errors import UserError

LOOK_SECONDS = 2  # between two looks at a cluster that is to grow


@dataclass(frozen=True)
class Workers:
    """How many workers, and what each reserves."""

    count: int
    gpus: float
    cpus: int
    reserved_cpus: float  # what Ray sets aside for each; see reserved_cpus
    labels: dict[str, str] = field(default_factory=dict)  # of the machines they may run on


def plan_workers(config: WorkersConfig, batches: int, model_bytes: int) -> Workers:
    """Fit the workers asked for into the cluster; what it does not hold is refused by name, at once.

    With `workers.wait_seconds` the cluster is asked to grow first.
    """
    return _patiently(config, lambda: _plan(config, batches, model_bytes))


def plan_training(config: FinetuneWorkers, most: int) -> Workers:
    """The workers of a training run, at most `most`; of `[min, max]` as many as the cluster has room for now."""
    size = config.model_dump(include=set(WorkerSize.model_fields))
    if not isinstance(config.count, list):
        return plan_workers(WorkersConfig(count=config.count, **size), most, 0)
    least = WorkersConfig(count=config.count[0], **size)
    plan_workers(least, config.count[0], 0)  # refuses what the cluster cannot give
    return _plan(least.model_copy(update={"count": "auto"}), config.count[1], 0)


def _patiently(config: WorkersConfig, plan: Callable[[], Workers]) -> Workers:
    """Plan again and again while the cluster may still grow; Ray's autoscaler is asked for what is missing."""
    try:
        return plan()
    except UserError:
        if not config.wait_seconds:
            raise
    with _growth(config):
        deadline, said = time.monotonic() + config.wait_seconds, -math.inf
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                return plan()
            except UserError as error:
                now = time.monotonic()
                if now >= deadline:
                    raise UserError(f"{error}; waited {config.wait_seconds:g} s (workers.wait_seconds)") from None
                if now - said >= LOG_SECONDS:
                    said = now
                    print(f"{error}; waiting up to {deadline - now:.0f} s more", file=sys.stderr)


@contextmanager
def _growth(config: WorkersConfig) -> Iterator[None]:
    """Tell Ray's autoscaler, where there is one, what the job needs, until it is there or waiting is over."""
    gpus = 1.0 if config.gpus == "auto" else config.gpus
    bundle = {"CPU": config.cpus, **({"GPU": gpus} if gpus else {})}
    count = 1 if config.count == "auto" else config.count
    labels = [config.labels] * count if config.labels else None
    request_resources(bundles=[bundle] * count, bundle_label_selectors=labels)
    try:
        yield
    finally:
        request_resources(bundles=[])  # a request stands until it is taken back, also after the job


def _plan(config: WorkersConfig, batches: int, model_bytes: int) -> Workers:
    there = [node for node in ray.nodes() if node["Alive"]]
    nodes = [node["Resources"] for node in there if config.labels.items() <= node["Labels"].items()]
    cpus, gpus_there = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    gpus = (1.0 if gpus_there else 0.0) if config.gpus == "auto" else config.gpus
    if gpus > 1 and gpus != int(gpus):
        raise UserError(f"workers.gpus: found {gpus:g}; expected a whole number, or a share of one GPU below 1")
    possible = sum(int(fitting(node, config.cpus, gpus)) for node in nodes)
    if config.count == "auto":
        if not gpus and model_bytes:
            memory = sum(node.get("memory", 0.0) for node in nodes)
            possible = min(possible, max(1, int(0.8 * memory // model_bytes)))
        count = min(possible, batches)
    else:
        count = config.count
    if count > possible or count == 0:
        wanted = "at least one worker" if config.count == "auto" else f"{config.count} workers"
        among = f" on machines with the labels {_shown(config.labels)}" if config.labels else ""
        raise UserError(
            f"workers: {wanted} of {config.cpus} CPUs and {gpus:g} GPUs asked for, the cluster has "
            f"{cpus:g} CPUs and {gpus_there:g} GPUs{among}; ask for less, or add machines"
        )
    count = min(count, batches)
    every = [node["Resources"].get("CPU", 0.0) for node in there]
    return Workers(count, gpus, config.cpus, reserved_cpus(config.cpus, count, every), config.labels)


def _shown(labels: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in labels.items())


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
