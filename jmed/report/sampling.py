"""Which questions a page shows: all, or of very many a sample.

The sample is drawn by a hash of the question's name, so it does not depend on how the question was answered, is the
same for every run, and needs one pass over the answers.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LIMIT = 20_000  # questions of a page
BUDGET = 80_000_000  # characters of them
LONGEST = 12_000  # characters of one text; of a longer one the page shows both ends
KEY = ("benchmark", "question_id")
Name = tuple[str, str]  # benchmark, question_id


@dataclass(frozen=True)
class RunAnswers:
    """The answers of one run: a table with the columns of answers.parquet."""

    name: str
    table: pa.Table


@dataclass(frozen=True)
class Sample:
    """The questions of a page, and the rows of each run that answer them, in the order of the names."""

    names: list[Name]
    tables: list[pa.Table]  # one a run
    total: int  # questions there are


def sample(runs: Sequence[RunAnswers], columns: Sequence[str], limit: int = LIMIT, budget: int = BUDGET) -> Sample:
    """At most `limit` questions with at most `budget` characters, and these columns of their answers."""
    drawn, total = draw((name for run in runs for name in _names(run.table)), limit)
    rows = _rows(drawn, runs)
    names = sorted(_afford(drawn, rows, runs, budget), key=_natural)
    places = [[row for name in names for run, row in rows[name] if run == number] for number in range(len(runs))]
    tables = [take(run.table.select((*KEY, *columns)), mine) for run, mine in zip(runs, places, strict=True)]
    return Sample(names, tables, total)


def draw(names: Iterable[Name], limit: int) -> tuple[list[Name], int]:
    """At most `limit` of the different names, drawn evenly, in the order of the draw; and how many there are.

    The names with the smallest hashes (a bottom-k sample): memory for the hashes of all and the names of the drawn.
    """
    drawn: dict[bytes, Name] = {}
    seen: set[bytes] = set()
    bound = b"\xff" * 9
    for name in names:
        digest = hashlib.blake2b("\0".join(name).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        seen.add(digest)
        if digest < bound:
            drawn[digest] = name
            if len(drawn) >= 2 * limit:
                bound = sorted(drawn)[limit]
                drawn = {one: drawn[one] for one in sorted(drawn)[:limit]}
    return [drawn[digest] for digest in sorted(drawn)[:limit]], len(seen)


def take(table: pa.Table, rows: Sequence[int]) -> pa.Table:
    """These rows in this order; batch by batch, for a column of a large table is too long for one array."""
    order = np.argsort(rows, kind="stable")
    ascending = np.asarray(rows, dtype=np.int64)[order]
    pieces, start = [table.slice(0, 0)], 0
    for batch in table.to_batches():
        first, last = np.searchsorted(ascending, [start, start + len(batch)])
        pieces.append(pa.Table.from_batches([batch.take(pa.array(ascending[first:last] - start))]))
        start += len(batch)
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    return pa.concat_tables(pieces).combine_chunks().take(pa.array(back))


def _names(table: pa.Table) -> Iterator[Name]:
    for batch in table.select(KEY).to_batches(max_chunksize=10_000):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _rows(drawn: Iterable[Name], runs: Sequence[RunAnswers]) -> dict[Name, list[tuple[int, int]]]:
    """Of each drawn question the rows, as (run, row of its table)."""
    rows: dict[Name, list[tuple[int, int]]] = {name: [] for name in drawn}
    for number, run in enumerate(runs):
        for row, name in enumerate(_names(run.table)):
            if name in rows:
                rows[name].append((number, row))
    return rows


def _afford(
    drawn: Iterable[Name], rows: Mapping[Name, list[tuple[int, int]]], runs: Sequence[RunAnswers], budget: int
) -> list[Name]:
    """As many of the drawn questions, in the order of the draw, as fit into the budget; at least one."""
    sizes = [_sizes(run.table) for run in runs]
    kept: list[Name] = []
    for name in drawn:
        budget -= sum(int(sizes[run][row]) for run, row in rows[name])
        if budget < 0 and kept:
            break
        kept.append(name)
    return kept


def _sizes(table: pa.Table) -> np.ndarray:
    """Of each row the characters of its long texts, as far as the page shows them."""
    lengths = [pc.min_element_wise(pc.utf8_length(table[name]), LONGEST) for name in ("prompt_text", "response")]
    return pc.add(*lengths).to_numpy()


def _natural(name: Name) -> list[Any]:
    """A key that puts 112A2 before 112A10."""
    return [[(len(part), part) if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text)] for text in name]
