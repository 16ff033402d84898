"""Questions in clusters: the formula as published, and intervals that keep their promise where plain ones do not."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, ttest_1samp

from jmed.statistics.clusters import cluster_bootstrap, clustered_mean

rows = st.lists(st.tuples(st.sampled_from([-1.0, 0.0, 1.0]), st.sampled_from("abcdefg")), min_size=2, max_size=60)
clustered_rows = rows.filter(lambda pairs: len({cluster for _, cluster in pairs}) > 1)


@settings(deadline=None)
@given(clustered_rows)
def test_the_error_is_that_of_the_published_double_sum(pairs: list[tuple[float, str]]) -> None:
    """Miller 2024, Adding Error Bars to Evals (arXiv 2411.00640), section 2.2: over all pairs of questions of one
    cluster; here with the factor G / (G - 1) for few clusters."""
    values, clusters = [value for value, _ in pairs], [cluster for _, cluster in pairs]
    mean, n, groups = sum(values) / len(values), len(values), len(set(clusters))
    total = sum((a - mean) * (b - mean) for a, x in pairs for b, y in pairs if x == y)
    found = clustered_mean(values, clusters)
    assert found.clusters == groups
    assert found.standard_error == pytest.approx((max(total, 0) / n**2 * groups / (groups - 1)) ** 0.5, abs=1e-9)


def test_single_questions_are_the_plain_t_test() -> None:
    values = np.random.default_rng(1).normal(0.3, 1, 50)
    plain = ttest_1samp(values, 0)
    found = clustered_mean(values, [str(number) for number in range(50)])
    assert found.p == pytest.approx(plain.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(plain.confidence_interval()))


@settings(deadline=None)
@given(clustered_rows, st.integers(0, 5))
def test_order_and_names_play_no_part_and_signs_turn(pairs: list[tuple[float, str]], seed: int) -> None:
    values, clusters = [value for value, _ in pairs], [cluster for _, cluster in pairs]
    found, drawn = clustered_mean(values, clusters), cluster_bootstrap(values, clusters, seed, draws=50)
    assert cluster_bootstrap(values, clusters, seed, draws=50) == drawn
    assert clustered_mean(values[::-1], clusters[::-1]).low == pytest.approx(found.low)
    assert cluster_bootstrap(values[::-1], clusters[::-1], seed, draws=50) == pytest.approx(drawn)
    turned = clustered_mean([-value for value in values], clusters)
    assert (turned.low, turned.high, turned.p) == pytest.approx((-found.high, -found.low, found.p))
    assert cluster_bootstrap([-value for value in values], clusters, seed, draws=50) == pytest.approx(
        (-drawn[1], -drawn[0])
    )


def draw(generator: np.random.Generator, clusters: int, truth: float) -> tuple[np.ndarray, list[str]]:
    """Differences of marks whose clusters share a leaning, 5 to 15 questions a cluster."""
    sizes = generator.integers(5, 16, clusters)
    leaning = np.repeat(generator.uniform(-0.25, 0.25, clusters), sizes)
    values = (generator.uniform(size=sizes.sum()) < 0.4) * np.where(
        generator.uniform(size=sizes.sum()) < 0.5 + truth / 0.8 + leaning, 1.0, -1.0
    )
    return values, [str(number) for number in np.repeat(np.arange(clusters), sizes)]


def test_95_of_100_clustered_intervals_hold_the_truth_and_p_is_uniform() -> None:
    generator = np.random.default_rng(2)
    held, p_values = defaultdict(list), []
    for _ in range(800):
        values, clusters = draw(generator, 50, 0.0)
        found = clustered_mean(values, clusters)
        p_values.append(found.p)
        held["t"].append(found.low <= 0 <= found.high)
        low, high = cluster_bootstrap(values, clusters, seed=7, draws=600)
        held["bootstrap"].append(low <= 0 <= high)
        plain = ttest_1samp(values, 0).confidence_interval()
        held["plain"].append(plain.low <= 0 <= plain.high)
    shares = {name: np.mean(some) for name, some in held.items()}
    assert 0.93 <= shares["t"] <= 0.97
    assert 0.93 <= shares["bootstrap"] <= 0.97
    assert shares["plain"] < 0.92  # what taking clusters into account is for
    assert kstest(p_values, "uniform").pvalue > 0.01


def test_one_cluster_says_nothing() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        clustered_mean([1, 0], ["a", "a"])


def test_every_value_has_a_cluster() -> None:
    with pytest.raises(ValueError, match="one cluster a value"):
        clustered_mean([1, 0], ["a"])
