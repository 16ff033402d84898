"""Other people's programs, each in a process of its own, as their users run them.

An engine of ours makes its whole process keep freed memory; in it lm-evaluation-harness took 17.7 s, alone 20.7 s.
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Self, TypeVar

import torch

from tests.perf.kit import THREADS

T = TypeVar("T")
_loaded: Any = None  # in the peer's process


class Peer:
    """A process that has loaded something, and does with it what it is told, one thing after the other."""

    def __init__(self, load: Callable[..., Any], *arguments: Any) -> None:
        """`load` and its arguments, and what is told and said later, must pass through pickle."""
        spawn = multiprocessing.get_context("spawn")
        self._process = ProcessPoolExecutor(1, spawn, initializer=_start, initargs=(load, *arguments))

    def call(self, work: Callable[..., T], *arguments: Any) -> T:
        """What `work` gives for what was loaded and these arguments."""
        return self._process.submit(_call, work, *arguments).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.shutdown()


def _start(load: Callable[..., Any], *arguments: Any) -> None:
    global _loaded
    torch.set_num_threads(THREADS)
    _loaded = load(*arguments)


def _call(work: Callable[..., T], *arguments: Any) -> T:
    return work(_loaded, *arguments)
