"""Small pieces that several parts of a comparison share."""

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

import numpy as np

from jmed.comparison.runs import Group, Runs, System
from jmed.statistics.intervals import wilson


class ShareFields(TypedDict):
    correct: int
    n: int
    value: float
    ci_low: float
    ci_high: float


def share(marks: Iterable[bool]) -> ShareFields:
    """The fields of a schema.Share; at least one mark."""
    values = list(marks)
    correct, n = sum(values), len(values)
    low, high = wilson(correct, n)
    return {"correct": correct, "n": n, "value": correct / n, "ci_low": low, "ci_high": high}


def pick(marks: Mapping[str, Any], ids: Iterable[str]) -> list[Any]:
    """The marks of these questions, in their order."""
    return [marks[one] for one in ids]


def spread(count: int, most: int) -> list[int]:
    """At most so many of the places 0 … count - 1, evenly apart, the first and the last among them."""
    return [int(place) for place in np.unique(np.linspace(0, count - 1, min(most, count)).round())]


def where(runs: Runs, group: Group, system: System) -> dict[str, Any]:
    """The fields that say whose figures these are."""
    return {"run": system.name, "benchmark": runs.names[group[0]], "language": group[1]}
