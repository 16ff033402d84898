"""Intervals of a proportion."""


def wilson(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of correct/n, without continuity correction (Newcombe 1998, method 3).

    Nothing asked is nothing known: n = 0 gives (0.0, 1.0).
    """
    return _interval(correct, n, confidence, "wilson")


def clopper_pearson(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of count/n (Newcombe 1998, method 5): never narrower than promised.

    For what must not be understated, such as prohibited choices picked. n = 0 gives (0.0, 1.0).
    """
    return _interval(count, n, confidence, "exact")


def _interval(count: int, n: int, confidence: float, method: str) -> tuple[float, float]:
    if n == 0 and count == 0:
        return 0.0, 1.0
    if not 0 <= count <= n:
        raise ValueError(f"{count} correct of {n}")
    from scipy.stats import binomtest  # takes a second to import, and only results need it

    interval = binomtest(count, n).proportion_ci(confidence_level=confidence, method=method)
    return float(interval.low), float(interval.high)
