"""The pipeline of Ray Data beside a bare loop, and two workers beside one: the same questions all three ways.

A small model: its batches take half a second, less than those of a 7B model on a GPU, so what the pipeline
adds weighs more here.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from jmed.evaluation.plan import Plan, plan_evaluation
from jmed.inference.engine import Engine
from jmed.inference.request import Answer, Request
from tests.perf.conftest import Row
from tests.perf.kit import PAIRS, build_model, engine_of, seconds
from tests.perf.peer import Peer
from tests.perf.questions import CONTEXT, make_config
from tests.perf.ray_kit import THREADS, Run, local_ray

QUESTIONS = 1000


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray(cpus=2):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, qwen2_tokenizer: Path) -> Path:
    return build_model(tmp_path_factory.mktemp("model"), qwen2_tokenizer, hidden=256, layers=4)


@pytest.fixture(scope="module")
def plan(data_root: Path, folder: Path) -> Plan:
    config = make_config(data_root, "letters", limit=QUESTIONS).model_copy(update={"benchmarks": ["igakuqa"]})
    planned = plan_evaluation(config, AutoTokenizer.from_pretrained(folder), CONTEXT)
    assert len(planned.items) == QUESTIONS
    return planned


def bare_loop(engine: Engine, batches: list[list[Request]]) -> tuple[float, dict[str, list[float]]]:
    """Seconds, and the log-probabilities by question."""
    torch.set_num_threads(THREADS)
    answers: list[Answer] = []
    taken = seconds(lambda: answers.extend(answer for batch in batches for answer in engine.answer(batch)))
    return taken, {answer.item_id: list(answer.logprobs) for answer in answers}


def test_through_ray_data(plan: Plan, folder: Path, table: list[Row]) -> None:
    batches = [[item.request for item in batch] for batch in plan.batches]
    overheads, speedups = [], []
    for number in range(PAIRS):
        with Peer(engine_of, folder) as new:  # as a worker is: the memory of the first batches costs both the same
            loop, plain = new.call(bare_loop, batches)
        order = (1, 2) if number % 2 == 0 else (2, 1)
        times = {workers: through_ray(Run(plan, folder, workers), plain) for workers in order}
        overheads.append(times[1] / loop)
        speedups.append(times[1] / times[2])
    note = f"{QUESTIONS} questions in {len(plan.batches)} batches; time over the loop's, loading excluded"
    table.append(Row("through Ray Data, one worker", "a bare loop", tuple(overheads), 1.1, below=True, note=note))
    table.append(Row("2 workers, a thread each", "1 worker, a thread", tuple(speedups), 1.9, note="the same runs"))


def through_ray(run: Run, plain: dict[str, list[float]]) -> float:
    """Seconds; the log-probabilities are those of the bare loop."""
    taken = run.seconds()
    assert run.logprobs() == plain
    return taken
