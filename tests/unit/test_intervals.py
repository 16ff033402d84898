import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from jmed.statistics.intervals import clopper_pearson, wilson


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_newcombes_worked_examples(correct: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, Statistics in Medicine 17:857, table I, method 3."""
    assert wilson(correct, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0.0, 0.1684), (1, 29, 0.0009, 0.1776)],
)
def test_clopper_pearson_gives_newcombes_worked_examples(count: int, n: int, low: float, high: float) -> None:
    """The same table, method 5."""
    assert clopper_pearson(count, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.37, 0.5])
@pytest.mark.parametrize("n", [5, 40, 120])
def test_the_exact_interval_is_never_too_narrow(n: int, share: float) -> None:
    """All counts there can be, each with its probability."""
    held = [low <= share <= high for low, high in (clopper_pearson(count, n) for count in range(n + 1))]
    assert binom.pmf(np.arange(n + 1), n, share) @ held >= 0.95


def test_nothing_asked_is_nothing_known() -> None:
    assert wilson(0, 0) == clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("correct", "n"), [(2, 1), (-1, 3), (1, 0), (0, -1)])
def test_an_impossible_count_is_refused(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="correct of"):
        wilson(correct, n)


counts = st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(deadline=None)
@given(counts)
def test_the_interval_holds_the_proportion_and_mirrors(count: tuple[int, int]) -> None:
    correct, n = count
    low, high = wilson(correct, n)
    assert 0 <= low <= correct / n <= high <= 1
    other_low, other_high = wilson(n - correct, n)
    assert (low, high) == pytest.approx((1 - other_high, 1 - other_low))


@settings(deadline=None)
@given(counts)
def test_more_confidence_and_fewer_questions_make_it_wider(count: tuple[int, int]) -> None:
    correct, n = count
    low, high = wilson(correct, n)
    sure_low, sure_high = wilson(correct, n, confidence=0.99)
    many_low, many_high = wilson(10 * correct, 10 * n)
    assert sure_high - sure_low > high - low > many_high - many_low
