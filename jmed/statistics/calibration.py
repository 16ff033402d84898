"""Does a model that is 80 % sure be right in 80 %? From the log-probabilities of the choices.

The headline figure is the expected calibration error over bins of equal mass: each bin then holds as many questions,
and none is noise. With bins of equal width most questions of a sure model lie in one bin; that figure is given to be
compared with what others publish.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jmed.statistics.intervals import wilson

BINS = 10
Binning = Literal["mass", "width"]


@dataclass(frozen=True)
class Bin:
    """A point of the reliability curve: questions answered with similar confidence."""

    n: int
    correct: int
    confidence: float  # mean
    accuracy: float
    low: float  # Wilson's interval of the accuracy
    high: float


@dataclass(frozen=True)
class RiskCoverage:
    """Answering only the surest questions: at each confidence that occurs, the share answered, and right among those.

    `area` (of the curve of errors against coverage, 0 to 1; less is better) is the mean error rate over all
    coverages; among equally sure questions, over all orders.
    """

    coverage: list[float]
    accuracy: list[float]
    area: float


def softmax(logprobs: ArrayLike) -> NDArray[np.float64]:
    """Probabilities of the choices of one question, given that one of them is the answer."""
    values = np.asarray(logprobs, dtype=float)
    top = values.max() if values.ndim == 1 and len(values) else np.nan
    if not np.isfinite(top) or np.isnan(values).any():
        raise ValueError(f"expected log-probabilities of choices, at least one of them finite; found {logprobs!r}")
    odds = np.exp(values - top)
    return odds / odds.sum()


def confidences(
    probabilities: Sequence[ArrayLike], gold: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.bool]]:
    """(probability of the most probable choice, whether it is the right one) of each question; of equals the first."""
    rows = [np.asarray(row, dtype=float) for row in probabilities]
    hits = [int(row.argmax()) == right for row, right in zip(rows, gold, strict=True)]
    return np.array([row.max() for row in rows]), np.array(hits, dtype=bool)


def brier(probabilities: Sequence[ArrayLike], gold: Sequence[int]) -> float:
    """Brier's score over all choices (Brier 1950): 0 sure and right, 2 sure and wrong."""
    total = 0.0
    for row, right in zip(probabilities, gold, strict=True):
        truth = np.arange(len(np.asarray(row))) == right
        total += float(np.sum((np.asarray(row, dtype=float) - truth) ** 2))
    return total / len(gold)


def reliability(confidence: ArrayLike, hit: ArrayLike, binning: Binning = "mass", bins: int = BINS) -> list[Bin]:
    """The reliability curve, least sure first; empty bins are left out. Equal confidences share a bin."""
    sure, right = _marked(confidence, hit)
    if binning == "width":
        edges = np.linspace(0, 1, bins + 1)[1:-1]
    else:
        edges = np.unique(np.sort(sure)[[-(-sure.size * number // bins) - 1 for number in range(1, bins)]])
    index = np.searchsorted(edges, sure, side="left")  # a bin holds its upper edge
    points = []
    for number in np.unique(index):
        inside = index == number
        n, correct = int(inside.sum()), int(right[inside].sum())
        low, high = wilson(correct, n)
        points.append(Bin(n, correct, float(sure[inside].mean()), correct / n, low, high))
    return points


def _marked(confidence: ArrayLike, hit: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool]]:
    """Confidences and marks of the same questions, at least one."""
    sure, right = np.asarray(confidence, dtype=float), np.asarray(hit, dtype=bool)
    if sure.shape != right.shape or not sure.size:
        raise ValueError(f"expected one mark a confidence; found {sure.shape} and {right.shape}")
    return sure, right


def calibration_error(curve: Sequence[Bin]) -> float:
    """Expected calibration error: how far confidence and accuracy lie apart, over the bins, by their questions."""
    n = sum(point.n for point in curve)
    return sum(point.n * abs(point.confidence - point.accuracy) for point in curve) / n


def risk_coverage(confidence: ArrayLike, hit: ArrayLike) -> RiskCoverage:
    """Accuracy against coverage when the model may abstain from what it is least sure of."""
    sure, right = _marked(confidence, hit)
    _, index, sizes = np.unique(-sure, return_inverse=True, return_counts=True)  # surest first
    wrong = np.bincount(index, weights=~right)
    answered, errors = np.cumsum(sizes), np.cumsum(wrong)
    expected = np.cumsum(np.repeat(wrong / sizes, sizes))  # equally sure ones in every order alike
    area = float(np.mean(expected / np.arange(1, len(sure) + 1)))
    return RiskCoverage([float(x) for x in answered / len(sure)], [float(x) for x in 1 - errors / answered], area)
