"""Ray Train: starting the workers of a training run, and starting them again when they are lost."""

import pickle
import sys
from pathlib import Path
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from jmed.configuration.finetune import FinetuneConfig
from jmed.distributed.capacity import Workers
from jmed.distributed.heartbeat import Heartbeat
from jmed.distributed.stop import Stop
from jmed.distributed.termination import on_sigterm
from jmed.distributed.train_worker import work
from jmed.distributed.watch import watched
from jmed.evaluation.plan import Plan
from jmed.models.source import ModelSource
from jmed.runs.folder import RunFolder
from jmed.training.fence import Fence
from jmed.training.files import STOP_ASKED, TRAIN_LOG
from jmed.training.run import Job


def fit(
    config: FinetuneConfig,
    source: ModelSource,
    folder: RunFolder,
    exam: Plan | None,
    workers: Workers,
    steps: int,
    heart: Heartbeat,
) -> None:
    """Run the workers until the result lies in `unfinished`; lost workers are replaced, from the last checkpoint."""
    stop = Stop(folder.work)
    stop.prepare()
    asked = folder.work / STOP_ASKED
    asked.unlink(missing_ok=True)
    job = Job(config, source, folder.path, folder.work, Fence.new(folder.work / "attempt"), exam)
    trainer = _trainer(job, workers)
    try:
        heart.watch(workers.count, workers.cpus, workers.gpus)
        with (
            watched(folder.path / TRAIN_LOG, steps, source.name, heart),
            on_sigterm(lambda: _ask_to_stop(asked)),
        ):
            trainer.fit()
    finally:
        if asked.exists() and stop.said():
            raise KeyboardInterrupt  # the checkpoint is written
        stop.raise_said()


def _ask_to_stop(asked: Path) -> None:
    asked.touch()
    print("asked to stop: saving a last checkpoint; a second time stops at once", file=sys.stderr)


def _trainer(job: Job, workers: Workers) -> Any:
    config = job.config.workers
    count = tuple(config.count) if isinstance(config.count, list) else workers.count
    resources = {"CPU": float(workers.cpus), **({"GPU": workers.gpus} if workers.gpus else {})}
    return TorchTrainer(
        work,
        # Pickled by us, so that a worker imports nothing before it knows whether it may use the network.
        train_loop_config={"job": pickle.dumps(job), "threads": workers.cpus, "offline": job.config.offline},
        scaling_config=ScalingConfig(
            num_workers=count,
            use_gpu=workers.gpus > 0,
            resources_per_worker=resources,
            elastic_resize_monitor_interval_s=config.resize_seconds,
            label_selector=workers.labels or None,
        ),
        run_config=RunConfig(
            # A name of its own: what Ray keeps of an attempt is never continued, our checkpoints are.
            name=job.fence.mark,
            storage_path=str(job.work / "ray"),
            failure_config=FailureConfig(max_failures=config.max_restarts),
        ),
    )
