"""Cross-lingual transfer: what a model gained in the language it was taught in, and what of it in the other."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from jmed.statistics.clusters import clustered_mean
from jmed.statistics.paired import PairedTable, mcnemar, newcombe, paired_table
from jmed.statistics.ratio import fieller


@dataclass(frozen=True)
class Gain:
    """Accuracy of the adapted minus that of the base model in one language."""

    table: PairedTable
    difference: float
    low: float
    high: float
    p: float

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves out 0; else 0: undecided."""
        return _sign(self.low, self.high)


@dataclass(frozen=True)
class Transfer:
    """Gains on the same questions in both languages.

    `ratio` is the target's gain for each unit of the source's. It and its interval are None where the source's gain
    may be 0, since any ratio would then be possible. `gap` is the source's gain minus the target's.
    """

    source: Gain
    target: Gain
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    gap: float
    gap_low: float
    gap_high: float

    @property
    def gap_sign(self) -> int:
        return _sign(self.gap_low, self.gap_high)


def transfer(
    base_source: ArrayLike, adapted_source: ArrayLike, base_target: ArrayLike, adapted_target: ArrayLike
) -> Transfer:
    """Marks of two models in two languages; each list holds the same questions in the same order, at least two."""
    source, target = gain(base_source, adapted_source), gain(base_target, adapted_target)
    in_source, in_target = _steps(base_source, adapted_source), _steps(base_target, adapted_target)
    if in_source.shape != in_target.shape:
        raise ValueError(f"expected the same questions; found {len(in_source)} and {len(in_target)}")
    interval = fieller(in_target, in_source)
    low, high = interval or (None, None)
    gap = clustered_mean(in_source - in_target, [str(number) for number in range(len(in_source))])
    ratio = target.difference / source.difference if interval else None
    return Transfer(source, target, ratio, low, high, gap.mean, gap.low, gap.high)


def gain(base: ArrayLike, adapted: ArrayLike) -> Gain:
    """The gain in one language, with Newcombe's interval and McNemar's exact p."""
    table = paired_table(base, adapted)
    low, high = newcombe(table)
    return Gain(table, table.difference, low, high, mcnemar(table))


def _steps(base: ArrayLike, adapted: ArrayLike) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Question by question: 1 learned, -1 unlearned, 0 as before."""
    return np.asarray(adapted, dtype=float) - np.asarray(base, dtype=float)


def _sign(low: float, high: float) -> int:
    return int(low > 0) - int(high < 0)
