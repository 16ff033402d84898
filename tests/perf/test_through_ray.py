"""The pipeline of Ray Data beside a bare loop, and two workers beside one.

A small model: its batches take as long as those of a 7B model on a GPU, so what the pipeline adds weighs as much.
"""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from jmed.configuration.schema import ModelConfig
from jmed.distributed.capacity import Workers
from jmed.distributed.notes import LOADING, read_notes
from jmed.distributed.pipeline import stream
from jmed.distributed.worker import Task
from jmed.evaluation.folder import EvaluationFolder
from jmed.evaluation.plan import Plan, plan_evaluation
from jmed.models.source import find_model
from tests.perf.conftest import Row
from tests.perf.kit import PAIRS, build_model, engine_of, seconds
from tests.perf.questions import CONTEXT, make_config

LEAST = 1000  # questions
THREADS = 1


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    import ray

    os.environ["RAY_AUTH_MODE"] = "disabled"
    folder = tempfile.mkdtemp(prefix="jmed-ray-")
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        object_store_memory=256 * 1024**2, _temp_dir=folder,
    )  # fmt: skip
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, qwen2_tokenizer: Path) -> Path:
    return build_model(tmp_path_factory.mktemp("model"), qwen2_tokenizer, hidden=256, layers=4)


@pytest.fixture(scope="module")
def plan(data_root: Path, folder: Path) -> Plan:
    config = make_config(data_root, "letters").model_copy(update={"benchmarks": ["igakuqa"]})
    planned = plan_evaluation(config, AutoTokenizer.from_pretrained(folder), CONTEXT)
    assert len(planned.items) >= LEAST
    return planned


class Run:
    """One way of a plan through the pipeline."""

    def __init__(self, plan: Plan, model: Path, workers: int) -> None:
        self.plan, self.workers = plan, workers
        self.folder = EvaluationFolder(Path(tempfile.mkdtemp()), {})
        config = ModelConfig(path=str(model))
        file = self.folder.write_batches(plan, list(range(len(plan.batches))))
        self.task = Task(
            find_model(config, True), config, self.folder.work, file, self.folder.answers, self.folder.attempts,
            workers, THREADS, False,
        )  # fmt: skip
        self.ready = 0.0

    def seconds(self) -> float:
        """From the moment when all workers have loaded the model to the last answer."""
        watch = threading.Thread(target=self._watch, daemon=True)
        watch.start()
        workers = Workers(self.workers, 0, THREADS, 0.9)
        rows = list(stream(range(len(self.plan.batches)), self.task, workers))
        end = time.perf_counter()
        watch.join()
        assert sum(row["questions"] for row in rows) == len(self.plan.items)
        assert not any(row["errors"] for row in rows)
        return end - self.ready

    def _watch(self) -> None:
        while True:
            notes = read_notes(self.folder.work)
            if len(notes) == self.workers and all(note.state != LOADING for note in notes.values()):
                self.ready = time.perf_counter()
                return
            time.sleep(0.005)

    def logprobs(self) -> dict[str, list[float]]:
        return {item: answer["logprobs"] for item, answer in self.folder.read_answers(self.plan).items()}


@pytest.mark.usefixtures("_ray")
def test_one_worker_beside_a_bare_loop(plan: Plan, folder: Path, table: list[Row]) -> None:
    torch.set_num_threads(THREADS)
    engine = engine_of(folder)

    def bare() -> dict[str, list[float]]:
        answers = [one for batch in plan.batches for one in engine.answer([item.request for item in batch])]
        return {answer.item_id: list(answer.logprobs) for answer in answers}

    def through_ray() -> float:
        run = Run(plan, folder, 1)
        taken = run.seconds()
        assert run.logprobs() == plain
        return taken

    plain = bare()
    ratios = []
    for _ in range(PAIRS):
        theirs = seconds(bare)
        ratios.append(through_ray() / theirs)
    note = f"{len(plan.items)} questions in {len(plan.batches)} batches; time over the loop's, loading excluded"
    table.append(Row("through Ray Data, one worker", "a bare loop", tuple(ratios), 1.1, below=True, note=note))


@pytest.mark.usefixtures("_ray")
def test_two_workers_beside_one(plan: Plan, folder: Path, table: list[Row]) -> None:
    ratios = []
    for _ in range(PAIRS):
        one, two = (Run(plan, folder, count) for count in (1, 2))
        ratios.append(one.seconds() / two.seconds())
        assert one.logprobs() == two.logprobs()
    table.append(Row("2 workers, a thread each", "1 worker, a thread", tuple(ratios), 1.9))
