"""Which questions a page shows: all, or of very many a sample.

The sample is drawn by a hash of the question's name, so it does not depend on how the question was answered, is the
same for every run, and needs one pass over the answers.
"""

import hashlib
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jmed.rows import gather

Value = TypeVar("Value")

LIMIT = 20_000  # questions of a page
BUDGET = 80_000_000  # characters of them
LONGEST = 12_000  # characters of one text; of a longer one the page shows both ends
PIECE = 10_000  # answers in memory at a time
KEY = ("benchmark", "question_id")
Name = tuple[str, str]  # benchmark, question_id


@dataclass(frozen=True)
class RunAnswers:
    """The answers of one run: answers.parquet, or a table with its columns."""

    name: str
    table: pa.Table | Path

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """These columns of all answers, some rows at a time; the first batch is empty, so that there is one."""
        if isinstance(self.table, pa.Table):
            yield _nothing(self.table.schema, columns)
            yield from self.table.select(columns).to_batches(PIECE)
            return
        with pq.ParquetFile(self.table) as file:
            yield _nothing(file.schema_arrow, columns)
            for group in range(file.num_row_groups):  # of all at once Arrow keeps what it has read
                for batch in file.iter_batches(PIECE, [group], list(columns), use_threads=False):
                    yield batch.select(columns)


def _nothing(schema: pa.Schema, columns: Sequence[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], pa.schema([schema.field(name) for name in columns]))


@dataclass(frozen=True)
class Sample:
    """The questions of a page, and the rows of each run that answer them, in the order of the names."""

    names: list[Name]
    tables: list[pa.Table]  # one a run
    total: int  # questions there are


def sample(runs: Sequence[RunAnswers], columns: Sequence[str], limit: int = LIMIT, budget: int = BUDGET) -> Sample:
    """At most `limit` questions with at most `budget` characters, and these columns of their answers."""
    drawn, total = draw((name for run in runs for name in _names(run)), limit)
    rows = _rows(drawn, runs)
    names = sorted(_afford(drawn, rows, runs, budget), key=_natural)
    places = [[row for name in names for run, row in rows[name] if run == number] for number in range(len(runs))]
    tables = [gather(run.batches((*KEY, *columns)), mine) for run, mine in zip(runs, places, strict=True)]
    return Sample(names, tables, total)


class Draw(Generic[Value]):
    """At most `limit` of the different names, drawn evenly, with a value of each.

    The names with the smallest hashes (a bottom-k sample): memory for the drawn, and, if names are counted, eight bytes
    a name.
    """

    def __init__(self, limit: int, empty: Callable[[], Value], counting: bool = False) -> None:
        """`empty` makes the value of a name that is new; `counting`: `total` is wanted."""
        self._limit, self._empty, self._counting = limit, empty, counting
        self._drawn: dict[bytes, tuple[Name, Value]] = {}
        self._bound = b"\xff" * 9
        self._seen = array("Q")

    def add(self, name: Name) -> Value | None:
        """The value of the name, if it may be among the drawn."""
        digest = hashlib.blake2b("\0".join(name).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        if self._counting:
            self._seen.append(int.from_bytes(digest))
        if digest not in self._drawn and len(self._drawn) >= 2 * self._limit:
            ordered = sorted(self._drawn)
            self._bound = ordered[self._limit]
            self._drawn = {one: self._drawn[one] for one in ordered[: self._limit]}
        if digest >= self._bound:
            return None
        if digest not in self._drawn:
            self._drawn[digest] = name, self._empty()
        return self._drawn[digest][1]

    def drawn(self) -> dict[Name, Value]:
        """In the order of the draw."""
        return dict(self._drawn[digest] for digest in sorted(self._drawn)[: self._limit])

    @property
    def total(self) -> int:
        """Different names there were."""
        seen = np.asarray(self._seen)
        seen.sort()  # in its place: a copy would be as large
        return min(1, len(seen)) + int(np.count_nonzero(seen[1:] != seen[:-1]))


def draw(names: Iterable[Name], limit: int) -> tuple[list[Name], int]:
    """At most `limit` of the different names, in the order of the draw; and how many there are."""
    drawn = Draw[None](limit, lambda: None, counting=True)
    for name in names:
        drawn.add(name)
    return list(drawn.drawn()), drawn.total


def _names(run: RunAnswers) -> Iterator[Name]:
    for batch in run.batches(KEY):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _rows(drawn: Iterable[Name], runs: Sequence[RunAnswers]) -> dict[Name, list[tuple[int, int]]]:
    """Of each drawn question the rows, as (run, row of its table)."""
    rows: dict[Name, list[tuple[int, int]]] = {name: [] for name in drawn}
    for number, run in enumerate(runs):
        for row, name in enumerate(_names(run)):
            if name in rows:
                rows[name].append((number, row))
    return rows


def _afford(
    drawn: Iterable[Name], rows: Mapping[Name, list[tuple[int, int]]], runs: Sequence[RunAnswers], budget: int
) -> list[Name]:
    """As many of the drawn questions, in the order of the draw, as fit into the budget; at least one."""
    sizes = [_sizes(run) for run in runs]
    kept: list[Name] = []
    for name in drawn:
        budget -= sum(int(sizes[run][row]) for run, row in rows[name])
        if budget < 0 and kept:
            break
        kept.append(name)
    return kept


def _sizes(run: RunAnswers) -> np.ndarray:
    """Of each row the characters of its long texts, as far as the page shows them."""
    pieces = [np.zeros(0, dtype=np.int32)]
    for batch in run.batches(("prompt_text", "response")):
        prompts, responses = (pc.min_element_wise(pc.utf8_length(column), LONGEST) for column in batch.columns)
        pieces.append(pc.add(prompts, responses).to_numpy().astype(np.int32))
    return np.concatenate(pieces)


def _natural(name: Name) -> list[Any]:
    """A key that puts 112A2 before 112A10."""
    return [[(len(part), part) if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text)] for text in name]
