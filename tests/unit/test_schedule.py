"""Which sequences make which step: every one as often as its weight says, the same for any number of workers."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jmed.configuration.finetune import FinetuneConfig
from jmed.errors import UserError
from jmed.training.schedule import FILLED, Schedule, pack


@dataclass
class Lengths:
    """What a schedule reads of a token table."""

    lengths: np.ndarray
    supervised: np.ndarray
    sources: np.ndarray


def configured(weights: list[float], **keys: Any) -> FinetuneConfig:
    data = [{"path": f"{n}.jsonl", "format": "text", "weight": weight} for n, weight in enumerate(weights)]
    return FinetuneConfig(model={"path": "m"}, output_dir="o", stage="pretrain", data=data, **keys)


def scheduled(lengths: list[list[int]], weights: list[float] | None = None, **keys: Any) -> Schedule:
    flat = np.array([length for source in lengths for length in source], dtype=np.int32)
    sources = np.array([n for n, source in enumerate(lengths) for _ in source], dtype=np.int16)
    return Schedule(Lengths(flat, flat - 1, sources), configured(weights or [1.0] * len(lengths), **keys))  # type: ignore[arg-type]


def seen(schedule: Schedule, first: int = 1, last: int | None = None) -> list[int]:
    steps = [schedule.step(number) for number in range(first, (last or schedule.total) + 1)]
    return [index for step in steps for batch in step.micro_batches for row in batch.rows for index in row]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 100), min_size=1, max_size=40), min_size=1, max_size=3),
    st.integers(1, 16),
    st.integers(1, 3),
    st.booleans(),
    st.integers(1, 300),
)
def test_an_epoch_holds_every_sequence_once(
    lengths: list[list[int]], batch: int, epochs: int, packing: bool, budget: int
) -> None:
    schedule = scheduled(
        lengths, global_batch_size=batch, epochs=epochs, packing=packing, batch_tokens=budget, sequence_length=100
    )
    count = sum(len(source) for source in lengths)
    assert Counter(seen(schedule)) == dict.fromkeys(range(count), epochs)
    for number in range(1, schedule.total + 1):
        for micro_batch in schedule.step(number).micro_batches:
            assert micro_batch.area <= max(budget, micro_batch.width)
            assert micro_batch.tokens <= micro_batch.area
            assert all(sum(schedule.table.lengths[i] for i in row) <= 100 for row in micro_batch.rows)
            narrowest = min(sum(schedule.table.lengths[i] for i in row) for row in micro_batch.rows)
            assert narrowest >= FILLED * micro_batch.width
    assert schedule.step(schedule.total).epoch == pytest.approx(epochs)


def test_steps_may_end_within_an_epoch_or_go_round() -> None:
    assert len(seen(scheduled([[5] * 10], steps=3, global_batch_size=2))) == 6
    assert Counter(seen(scheduled([[5] * 3], steps=4, global_batch_size=3))) == dict.fromkeys(range(3), 4)


def test_weights_say_how_often_an_example_is_seen() -> None:
    schedule = scheduled([[5] * 10, [5] * 4], [0.5, 2.0], epochs=2, global_batch_size=13)
    assert schedule.epoch_length == 5 + 8
    halves = [set(seen(schedule, n, n)) & set(range(10)) for n in (1, 2)]
    assert halves[0] | halves[1] == set(range(10))  # two halves make a whole
    assert not halves[0] & halves[1]
    assert Counter(seen(schedule, 1, 1))[12] == 2


def test_a_weight_that_leaves_nothing_is_an_error() -> None:
    with pytest.raises(UserError, match="weights leave no example"):
        scheduled([[5]], [0.1])


def test_the_order_depends_on_the_seed_and_the_epoch_alone() -> None:
    one, same, other = (scheduled([[5] * 30], seed=seed, epochs=2, global_batch_size=1) for seed in (1, 1, 2))
    assert seen(one) == seen(same) != seen(other)
    assert seen(one, 1, 30) != seen(one, 31, 60)


def test_epochs_end_where_their_last_sequence_is() -> None:
    schedule = scheduled([[5] * 10], epochs=3, global_batch_size=4)
    assert [schedule.ends_epoch(number) for number in range(1, schedule.total + 1)] == [
        None, None, 1, None, 2, None, None, 3,
    ]  # fmt: skip


def test_no_micro_batch_is_larger_than_the_longest() -> None:
    generator = np.random.default_rng(0)
    lengths = [generator.integers(1, 500, 200).tolist()]
    for packing in (False, True):
        schedule = scheduled(
            lengths, epochs=1, packing=packing, global_batch_size=16, batch_tokens=1000, sequence_length=500
        )
        largest = schedule.longest()
        areas = [b.area for n in range(1, schedule.total + 1) for b in schedule.step(n).micro_batches]
        assert max(areas) <= max(largest.area, 1000)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
    ],
)
def test_learning_rates(name: str, rates: list[float]) -> None:
    schedule = scheduled([[5] * 10], epochs=1, global_batch_size=1, learning_rate=1, schedule=name, warmup=0.2)
    assert [schedule.step(n).learning_rate for n in range(1, 11)] == pytest.approx(rates)


def test_the_cosine_falls_from_the_top_to_nearly_nothing() -> None:
    schedule = scheduled([[5] * 100], epochs=1, global_batch_size=1, learning_rate=1, warmup=0.1)
    rates = [schedule.step(n).learning_rate for n in range(1, 101)]
    assert rates[:10] == pytest.approx([n / 10 for n in range(1, 11)])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0 < rates[-1] < 0.001


@given(st.lists(st.integers(1, 64), min_size=1, max_size=60))
def test_packing_loses_nothing_and_wastes_little(lengths: list[int]) -> None:
    array = np.array(lengths)
    rows = pack(range(len(lengths)), array, 64)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(array[list(row)].sum() <= 64 for row in rows)
    assert len(rows) <= 2 * max(1, -(-sum(lengths) // 64))  # at most one row is half empty
