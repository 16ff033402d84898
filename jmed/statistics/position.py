"""Does it matter to a model at which place a choice stands?"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np


@dataclass(frozen=True)
class PositionBias:
    """How often each place was chosen, and how often it held the right answer; p: that both are equally often."""

    predicted: dict[str, int]
    gold: dict[str, int]
    chi2: float
    degrees: int
    p: float


@dataclass(frozen=True)
class Consistency:
    """The same questions with their choices in several orders: answers compared by what the choice says."""

    n: int
    rotations: int
    always_same: float  # share of questions answered the same in every order
    pairwise: float  # mean share of equal answers over all pairs of orders


def position_bias(predicted: Sequence[str], gold: Sequence[str]) -> PositionBias:
    """The test of Stuart and Maxwell for equal margins, on questions with one right answer.

    Predictions and right answers belong to the same questions, so the usual chi-squared test of fit, which takes the
    right answers for a fixed expectation, would not keep its level. The order of choices must not be by content.
    """
    if len(predicted) != len(gold) or not gold:
        raise ValueError(f"expected one right answer a prediction; found {len(predicted)} and {len(gold)}")
    places = sorted({*predicted, *gold})
    index = {place: number for number, place in enumerate(places)}
    table = np.zeros((len(places), len(places)))
    for one, other in zip(predicted, gold, strict=True):
        table[index[one], index[other]] += 1
    chi2, degrees, p = _stuart_maxwell(table)
    counts, right = Counter(predicted), Counter(gold)
    return PositionBias({key: counts[key] for key in places}, {key: right[key] for key in places}, chi2, degrees, p)


def _stuart_maxwell(table: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> tuple[float, int, float]:
    """(chi-squared, degrees of freedom, p) for equal row and column sums of a square table."""
    from scipy.stats import chi2

    rows, columns = table.sum(axis=1), table.sum(axis=0)
    apart = rows - columns
    spread = np.diag(rows + columns) - table - table.T
    degrees = int(np.linalg.matrix_rank(spread))
    if not degrees:
        return 0.0, 0, 1.0
    value = float(apart @ np.linalg.pinv(spread, hermitian=True) @ apart)
    return value, degrees, float(chi2.sf(value, degrees))


def consistency(answers: Sequence[Sequence[Hashable]]) -> Consistency:
    """Answers to each question in every order (questions × orders), mapped back to the original choices."""
    orders = len(answers[0]) if answers else 0
    if orders < 2 or any(len(one) != orders for one in answers):
        raise ValueError("expected for every question an answer in each of the same orders, at least two")
    same = sum(len(set(one)) == 1 for one in answers)
    pairs = sum(one == other for answer in answers for one, other in combinations(answer, 2))
    return Consistency(len(answers), orders, same / len(answers), pairs / (len(answers) * orders * (orders - 1) / 2))


@dataclass(frozen=True)
class RotatedBias:
    """p: that no place is preferred."""

    chi2: float
    degrees: int
    p: float


def rotated_bias(places: Sequence[Sequence[int]]) -> RotatedBias:
    """Places (0, 1, …) chosen for each question in all k rotations of its k choices (questions × rotations).

    Every place holds every choice once a question. To a model that prefers no place the names of the places mean
    nothing: had each question's places been shifted by another number, the same for its k answers, that would have been
    as likely. The mean and covariance of the shares under these shifts are known, and the shares seen are held against
    them. A model that always chooses the same text has no spread, and no preference.
    """
    from scipy.stats import chi2

    count = len(places[0]) if places else 0
    if count < 2 or any(len(row) != count or not set(row) <= set(range(count)) for row in places):
        raise ValueError("expected for every question a place in each of as many rotations as there are places")
    apart = np.array([np.bincount(row, minlength=count) for row in places]) / count - 1 / count
    shifted = np.stack([np.roll(apart, shift, axis=1) for shift in range(count)])  # shifts × questions × places
    spread = np.einsum("sqi,sqj->ij", shifted, shifted) / count
    degrees = int(np.linalg.matrix_rank(spread))
    if not degrees:
        return RotatedBias(0.0, 0, 1.0)
    total = apart.sum(axis=0)
    value = float(total @ np.linalg.pinv(spread, hermitian=True) @ total)
    return RotatedBias(value, degrees, float(chi2.sf(value, degrees)))
