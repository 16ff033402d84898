"""Plans through the evaluation's own pipeline on a Ray of this machine, timed from when all workers are up."""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jmed.configuration.schema import ModelConfig
from jmed.distributed.capacity import Workers
from jmed.distributed.notes import LOADING, read_notes
from jmed.distributed.pipeline import stream
from jmed.distributed.session import ENVIRONMENT
from jmed.distributed.worker import Task
from jmed.evaluation.folder import EvaluationFolder
from jmed.evaluation.plan import Plan
from jmed.models.source import find_model

THREADS = 1  # a worker


@contextmanager
def local_ray(cpus: int) -> Iterator[None]:
    import ray

    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ.update(ENVIRONMENT)
    folder = tempfile.mkdtemp(prefix="jmed-ray-")
    ray.init(
        address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        object_store_memory=256 * 1024**2, _temp_dir=folder,
    )  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


class Run:
    """One way of a plan through the pipeline."""

    def __init__(self, plan: Plan, model: Path, workers: int) -> None:
        self.plan, self.workers = plan, workers
        self.folder = EvaluationFolder(Path(tempfile.mkdtemp()), {})
        config = ModelConfig(path=str(model))
        file = self.folder.write_batches(plan, range(len(plan.batches)))
        self.task = Task(
            find_model(config, True), config, self.folder.work, file, self.folder.answers, self.folder.attempts,
            workers, THREADS, False,
        )  # fmt: skip
        self.ready, self.ended = 0.0, threading.Event()

    def seconds(self) -> float:
        """From the moment when all workers have loaded the model to the last answer."""
        watch = threading.Thread(target=self._watch, daemon=True)
        watch.start()
        rows = list(stream(range(len(self.plan.batches)), self.task, Workers(self.workers, 0, THREADS, 0.9)))
        end = time.perf_counter()
        self.ended.set()
        watch.join()
        assert self.ready, "the last answer came before the last worker was ready"
        assert sum(row["questions"] for row in rows) == len(self.plan.items)
        assert not any(row["errors"] for row in rows)
        return end - self.ready

    def _watch(self) -> None:
        while not self.ended.wait(0.01):
            notes = read_notes(self.folder.work)
            if len(notes) == self.workers and all(note.state != LOADING for note in notes.values()):
                self.ready = time.perf_counter()
                return

    def logprobs(self) -> dict[str, list[float]]:
        return {answer["item_id"]: answer["logprobs"] for answer in self.folder.read_answers(self.plan).to_pylist()}
