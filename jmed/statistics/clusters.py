"""Questions that belong together (a subject, an abstract, the same question in two languages): they are not so many
independent pieces of knowledge, and intervals that think so are too narrow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 4000
_AT_ONCE = 2_000_000  # random numbers held in memory


@dataclass(frozen=True)
class ClusteredMean:
    """A mean over questions in clusters; p: two-sided, that it is 0."""

    mean: float
    clusters: int
    standard_error: float
    low: float
    high: float
    p: float


def clustered_mean(values: ArrayLike, clusters: Sequence[str], confidence: float = 0.95) -> ClusteredMean:
    """Mean with the cluster-robust standard error, t interval with (clusters - 1) degrees of freedom.

    The variance is the sum over clusters of (summed deviation)², over n², times G / (G - 1): with one question a
    cluster that is the plain standard error of a mean. Fewer than two clusters say nothing: ValueError.
    """
    from scipy.stats import t

    sums, sizes = _by_cluster(values, clusters)
    count, n = len(sums), int(sizes.sum())
    if count < 2:
        raise ValueError(f"found {count} clusters; expected at least 2")
    mean = float(sums.sum() / n)
    error = float(np.sqrt(np.sum((sums - mean * sizes) ** 2) * count / (count - 1)) / n)
    half = float(t.ppf((1 + confidence) / 2, count - 1)) * error
    p = float(2 * t.sf(abs(mean) / error, count - 1)) if error else float(mean == 0)
    return ClusteredMean(mean, count, error, mean - half, mean + half, p)


def cluster_bootstrap(
    values: ArrayLike, clusters: Sequence[str], seed: int, confidence: float = 0.95, draws: int = DRAWS
) -> tuple[float, float]:
    """Percentile interval of the mean when whole clusters are drawn again; the same seed, the same interval.

    With few clusters (under some twenty) it is too narrow; `clustered_mean` knows how few they are.
    """
    sums, sizes = _by_cluster(values, clusters)
    generator = np.random.default_rng(seed)
    means: list[NDArray[np.float64]] = []
    rows = max(1, _AT_ONCE // len(sums))
    for start in range(0, draws, rows):
        drawn = generator.integers(len(sums), size=(min(rows, draws - start), len(sums)))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _by_cluster(values: ArrayLike, clusters: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(sum, size) of each cluster, in the order of the clusters' names, so that the order of rows plays no part."""
    numbers = np.asarray(values, dtype=float)
    if numbers.ndim != 1 or len(numbers) != len(clusters) or not len(numbers):
        raise ValueError(f"expected one cluster a value; found {numbers.shape} values, {len(clusters)} clusters")
    _, index = np.unique(np.asarray(clusters, dtype=object).astype(str), return_inverse=True)
    sizes: NDArray[np.float64] = np.bincount(index).astype(np.float64)
    return np.bincount(index, weights=numbers).astype(np.float64), sizes
