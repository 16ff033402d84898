"""What a worker is given at once, what is left of it when the worker dies, and what Ray does in between."""

import itertools
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from ray.data._internal.execution import streaming_executor_state
from ray.util.state import list_tasks

from jmed.configuration.schema import ModelConfig
from jmed.distributed import pipeline
from jmed.distributed.capacity import Workers
from jmed.distributed.worker import EvaluationWorker, Task
from jmed.evaluation.attempts import Attempts
from jmed.evaluation.table import REQUESTS
from jmed.inference.request import Answer, Request
from jmed.models.source import ModelSource
from jmed.runs.files import write_batches
from tests.conftest import ROOT
from tests.jobs.conftest import LocalRay

COUNT, WORKERS = 24, 2


class Sleeper:
    """Answers as slowly as its question says, and puts into the answer when."""

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        begun = time.time()
        time.sleep(float(requests[0].prompt))
        return [Answer(one.item_id, f"{os.getpid()} {begun} {time.time()}") for one in requests]


class SleepingWorker(EvaluationWorker):
    def _load(self) -> Sleeper:
        return Sleeper()


class Deadly:
    """Writes down what it is asked, and kills its process over a question the first time."""

    def __init__(self, asked: Path, question: str) -> None:
        self.asked, self.question = asked, question

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        before = self.asked.read_text("utf-8").split() if self.asked.exists() else []
        with self.asked.open("a", encoding="utf-8") as log:
            log.writelines(f"{one.item_id}\n" for one in requests)
        if self.question in {one.item_id for one in requests} and self.question not in before:
            os.kill(os.getpid(), signal.SIGKILL)
        return [Answer(one.item_id, "a") for one in requests]


class DeadlyWorker(EvaluationWorker):
    def _load(self) -> Deadly:
        return Deadly(self.task.work / "asked", "q5")


def run(folder: Path, seconds: Sequence[float]) -> list[list[str]]:
    """Each question a batch, through the pipeline; the words of each answer."""
    answers, attempts = folder / "answers", Attempts(folder / "attempts")
    answers.mkdir()
    attempts.prepare()
    requests = [vars(Request(f"q{n}", str(slow))) for n, slow in enumerate(seconds)]
    file = folder / "batches.arrow"
    write_batches((pa.Table.from_pylist([request], REQUESTS) for request in requests), REQUESTS, file)
    source = ModelSource("sleeper", folder, None, "none", "float32")
    config = ModelConfig(path="none")
    task = Task(source, config, folder, file, answers, attempts, WORKERS, threads=1, offline=True)
    done = list(pipeline.stream(range(len(seconds)), task, Workers(WORKERS, 0, 1, 0.9)))
    assert sum(row["questions"] for row in done) == len(seconds)
    assert len(list(answers.iterdir())) == len(seconds)
    return [str(row["response"]).split() for file in answers.iterdir() for row in pq.read_table(file).to_pylist()]


def test_workers_do_not_wait_for_each_other(
    tmp_path: Path, local_ray: LocalRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers whose batches never end together: behind each batch comes the next, whatever the other one does.

    Beside a Ray that waits for both: how long it takes besides depends on the machine and on its day.
    """
    monkeypatch.setattr(pipeline, "EvaluationWorker", SleepingWorker)
    ours = idle_seconds(tmp_path / "ours")
    assert streaming_executor_state.WAIT_FOR_TASK_COMPLETION_TIMEOUT_S == pipeline.LOOK < 0.03  # Ray's own is 0.1 s
    monkeypatch.setattr(pipeline, "LOOK", 1.0)
    waiting = idle_seconds(tmp_path / "waiting")
    assert ours < 0.75 * waiting, (ours, waiting)


def test_ray_runs_no_task_of_its_own_before_the_workers(
    tmp_path: Path, local_ray: LocalRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would need a process that has to start first; Ray makes some kinds of datasets by a task a block."""
    monkeypatch.setattr(pipeline, "EvaluationWorker", SleepingWorker)
    before, calls = tasks(local_ray, "NORMAL_TASK"), tasks(local_ray, "ACTOR_TASK")
    run(tmp_path, [0.0] * 4)
    deadline = time.monotonic() + 60
    while len(asked := {name for name in tasks(local_ray, "ACTOR_TASK") - calls if "MapWorker" in name[1]}) < 4:
        assert time.monotonic() < deadline, asked  # Ray tells of tasks a second or two later
        time.sleep(0.5)
    assert tasks(local_ray, "NORMAL_TASK") == before


def tasks(there: LocalRay, kind: str) -> set[tuple[str, str]]:
    """Ids and names of all that Ray has run for this process; without an address Ray refuses beside another cluster."""
    filters = [("type", "=", kind), ("job_id", "=", ray.get_runtime_context().get_job_id())]
    return {(task.task_id, task.name) for task in list_tasks(there.dashboard, filters=filters, limit=10_000)}


def idle_seconds(folder: Path) -> float:
    """Between two batches of a worker, in the mean."""
    folder.mkdir()
    times = defaultdict(list)
    for worker, begun, ended in run(folder, [0.2 + 0.2 * (n % 4) for n in range(COUNT)]):
        times[worker].append((float(begun), float(ended)))
    assert len(times) == WORKERS
    ordered = map(sorted, times.values())
    return statistics.mean(then - end for one in ordered for (_, end), (then, _) in itertools.pairwise(one))


def test_a_worker_dies_in_the_middle_of_a_turn(
    tmp_path: Path, local_ray: LocalRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has committed is not asked again; the rest is, once."""
    monkeypatch.setattr(pipeline, "EvaluationWorker", DeadlyWorker)
    monkeypatch.setattr(pipeline, "TURNS", 1)
    monkeypatch.setattr(pipeline, "MOST", 8)
    assert pipeline._pace(COUNT, WORKERS) == (8, pipeline.IN_HAND)
    assert run(tmp_path, [0.0] * COUNT) == [["a"]] * COUNT
    asked = Counter((tmp_path / "asked").read_text("utf-8").split())
    assert asked == {f"q{n}": 2 if n == 5 else 1 for n in range(COUNT)}


@pytest.mark.parametrize(
    ("batches", "workers", "size", "in_hand"),
    [(28, 2, 1, 1), (399, 2, 1, 1), (400, 2, 1, 2), (800, 2, 2, 2), (14_700, 2, 32, 2), (14_700, 64, 1, 2)],
)
def test_a_worker_is_given_more_at_once_where_that_is_little_beside_the_whole(
    batches: int, workers: int, size: int, in_hand: int
) -> None:
    assert pipeline._pace(batches, workers) == (size, in_hand)
    turns = pipeline._turns(range(batches), size)
    assert {len(turn["batches"]) for turn in turns[:-1]} == {size}
    assert [batch for turn in turns for batch in turn["batches"]] == list(range(batches))
    assert [row for turn in turns for row, _ in enumerate(turn["batches"], turn["row"])] == list(range(batches))


SEEN = """
import os, ray
from jmed.distributed.session import connect
connect()
print("seen", ray.get(ray.remote(lambda: os.environ.get("MALLOC_ARENA_MAX")).remote()))
"""


@pytest.mark.parametrize("joined", [True, False])
def test_workers_have_one_memory_for_all_threads(local_ray: LocalRay, joined: bool) -> None:
    """In a cluster that is joined, and in a Ray that the job starts."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MALLOC_ARENA_MAX", "RAY_ADDRESS")}
    if joined:
        environment["RAY_ADDRESS"] = local_ray.address
    done = subprocess.run(
        [sys.executable, "-c", SEEN], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "seen 1" in done.stdout
