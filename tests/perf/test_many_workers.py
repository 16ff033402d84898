"""64 workers that only sleep, one of them three times as slow, through the real pipeline; and a million questions."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from jmed.data.question import Question
from jmed.distributed import pipeline
from jmed.distributed.worker import EvaluationWorker
from jmed.evaluation.batches import Item, Planned
from jmed.evaluation.plan import Plan
from jmed.inference.request import Answer, Request
from tests.conftest import ROOT
from tests.jobs.models import build_tiny
from tests.perf import scaling
from tests.perf.conftest import Row
from tests.perf.kit import build_model
from tests.perf.ray_kit import Run, local_ray

WORKERS, SLOWER = 64, 3
BATCH_SECONDS = 1.0  # that a batch takes in the mean
BATCHES = 32  # a worker
NEW_TOKENS = 64
BUDGET = 8192
METHOD = "generate"


class Lengths:
    """A tokenizer whose texts are the numbers of their tokens."""

    def __call__(self, texts: Sequence[str]) -> dict[str, Any]:
        return {"input_ids": [range(int(text)) for text in texts]}


def tokens(requests: Sequence[Request]) -> int:
    """That a batch takes, padding included."""
    return len(requests) * (max(int(one.prompt) for one in requests) + NEW_TOKENS)


class Sleeper:
    """An engine that sleeps as long as its tokens would take."""

    def __init__(self, seconds_a_token: float) -> None:
        self.seconds = seconds_a_token

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        time.sleep(tokens(requests) * self.seconds)
        return [Answer(one.item_id, "a") for one in requests]


class SleepingWorker(EvaluationWorker):
    def _load(self) -> Any:
        seconds = json.loads((self.task.work / "seconds.json").read_text("utf-8"))
        try:
            os.close(os.open(self.task.work / "slow", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return Sleeper(seconds)
        return Sleeper(SLOWER * seconds)  # the first that comes


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    with local_ray(cpus=WORKERS):
        yield


def make_plan() -> Plan:
    """As many questions as make BATCHES a worker, with the lengths of the real benchmarks."""
    a_batch = scaling.plan(METHOD, 10_000)
    count = 10_000 * BATCHES * WORKERS // len(a_batch)
    planned = Planned(Lengths())
    for length, _, questions in scaling._stretched(scaling.MEASURED["plan"]["mix"][METHOD], count):
        for _ in range(questions):
            name = f"{len(planned.items):07d}"
            request = Request(name, str(length - scaling.NEW_TOKENS), (), NEW_TOKENS)
            planned.add(Item(Question("mini", name, "en", "?", ("yes", "no"), (("a",),)), request, "none", METHOD))
    return Plan(items=planned.sorted(), batches=planned.batches(BUDGET, 1 << 20))


@pytest.mark.usefixtures("_ray")
def test_a_slow_worker_among_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: list[Row]) -> None:
    monkeypatch.setattr(pipeline, "EvaluationWorker", SleepingWorker)
    plan = make_plan()
    work = [tokens([item.request for item in batch]) for batch in plan.batches]
    a_token = BATCH_SECONDS * len(work) / sum(work)
    run = Run(plan, build_tiny(tmp_path), WORKERS)
    (run.folder.work / "seconds.json").write_text(json.dumps(a_token))
    ideal = sum(work) * a_token / (WORKERS - 1 + 1 / SLOWER)
    took = run.seconds()
    ended = sorted(file.stat().st_mtime for file in run.folder.answers.glob("*.parquet"))
    note = f"{len(plan.items):,} questions in {len(work):,} batches of about {BATCH_SECONDS:g} s; ideal {ideal:.1f} s; "
    tail = ended[-1] - ended[-WORKERS]
    note += f"the last {WORKERS} batches ended within {tail:.1f} s"
    table.append(Row(f"share of the ideal, {WORKERS} workers, one slow", "–", (ideal / took,), 0.95, note=note))


@pytest.mark.parametrize("count", [1_000_000])
def test_very_many_questions(tmp_path: Path, qwen2_tokenizer: Path, count: int, table: list[Row]) -> None:
    model = build_model(tmp_path / "model", qwen2_tokenizer, hidden=64, layers=1)
    few, many = (through(model, number, tmp_path / str(number)) for number in (count // 20, count))
    rate = count / many["seconds"]
    note = f"{count:,} questions in {many['seconds']:.0f} s, planning, marks, tables and page included"
    table.append(Row("questions a second, answered at once", "–", (rate,), 5000, note=note))
    note = f"{few['memory'] / 2**20:.0f} and {many['memory'] / 2**20:.0f} MiB of its own at most"
    grown = many["memory"] / few["memory"]
    table.append(
        Row(f"the driver's memory, {count:,} questions", f"{count // 20:,}", (grown,), 1.1, below=True, note=note)
    )


def through(model: Path, count: int, folder: Path) -> dict[str, float]:
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.perf.million", str(model), str(count), str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
