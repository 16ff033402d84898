"""A leaderboard that says which of its ranks mean something."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from jmed.statistics.paired import holm, mcnemar, paired_table

LEVEL = 0.05


@dataclass(frozen=True)
class Rank:
    """One system: its place could be anything from `best` to `worst`, as far as these questions tell."""

    name: str
    correct: int
    n: int
    best: int
    worst: int
    like_next: bool  # cannot be told from the next one on the list


def ranks(marks: Mapping[str, ArrayLike], level: float = LEVEL) -> list[Rank]:
    """Systems by their right answers to the same questions, best first, equal ones by name.

    Two can be told apart if McNemar's exact p, after Holm over all pairs of systems, is below `level`.
    """
    rows = {name: np.asarray(row, dtype=bool) for name, row in marks.items()}
    order = sorted(rows, key=lambda name: (-int(rows[name].sum()), name))
    pairs = list(combinations(order, 2))
    adjusted = holm([mcnemar(paired_table(rows[one], rows[two])) for one, two in pairs])
    apart = {pair for pair, p in zip(pairs, adjusted, strict=True) if p < level}
    found = []
    for number, name in enumerate(order):
        better = sum((other, name) in apart for other in order)
        worse = sum((name, other) in apart for other in order)
        following = order[number + 1 : number + 2]
        like_next = bool(following) and (name, following[0]) not in apart
        row = rows[name]
        found.append(Rank(name, int(row.sum()), len(row), 1 + better, len(order) - worse, like_next))
    return found
