"""Two runs on the same questions: the paired table, the difference with its interval, the test, and many tests at once.

The headline interval of the difference is Newcombe's: closed, and honest where the bootstrap is not (no question on
which the runs differ would give it [0, 0]). The bootstrap stands beside it, and is needed where no closed form exists.
It is the percentile bootstrap: the estimate is a mean of values -1, 0, 1, unbiased and nearly symmetric, so BCa would
correct next to nothing, and it breaks down where all values are equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jmed.statistics.intervals import wilson


@dataclass(frozen=True)
class PairedTable:
    """How many questions both runs, one of them, or neither answered right."""

    both: int
    only_first: int
    only_second: int
    neither: int

    def __post_init__(self) -> None:
        if min(self.both, self.only_first, self.only_second, self.neither) < 0 or not self.n:
            raise ValueError(f"{self} is no table of pairs: expected counts, and at least one pair")

    @property
    def n(self) -> int:
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def first_value(self) -> float:
        """Accuracy of the first run."""
        return (self.both + self.only_first) / self.n

    @property
    def second_value(self) -> float:
        """Accuracy of the second run."""
        return (self.both + self.only_second) / self.n

    @property
    def difference(self) -> float:
        """Accuracy of the second minus that of the first, in -1 to 1."""
        return (self.only_second - self.only_first) / self.n

    def swapped(self) -> "PairedTable":
        """The same with the runs exchanged."""
        return PairedTable(self.both, self.only_second, self.only_first, self.neither)


def paired_table(first: ArrayLike, second: ArrayLike) -> PairedTable:
    """Count pairs of marks (true: right), question by question."""
    one, two = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if one.shape != two.shape or one.ndim != 1:
        raise ValueError(f"expected two lists of equal length; found shapes {one.shape} and {two.shape}")
    counts = [int((one & two).sum()), int((one & ~two).sum()), int((~one & two).sum()), int((~one & ~two).sum())]
    return PairedTable(*counts)


def newcombe(table: PairedTable, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the difference (Newcombe 1998, Statistics in Medicine 17:2635, method 10).

    Wilson's intervals of the two accuracies, joined with their correlation.
    """
    second, first, n = table.both + table.only_second, table.both + table.only_first, table.n
    p2, p1 = second / n, first / n
    low2, high2 = wilson(second, n, confidence)
    low1, high1 = wilson(first, n, confidence)
    phi = _correlation(table)
    below = sqrt(max((p2 - low2) ** 2 - 2 * phi * (p2 - low2) * (high1 - p1) + (high1 - p1) ** 2, 0.0))
    above = sqrt(max((high2 - p2) ** 2 - 2 * phi * (high2 - p2) * (p1 - low1) + (p1 - low1) ** 2, 0.0))
    return table.difference - below, table.difference + above


def _correlation(table: PairedTable) -> float:
    """Of the two runs' marks, with Newcombe's continuity correction where it is positive."""
    first, second, n = table.both + table.only_first, table.both + table.only_second, table.n
    spread = first * (n - first) * second * (n - second)
    if not spread:
        return 0.0
    product = table.both * table.neither - table.only_first * table.only_second
    return (max(product - n / 2, 0.0) if product > 0 else product) / sqrt(spread)


def paired_bootstrap(table: PairedTable, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the difference when questions are drawn again, with replacement.

    The distribution over all possible draws is computed (the n-th power of the three probabilities' generating
    function), so there is no seed and no sampling error: it is what ever more draws tend to.
    """
    return _lower(table, confidence), -_lower(table.swapped(), confidence)


def _lower(table: PairedTable, confidence: float) -> float:
    from scipy.fft import irfft, next_fast_len, rfft

    n = table.n
    probabilities = np.array([table.only_first, table.both + table.neither, table.only_second]) / n
    length = next_fast_len(2 * n + 1, real=True)
    mass = irfft(rfft(probabilities, length) ** n, length)[: 2 * n + 1]
    below = np.cumsum(mass) >= (1 - confidence) / 2 - 1e-12
    return (int(np.argmax(below)) - n) / n


def mcnemar(table: PairedTable) -> float:
    """Two-sided exact p of no difference: a fair coin decides who is right where only one is."""
    from scipy.stats import binomtest

    alone = table.only_first + table.only_second
    return float(binomtest(table.only_second, alone).pvalue) if alone else 1.0


def mcnemar_mid_p(table: PairedTable) -> float:
    """The same counting only half of what is as likely as what was seen (Fagerland et al. 2013).

    The exact test says "different" in clearly less than 5 % of the cases without a difference; this comes nearer,
    and may exceed 5 % by a little. For reading beside the exact p, which decides.
    """
    from scipy.stats import binom

    alone = table.only_first + table.only_second
    if not alone:
        return 1.0
    seen = float(binom.pmf(table.only_second, alone, 0.5))
    return 1 - seen / 2 if table.only_first == table.only_second else mcnemar(table) - seen


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p of each test of a family, in the given order: all at most as sure as one test would be."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted: NDArray[np.float64] = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]
