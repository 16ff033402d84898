"""The pipeline of Ray Data beside a bare loop, and two workers beside one: the same questions all three ways.

A small model: its batches take half a second, less than those of a 7B model on a GPU, so what the pipeline
adds weighs more here.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from jmed.evaluation.plan import Plan, plan_evaluation
from tests.perf.bare import bare_loop
from tests.perf.conftest import Row
from tests.perf.kit import PAIRS, build_model
from tests.perf.questions import CONTEXT, make_config
from tests.perf.ray_kit import Run, local_ray

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


def test_through_ray_data(plan: Plan, folder: Path, tmp_path: Path, table: list[Row]) -> None:
    overheads, speedups = [], []
    for _ in range(PAIRS):
        loop, plain = bare_loop(folder, plan, tmp_path)
        one, two = (through_ray(Run(plan, folder, workers), plain) for workers in (1, 2))
        overheads.append(one / loop)
        speedups.append(one / two)
    note = f"{QUESTIONS} questions in {len(plan.batches)} batches; time over the loop's, loading excluded"
    table.append(Row("through Ray Data, one worker", "a bare loop", tuple(overheads), 1.1, below=True, note=note))
    table.append(Row("2 workers, a thread each", "1 worker, a thread", tuple(speedups), 1.9, note="the same runs"))


def through_ray(run: Run, plain: dict[str, list[float]]) -> float:
    """Seconds; the log-probabilities are those of the bare loop."""
    taken = run.seconds()
    assert run.logprobs() == plain
    return taken
