"""The same questions under several conditions, such as prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class CochranQ:
    """p: that all conditions are equally hard."""

    q: float
    degrees: int
    p: float


def cochran_q(conditions: Sequence[ArrayLike]) -> CochranQ:
    """Cochran's Q (Cochran 1950, Biometrika 37:256): marks (true: right) of the same questions, a row a condition.

    For two conditions it is McNemar's chi-squared without continuity correction.
    """
    from scipy.stats import chi2

    marks = np.asarray(conditions, dtype=bool).astype(float)
    if marks.ndim != 2 or len(marks) < 2:
        raise ValueError(f"expected marks of the same questions in two conditions or more; found shape {marks.shape}")
    count, by_condition, by_question = len(marks), marks.sum(axis=1), marks.sum(axis=0)
    spread = count * by_question.sum() - (by_question**2).sum()
    if not spread:  # no question on which the conditions differ
        return CochranQ(0.0, count - 1, 1.0)
    above = count * (by_condition**2).sum() - by_condition.sum() ** 2
    q = float((count - 1) * above / spread)
    return CochranQ(q, count - 1, float(chi2.sf(q, count - 1)))
