"""Calibration, choice order and ranks: published examples and plain recomputation."""

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from jmed.statistics.calibration import (
    brier,
    calibration_error,
    confidences,
    reliability,
    risk_coverage,
    softmax,
)
from jmed.statistics.intervals import wilson
from jmed.statistics.position import consistency, position_bias
from jmed.statistics.ranks import ranks

answers = st.lists(
    st.tuples(st.sampled_from([0.2, 0.25, 0.5, 0.7, 0.71, 0.9, 1.0]), st.booleans()), min_size=1, max_size=60
)


def test_briers_own_example() -> None:
    """Brier 1950, Monthly Weather Review 78:1, table 1: ten forecasts of rain, score 0.19."""
    rain = [0.7, 0.9, 0.8, 0.4, 0.2, 0, 0, 0, 0, 0.1]
    fell = [0, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert brier([[1 - p, p] for p in rain], fell) == pytest.approx(0.19)


def test_softmax_is_what_the_options_say_about_each_other() -> None:
    assert softmax([math.log(0.1) - 900, math.log(0.3) - 900, -math.inf]) == pytest.approx([0.25, 0.75, 0])
    for wrong in ([], [-math.inf, -math.inf], [0.0, math.nan]):
        with pytest.raises(ValueError, match="log-probabilities"):
            softmax(wrong)


def test_confidence_is_that_of_the_choice_taken() -> None:
    sure, right = confidences([[0.2, 0.7, 0.1], [0.5, 0.5], [0.4, 0.6]], [1, 1, 0])
    assert list(sure) == [0.7, 0.5, 0.6]
    assert list(right) == [True, False, False]


def test_calibration_error_by_hand() -> None:
    """Two bins of width 0.5: (0.2, 0.4; one right of two) and (0.9, 0.9, 0.6; two right of three)."""
    sure, right = [0.2, 0.4, 0.9, 0.9, 0.6], [True, False, True, True, False]
    curve = reliability(sure, right, "width", bins=2)
    assert [(point.n, point.correct) for point in curve] == [(2, 1), (3, 2)]
    assert calibration_error(curve) == pytest.approx(2 / 5 * abs(0.3 - 0.5) + 3 / 5 * abs(0.8 - 2 / 3))
    assert (curve[1].low, curve[1].high) == wilson(2, 3)


@settings(deadline=None)
@given(answers, st.randoms(use_true_random=False), st.sampled_from(["mass", "width"]))
def test_the_curve_holds_every_question_once_in_any_order(
    pairs: list[tuple[float, bool]], shuffler: random.Random, binning: str
) -> None:
    curve = reliability(*zip(*pairs, strict=True), binning)  # type: ignore[arg-type]
    assert sum(point.n for point in curve) == len(pairs)
    assert sum(point.correct for point in curve) == sum(right for _, right in pairs)
    assert all(one.confidence < two.confidence for one, two in itertools.pairwise(curve))
    shuffler.shuffle(pairs)
    assert calibration_error(reliability(*zip(*pairs, strict=True), binning)) == pytest.approx(  # type: ignore[arg-type]
        calibration_error(curve)
    )


def test_bins_of_equal_mass_hold_equally_many() -> None:
    sure = np.random.default_rng(1).uniform(0.3, 1, 1000)
    assert [point.n for point in reliability(sure, sure > 0.5, "mass")] == [100] * 10


def test_a_calibrated_model_has_little_error_and_a_boaster_much() -> None:
    generator = np.random.default_rng(2)
    sure = generator.uniform(0.3, 1, 20_000)
    for binning in ("mass", "width"):
        assert calibration_error(reliability(sure, generator.uniform(size=20_000) < sure, binning)) < 0.015
        boaster = calibration_error(reliability(sure, generator.uniform(size=20_000) < sure - 0.2, binning))
        assert boaster == pytest.approx(0.2, abs=0.015)


@settings(deadline=None)
@given(answers.filter(lambda pairs: len(pairs) <= 6))
def test_the_area_is_the_mean_over_all_orders_of_equally_sure_questions(pairs: list[tuple[float, bool]]) -> None:
    areas = []
    for order in itertools.permutations(pairs):
        if all(one[0] >= two[0] for one, two in itertools.pairwise(order)):
            wrong = np.cumsum([not right for _, right in order])
            areas.append(np.mean(wrong / np.arange(1, len(order) + 1)))
    found = risk_coverage(*zip(*pairs, strict=True))
    assert found.area == pytest.approx(np.mean(areas))
    assert found.coverage[-1] == 1
    assert found.accuracy[-1] == pytest.approx(np.mean([right for _, right in pairs]))


def test_stuarts_example() -> None:
    """Stuart 1955, Biometrika 42:412: vision of the right and left eye of 7,477 women, chi-squared 11.96 on 3."""
    table = [[1520, 266, 124, 66], [234, 1512, 432, 78], [117, 362, 1772, 205], [36, 82, 179, 492]]
    pairs = [("abcd"[i], "abcd"[j]) for i, row in enumerate(table) for j, n in enumerate(row) for _ in range(n)]
    found = position_bias(*zip(*pairs, strict=True))
    assert (found.chi2, found.degrees, found.p) == (pytest.approx(11.957, abs=5e-4), 3, pytest.approx(0.0075, abs=5e-5))
    assert found.predicted == {"a": 1976, "b": 2256, "c": 2456, "d": 789}


def test_a_model_without_position_bias_is_seldom_accused() -> None:
    """Right in 60 %, else any of the others: p is uniform. Always "a": found at once."""
    generator, p_values = np.random.default_rng(3), []
    for _ in range(800):
        gold = generator.integers(0, 5, 300)
        guess = (gold + generator.integers(1, 5, 300)) % 5
        said = np.where(generator.uniform(size=300) < 0.6, gold, guess)
        p_values.append(position_bias(["abcde"[n] for n in said], ["abcde"[n] for n in gold]).p)
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert position_bias(["a"] * 50, ["abcde"[n % 5] for n in range(50)]).p < 1e-6
    assert position_bias(["a", "b"], ["a", "b"]).p == 1


def test_consistency_over_orders() -> None:
    found = consistency([["a", "a", "a"], ["a", "a", "b"], ["a", "b", "c"], ["", "", ""]])
    assert (found.n, found.rotations, found.always_same) == (4, 3, 0.5)
    assert found.pairwise == pytest.approx((3 + 1 + 0 + 3) / 12)
    with pytest.raises(ValueError, match="same orders"):
        consistency([["a", "b"], ["a"]])


def test_ranks_say_which_neighbours_are_alike() -> None:
    easy = np.arange(400)
    found = ranks({"worst": easy < 200, "good": easy < 300, "as good": (easy < 298) | (easy == 399)})
    assert [(one.name, one.correct, one.best, one.worst, one.like_next) for one in found] == [
        ("good", 300, 1, 2, True),
        ("as good", 299, 1, 2, False),
        ("worst", 200, 3, 3, False),
    ]


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=40))
def test_ranks_do_not_depend_on_the_order_of_anything(rows: list[tuple[bool, ...]]) -> None:
    columns = dict(zip("xyz", zip(*rows, strict=True), strict=True))
    turned = {name: columns[name][::-1] for name in "zxy"}
    found = ranks(columns)
    assert ranks(turned) == found
    for number, one in enumerate(found, start=1):
        assert one.best <= number <= one.worst
