"""How far two lists of answers, or of marks, to the same questions agree."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    """`kappa` (Cohen 1960) is what agreement is left above chance; None where chance alone already agrees always."""

    n: int
    raw: float  # share of equal answers
    kappa: float | None


def agreement(first: Sequence[Hashable], second: Sequence[Hashable]) -> Agreement:
    """Raw agreement and Cohen's kappa of two lists of answers, question by question."""
    n = len(first)
    if n != len(second) or not n:
        raise ValueError(f"expected two lists of equal length; found {n} and {len(second)}")
    same = sum(one == two for one, two in zip(first, second, strict=True))
    ones, twos = Counter(first), Counter(second)
    by_chance = sum(count * twos[value] for value, count in ones.items())  # of n², whole numbers
    kappa = None if by_chance == n * n else (n * same - by_chance) / (n * n - by_chance)
    return Agreement(n, same / n, kappa)
