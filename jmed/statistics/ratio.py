"""The ratio of two means over the same questions."""

from math import sqrt

import numpy as np
from numpy.typing import ArrayLike


def fieller(numerator: ArrayLike, denominator: ArrayLike, confidence: float = 0.95) -> tuple[float, float] | None:
    """Fieller's interval of mean(numerator) / mean(denominator), value by value from the same questions.

    None where the denominator's own interval holds 0: then every ratio, however large, is possible, and none is given.
    """
    from scipy.stats import t

    top, bottom = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    n = len(top)
    if n != len(bottom) or n < 2:
        raise ValueError(f"expected two lists of equal length, at least 2; found {n} and {len(bottom)}")
    (top_variance, covariance), (_, bottom_variance) = np.cov(top, bottom) / n
    factor = float(t.ppf((1 + confidence) / 2, n - 1)) ** 2
    # The ratios r for which mean(top) - r mean(bottom) is not significantly different from 0: a r² - 2 b r + c <= 0.
    a = float(bottom.mean()) ** 2 - factor * float(bottom_variance)
    b = float(top.mean()) * float(bottom.mean()) - factor * float(covariance)
    c = float(top.mean()) ** 2 - factor * float(top_variance)
    if a <= 0:
        return None
    root = sqrt(max(b * b - a * c, 0.0))
    return (b - root) / a, (b + root) / a
