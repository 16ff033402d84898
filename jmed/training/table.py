"""The tokenised data: written once by the driver, memory-mapped by every worker."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from jmed.data.examples import Example
from jmed.errors import UserError
from jmed.runs.files import whole
from jmed.training.encoding import Encoded, Encoder

SCHEMA = pa.schema([("ids", pa.list_(pa.int32())), ("supervised", pa.list_(pa.bool_())), ("source", pa.int16())])
CHUNK = 1_000_000  # tokens in one record batch, about: what the writer holds in memory


@dataclass
class Counts:
    """What came of a data source."""

    examples: int = 0
    sequences: int = 0
    too_long: int = 0  # examples left out
    tokens: int = 0
    supervised_tokens: int = 0


class TokenTable:
    """Sequences of token ids by number; `lengths`, `supervised` (tokens that count) and `sources` are [sequences]."""

    def __init__(self, table: pa.Table) -> None:
        self.ids, self.wanted = table["ids"].chunks, table["supervised"].chunks
        self.starts = np.cumsum([0, *(len(chunk) for chunk in self.ids)])
        self.lengths = np.concatenate([np.diff(chunk.offsets.to_numpy()) for chunk in self.ids])
        self.supervised = np.concatenate([_sums(chunk) for chunk in self.wanted])
        self.sources = table["source"].to_numpy()

    @classmethod
    def open(cls, path: Path) -> "TokenTable":
        return cls(pa.ipc.open_file(pa.memory_map(str(path))).read_all())

    def __len__(self) -> int:
        return len(self.lengths)

    def tokens(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids (int32) and supervised (bool) of a sequence, both [length]."""
        chunk = int(np.searchsorted(self.starts, index, side="right")) - 1
        row = index - int(self.starts[chunk])
        ids, wanted = self.ids[chunk][row].values, self.wanted[chunk][row].values
        return ids.to_numpy(), wanted.to_numpy(zero_copy_only=False)


def _sums(chunk: pa.ListArray) -> np.ndarray:
    """True values in each list."""
    totals = np.concatenate([[0], np.cumsum(chunk.values.to_numpy(zero_copy_only=False))])
    offsets = chunk.offsets.to_numpy()
    return (totals[offsets[1:]] - totals[offsets[:-1]]).astype(np.int32)


def write_token_table(
    path: Path, examples: Iterable[tuple[int, Example]], encoder: Encoder, sources: int
) -> list[Counts]:
    """Encode examples, each with the number of its source, into a file that appears whole or not at all."""
    counts = [Counts() for _ in range(sources)]
    with whole(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        with pa.ipc.new_file(sink, SCHEMA) as writer:
            for batch in _batches(_encoded(examples, encoder, counts)):
                writer.write(batch)
        if not sum(one.sequences for one in counts):
            read, long = sum(one.examples for one in counts), sum(one.too_long for one in counts)
            raise UserError(
                f"data: nothing is left to train on: {read} examples read, {long} of them too long for sequence_length"
            )
    return counts


def _encoded(
    examples: Iterable[tuple[int, Example]], encoder: Encoder, counts: list[Counts]
) -> Iterator[tuple[Encoded, int]]:
    for source, example in examples:
        count, sequences = counts[source], encoder.encode(example, source)
        count.examples += 1
        count.sequences += len(sequences)
        count.too_long += not sequences
        for one in sequences:
            count.tokens += len(one.ids)
            count.supervised_tokens += sum(one.supervised)
            yield one, source


def _batches(rows: Iterable[tuple[Encoded, int]]) -> Iterator[pa.RecordBatch]:
    """Record batches of about CHUNK tokens. Rows wait as arrays: a list of Python's numbers is nine times as large."""
    waiting: list[tuple[np.ndarray, np.ndarray, int]] = []
    tokens = 0
    for one, source in rows:
        waiting.append((np.array(one.ids, dtype=np.int32), np.array(one.supervised), source))
        tokens += len(one.ids)
        if tokens >= CHUNK:
            yield _batch(waiting)
            waiting, tokens = [], 0
    if waiting:
        yield _batch(waiting)


def _batch(rows: list[tuple[np.ndarray, np.ndarray, int]]) -> pa.RecordBatch:
    ids, supervised, sources = zip(*rows, strict=True)
    columns = zip((list(ids), list(supervised), list(sources)), SCHEMA, strict=True)
    return pa.record_batch([pa.array(column, field.type) for column, field in columns], schema=SCHEMA)
