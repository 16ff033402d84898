"""The simulator and calculator behind docs/scaling.md (tests/perf/scaling.py)."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jmed.configuration.finetune import FinetuneConfig
from jmed.configuration.schema import EvaluateConfig
from jmed.data.question import Question
from jmed.evaluation.batches import FILLED, make_batches
from jmed.evaluation.items import Item
from jmed.inference.request import Request
from jmed.training.checkpoints import KEPT
from tests.conftest import ROOT
from tests.perf import scaling
from tests.perf.scaling import Away, simulate

PAGE = ROOT / "docs" / "scaling.md"
WORK = st.lists(st.floats(0.1, 10), min_size=1, max_size=60)
CREW = st.integers(1, 12)


@given(work=WORK, workers=CREW, in_flight=st.integers(1, 3))
def test_no_work_is_lost_and_none_is_faster_than_ideal(work: list[float], workers: int, in_flight: int) -> None:
    outcome = simulate(work, workers, in_flight)
    ideal = max(math.fsum(work) / workers, max(work))
    assert outcome.done == len(work)
    assert outcome.work == pytest.approx(math.fsum(work))
    assert outcome.lost == 0
    assert ideal - 1e-9 <= outcome.seconds <= math.fsum(work) + 1e-9


@given(work=WORK, workers=CREW)
def test_one_batch_in_hand_keeps_the_bound_of_list_scheduling(work: list[float], workers: int) -> None:
    """Graham: whoever is free takes the next, so nobody is idle before the last batch begins."""
    seconds = simulate(work, workers, in_flight=1).seconds
    assert seconds <= math.fsum(work) / workers + (1 - 1 / workers) * max(work) + 1e-9


@given(work=WORK, workers=CREW)
def test_more_workers_are_never_slower(work: list[float], workers: int) -> None:
    assert simulate(work, workers + 1, in_flight=1).seconds <= simulate(work, workers, in_flight=1).seconds + 1e-9


@pytest.mark.parametrize("method", scaling.METHODS)
def test_more_workers_are_never_slower_on_the_real_plan(method: str) -> None:
    seconds = [scaling.run(method, 2000, workers).seconds for workers in (1, 2, 4, 8, 16, 64, 256)]
    assert seconds == sorted(seconds, reverse=True)


@given(work=WORK, in_flight=st.integers(1, 3))
def test_one_worker_takes_the_sum(work: list[float], in_flight: int) -> None:
    assert simulate(work, 1, in_flight).seconds == pytest.approx(math.fsum(work))


def test_known_queues() -> None:
    assert simulate([2.0] * 12, 4).seconds == 6
    assert simulate([2.0] * 13, 4).seconds == 8
    assert simulate([5.0], 1000).seconds == 5
    # Two are dealt out at once, so the last short ones wait behind a long one instead of going to the idle worker.
    assert simulate([9.0, 1.0, 1.0, 1.0], 2, in_flight=1).seconds == 9
    assert simulate([9.0, 1.0, 1.0, 1.0], 2, in_flight=2).seconds == 10


def test_the_driver_is_a_queue_of_its_own() -> None:
    """A thousand workers of one second cannot be kept busy by a driver that deals out ten a second."""
    outcome = simulate([1.0] * 500, 1000, dispatch=0.1)
    assert outcome.seconds == pytest.approx(500 * 0.1 + 1)
    assert simulate([1.0] * 500, 2, in_flight=2, dispatch=0.1).seconds == pytest.approx(250, abs=1)


@given(work=WORK, workers=st.integers(2, 12))
@settings(max_examples=50)
def test_a_slow_worker_costs_no_more_than_what_it_holds(work: list[float], workers: int) -> None:
    slow = simulate(work, workers, slow={0: 3.0}).seconds
    without = simulate(work, workers - 1).seconds
    assert slow <= without + scaling.IN_FLIGHT * 3 * max(work) + 1e-9


def test_a_worker_that_comes_back_asks_again_what_it_held() -> None:
    outcome = simulate([4.0] * 4, 2, in_flight=2, away={0: Away(1.0, 11.0)})
    # Worker 1 does its two by 8; worker 0 lost one second of work and begins both again at 11.
    assert (outcome.seconds, outcome.lost, outcome.done) == (19.0, 1.0, 4)


def test_nothing_is_dealt_to_a_worker_that_is_away() -> None:
    outcome = simulate([1.0] * 10, 2, away={0: Away(0.0, 100.0)})
    assert outcome.seconds == 10


class Lengths:
    """A tokenizer whose texts are the numbers of their tokens."""

    def __call__(self, texts: list[str]) -> dict[str, Any]:
        return {"input_ids": [range(int(text)) for text in texts]}


@pytest.mark.parametrize("method", scaling.METHODS)
@pytest.mark.parametrize("budget", [2048, 8192])
def test_batches_are_those_of_the_evaluation(method: str, budget: int) -> None:
    questions = 500
    items: list[Item] = []
    for length, rows, count in scaling._stretched(scaling.MEASURED["plan"]["mix"][method], questions):
        assert rows == 1
        options = () if method == "generate" else ("1",)
        prompt = length - (1 if options else scaling.NEW_TOKENS)
        for _ in range(count):
            name = f"{len(items):04d}"
            question = Question("mini", name, "en", "?", ("yes", "no"), (("a",),))
            items.append(Item(question, Request(name, str(prompt), options, scaling.NEW_TOKENS), "none", method))
    made = make_batches(items, Lengths(), budget, 1 << 20)
    assert sum(len(batch) for batch in made) == questions
    assert [len(batch) for batch in made] == [batch.questions for batch in scaling.plan(method, questions, budget)]


@pytest.mark.parametrize("questions", [1, 999, 20_000, 1_000_000])
def test_a_plan_holds_every_question_within_the_budget(questions: int) -> None:
    for method in scaling.METHODS:
        batches = scaling.plan(method, questions)
        assert sum(batch.questions for batch in batches) == questions
        assert all(batch.rows * batch.width <= scaling.BATCH_TOKENS for batch in batches)


def test_constants_are_those_of_the_code() -> None:
    evaluate, finetune = EvaluateConfig.model_fields, FinetuneConfig.model_fields
    assert evaluate["batch_tokens"].default == scaling.BATCH_TOKENS
    assert evaluate["max_new_tokens"].default == scaling.NEW_TOKENS
    assert FILLED == scaling.FILLED
    assert finetune["global_batch_size"].default == scaling.TRAIN_BATCH
    assert finetune["batch_tokens"].default == scaling.TRAIN_TOKENS
    assert finetune["sequence_length"].default == scaling.SEQUENCE
    assert finetune["lora"].default.r == scaling.RANK
    assert KEPT + 1 == scaling.CHECKPOINTS


def test_parameters_are_those_that_peft_counts() -> None:
    """What peft prints for Qwen2-7B: trainable 40,370,176 of 7,655,986,688."""
    assert scaling.adapter_parameters() == 40_370_176
    assert scaling.parameters() + scaling.adapter_parameters() == 7_655_986_688


def test_exchange_grows_with_workers_and_bytes() -> None:
    assert scaling.all_reduce(1e9, 1, 10) == 0
    assert scaling.all_reduce(1e9, 2, 10) == pytest.approx(scaling.transfer(1e9, 10))
    assert scaling.all_reduce(1e9, 1000, 10) < 2 * scaling.transfer(1e9, 10)
    assert scaling.lora_step(16, 10)[0] == scaling.lora_step(64, 10)[0]  # no more micro-batches than that


def test_the_page_holds_what_the_program_prints() -> None:
    page = PAGE.read_text("utf-8")
    tables = scaling.tables()
    for name, text in tables.items():
        assert text in page, f"docs/scaling.md: table {name!r} is not what tests/perf/scaling.py prints: copy it anew"
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len(rows) == sum(len(text.splitlines()) for text in tables.values())
