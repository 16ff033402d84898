"""Paired runs: published examples, what the intervals and tests promise, and what must not matter."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from jmed.statistics.paired import (
    PairedTable,
    holm,
    mcnemar,
    mcnemar_mid_p,
    newcombe,
    paired_bootstrap,
    paired_table,
)

counts = st.integers(0, 300)
tables = st.tuples(counts, counts, counts, counts).filter(any).map(lambda cells: PairedTable(*cells))
p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("cells", "exact", "mid"), [((1, 1, 7, 12), 0.0703, 0.0391), ((59, 6, 16, 80), 0.0525, 0.0347)]
)
def test_mcnemar_gives_published_p_values(cells: tuple[int, int, int, int], exact: float, mid: float) -> None:
    """Fagerland, Lydersen, Laake 2013, BMC Medical Research Methodology 13:91: airway hyper-responsiveness before and
    after transplantation; complete response before and after consolidation."""
    assert mcnemar(PairedTable(*cells)) == pytest.approx(exact, abs=5e-5)
    assert mcnemar_mid_p(PairedTable(*cells)) == pytest.approx(mid, abs=5e-5)


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404),  # Newcombe 1998, Statistics in Medicine 17:2635, method 10
        ((1, 1, 7, 12), -0.507, -0.026),  # Fagerland, Lydersen, Laake 2014, Statistics in Medicine 33:2850
        ((14, 5, 0, 22), 0.011, 0.226),  # Altman and others 2000, Statistics with Confidence, table 6.2
    ],
)
def test_newcombe_gives_published_intervals(cells: tuple[int, int, int, int], low: float, high: float) -> None:
    """Published as first minus second."""
    assert newcombe(PairedTable(*cells).swapped()) == pytest.approx((low, high), abs=5e-4)


def test_holm_gives_a_published_example() -> None:
    """Wikipedia, Holm–Bonferroni method: at 0.05 the first and the fourth are rejected."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


TRUTHS = [(200, (0.5, 0.1, 0.2, 0.2)), (60, (0.3, 0.2, 0.2, 0.3)), (1000, (0.6, 0.02, 0.05, 0.33))]


@pytest.mark.parametrize(("n", "shares"), TRUTHS)
@pytest.mark.parametrize("interval", [newcombe, paired_bootstrap])
def test_95_of_100_intervals_hold_the_truth(interval, n: int, shares: tuple[float, ...]) -> None:  # type: ignore[no-untyped-def]
    drawn = np.random.default_rng(1).multinomial(n, shares, size=1000)
    truth = shares[2] - shares[1]
    held = [low <= truth <= high for low, high in (interval(PairedTable(*map(int, cells))) for cells in drawn)]
    assert 0.93 <= np.mean(held) <= 0.97


def test_the_bootstrap_is_what_drawing_questions_again_tends_to() -> None:
    table = PairedTable(40, 10, 25, 30)
    steps = np.repeat([0, -1, 1], [70, 10, 25])
    means = np.random.default_rng(2).choice(steps, (20_000, table.n)).mean(axis=1)
    assert paired_bootstrap(table) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=1.01 / table.n)


def test_runs_that_never_differ_are_not_known_to_be_equal() -> None:
    """Why the closed interval is the headline."""
    table = PairedTable(20, 0, 0, 10)
    assert paired_bootstrap(table) == (0, 0)
    low, high = newcombe(table)
    assert low < -0.05 < 0.05 < high
    assert mcnemar(table) == mcnemar_mid_p(table) == 1


@pytest.mark.parametrize("alone", [5, 6, 10, 25, 60, 200])
def test_false_alarms(alone: int) -> None:
    """All tables without a difference, with their probabilities: exact McNemar keeps every level, mid-p nearly."""
    every = [PairedTable(5, alone - count, count, 5) for count in range(alone + 1)]
    chance = binom.pmf(np.arange(alone + 1), alone, 0.5)
    for level in (0.01, 0.05, 0.2):
        exact = chance @ [mcnemar(table) <= level for table in every]
        mid = chance @ [mcnemar_mid_p(table) <= level for table in every]
        assert exact <= level + 1e-9
        assert exact <= mid <= 1.5 * level + 1e-9


def test_mid_p_comes_nearer_to_its_level() -> None:
    """The reason to show it: mean share of false alarms at 5 % over 10 to 100 questions on which the runs differ."""
    sizes = {mcnemar: [], mcnemar_mid_p: []}  # type: ignore[var-annotated]
    for alone in range(10, 100, 9):
        chance = binom.pmf(np.arange(alone + 1), alone, 0.5)
        for test, found in sizes.items():
            found.append(chance @ [test(PairedTable(0, alone - k, k, 1)) <= 0.05 for k in range(alone + 1)])
    assert np.mean(sizes[mcnemar]) < 0.037
    assert 0.043 < np.mean(sizes[mcnemar_mid_p]) < 0.055


def test_holm_keeps_the_family_at_5_percent() -> None:
    families = np.random.default_rng(3).uniform(size=(4000, 8))
    assert 0.04 <= np.mean([min(holm(family)) <= 0.05 for family in families]) <= 0.06


@settings(deadline=None)
@given(tables)
def test_exchanging_the_runs_turns_the_sign(table: PairedTable) -> None:
    other = table.swapped()
    assert other.difference == -table.difference
    for interval in (newcombe, paired_bootstrap):
        low, high = interval(table)
        assert -1 <= low <= table.difference <= high <= 1
        assert interval(other) == pytest.approx((-high, -low))
    for test in (mcnemar, mcnemar_mid_p):
        assert test(other) == pytest.approx(test(table))
    assert 0 < mcnemar_mid_p(table) <= mcnemar(table) <= 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1), st.randoms(use_true_random=False))
def test_the_order_of_questions_plays_no_part(pairs: list[tuple[bool, bool]], shuffler: random.Random) -> None:
    table = paired_table(*zip(*pairs, strict=True))
    assert (table.n, table.both) == (len(pairs), pairs.count((True, True)))
    assert (table.only_first, table.only_second) == (pairs.count((True, False)), pairs.count((False, True)))
    shuffler.shuffle(pairs)
    assert paired_table(*zip(*pairs, strict=True)) == table


@settings(deadline=None)
@given(p_lists, st.randoms(use_true_random=False))
def test_holm_is_between_each_p_and_bonferroni(p_values: list[float], shuffler: random.Random) -> None:
    adjusted = holm(p_values)
    for p, one in zip(p_values, adjusted, strict=True):
        assert p <= one <= min(1, p * len(p_values)) + 1e-12
    assert min(adjusted) == pytest.approx(min(1, min(p_values) * len(p_values)))
    order = list(range(len(p_values)))
    shuffler.shuffle(order)
    assert holm([p_values[index] for index in order]) == pytest.approx([adjusted[index] for index in order])


def test_no_tests_are_a_family_too() -> None:
    assert holm([]) == []


@pytest.mark.parametrize("cells", [(0, 0, 0, 0), (1, -1, 2, 3)])
def test_a_table_without_pairs_is_refused(cells: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="no table of pairs"):
        PairedTable(*cells)


def test_marks_of_other_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="equal length"):
        paired_table([True], [True, False])
