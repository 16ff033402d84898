"""Which sequences make which step, in which micro-batches, at which learning rate: known before training begins.

Nothing here depends on the number of workers, so that one worker and eight take the same steps, and a run that is
continued goes on where it stopped with nothing but the number of the step.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jmed.configuration.finetune import FinetuneConfig
from jmed.errors import UserError
from jmed.training.table import TokenTable

FILLED = 0.5  # of a micro-batch's width is the least that each padded row fills


@dataclass(frozen=True)
class MicroBatch:
    """One forward and backward pass."""

    number: int  # within its step
    rows: tuple[tuple[int, ...], ...]  # sequences of the table; several in a row are packed
    width: int  # tokens of the longest row
    tokens: int  # without padding
    supervised: int

    @property
    def area(self) -> int:
        """Tokens with padding."""
        return len(self.rows) * self.width


@dataclass(frozen=True)
class Step:
    """One optimiser step."""

    number: int  # from 1
    epoch: float  # passes over the data when it is done
    micro_batches: tuple[MicroBatch, ...]
    learning_rate: float

    @property
    def tokens(self) -> int:
        return sum(batch.tokens for batch in self.micro_batches)

    @property
    def supervised(self) -> int:
        return sum(batch.supervised for batch in self.micro_batches)


class Schedule:
    """The steps of a run. An epoch is a shuffled pass over all sources by their weights; steps run across its end."""

    def __init__(self, table: TokenTable, config: FinetuneConfig) -> None:
        self.table, self.config = table, config
        self.members = [np.flatnonzero(table.sources == number) for number in range(len(config.data))]
        self.epoch_length = sum(self._drawn(number) for number in range(len(config.data)))
        if self.epoch_length == 0:
            raise UserError("data: the weights leave no example in an epoch; raise them")
        batch = config.global_batch_size
        self.sequences = config.steps * batch if config.steps else (config.epochs or 1) * self.epoch_length
        self.total = math.ceil(self.sequences / batch)
        self.epoch_order = lru_cache(maxsize=2)(self._epoch_order)

    def step(self, number: int) -> Step:
        """Step `number`, counted from 1."""
        first = (number - 1) * self.config.global_batch_size
        last = min(first + self.config.global_batch_size, self.sequences)
        return Step(
            number, last / self.epoch_length, tuple(self._micro_batches(self._indices(first, last))), self._rate(number)
        )

    def ends_epoch(self, number: int) -> int | None:
        """The epoch (from 1) whose last sequence is in this step; None: it goes on."""
        size = self.config.global_batch_size
        before = (number - 1) * size // self.epoch_length
        after = min(number * size, self.sequences) // self.epoch_length
        return after if after > before else None

    def longest(self) -> MicroBatch:
        """A micro-batch at least as large as any: of the longest sequences, as many as a step has."""
        order = np.argsort(-self.table.lengths, kind="stable")[: self.config.global_batch_size]
        return max(self._micro_batches(order.tolist()), key=lambda batch: (batch.area, batch.width, batch.supervised))

    def _drawn(self, source: int) -> int:
        return round(self.config.data[source].weight * len(self.members[source]))

    def _epoch_order(self, epoch: int) -> np.ndarray:
        """All sequences of an epoch (from 0), shuffled. A weight's fraction moves on through its source by epochs."""
        picked = []
        for source, members in enumerate(self.members):
            count, order = self._drawn(source), self._generator(source).permutation(members)
            picked.append(np.take(order, np.arange(epoch * count, (epoch + 1) * count), mode="wrap"))
        return self._generator(len(self.members), epoch).permutation(np.concatenate(picked))

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, *key])

    def _indices(self, first: int, last: int) -> list[int]:
        orders = (divmod(position, self.epoch_length) for position in range(first, last))
        return [int(self.epoch_order(epoch)[place]) for epoch, place in orders]

    def _micro_batches(self, indices: Sequence[int]) -> Iterator[MicroBatch]:
        """Rows of similar length under the token budget, longest first."""
        lengths = self.table.lengths
        if self.config.packing:
            rows = pack(indices, lengths, self.config.sequence_length)
        else:
            rows = [(index,) for index in indices]
        widths = {row: int(lengths[list(row)].sum()) for row in rows}
        rows.sort(key=lambda row: (-widths[row], row))
        groups: list[list[tuple[int, ...]]] = []
        for row in rows:
            width = widths[groups[-1][0]] if groups else 0
            if not groups or widths[row] < FILLED * width or (len(groups[-1]) + 1) * width > self.config.batch_tokens:
                groups.append([])
            groups[-1].append(row)
        for number, group in enumerate(groups):
            members = [index for row in group for index in row]
            tokens, supervised = int(lengths[members].sum()), int(self.table.supervised[members].sum())
            yield MicroBatch(number, tuple(group), widths[group[0]], tokens, supervised)

    def _rate(self, number: int) -> float:
        """Linear warm-up over a share of the steps, then constant, linear to 0, or half a cosine to 0."""
        config, warmup = self.config, math.ceil(self.config.warmup * self.total)
        if number <= warmup:
            return config.learning_rate * number / warmup
        done = (number - warmup - 1) / max(1, self.total - warmup)
        factor = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[config.schedule]
        return config.learning_rate * factor


def pack(indices: Sequence[int], lengths: np.ndarray, capacity: int) -> list[tuple[int, ...]]:
    """Best-fit decreasing: every sequence into the fullest row that still has room for it."""
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(indices, key=lambda index: (-lengths[index], index)):
        length = int(lengths[index])
        fitting = [row for row, left in enumerate(room) if left >= length]
        if fitting:
            row = min(fitting, key=lambda row: (room[row], row))
            rows[row].append(index)
            room[row] -= length
        else:
            rows.append([index])
            room.append(capacity - length)
    return [tuple(row) for row in rows]
