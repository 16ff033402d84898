"""What is asked of a model, one item a question and rotation; of very many, most of each is on disk."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jmed.data.question import Question
from jmed.evaluation.table import PLANNED
from jmed.inference.request import Request
from jmed.rows import read
from jmed.spool import Lazy, View


@dataclass(frozen=True)
class Item:
    """One question as it is asked."""

    question: Question
    request: Request
    prompt: str  # name of the template
    method: str
    rotation: int = 0  # so many places the choices are rotated; the question itself is as published


class Items(Lazy[Item]):
    """Items in the order in which they are asked."""

    def __init__(self, questions: Sequence[Question], rows: pa.Table) -> None:
        """`rows`: one an item, of the schema PLANNED."""
        self.questions, self.rows = questions, rows

    def __len__(self) -> int:
        return self.rows.num_rows

    def _at(self, place: int) -> Item:
        return next(self.read(range(place, place + 1)))

    def read(self, places: Sequence[int]) -> Iterator[Item]:
        questions = iter(View(self.questions, places))
        for (rows,) in read(places, self.rows):
            for row in rows.to_pylist():
                yield Item(next(questions), to_request(row), row["template"], row["method"], row["rotation"])


def to_rows(items: Iterable[Item]) -> pa.RecordBatch:
    """Rows of PLANNED, which hold all of the items but their questions."""
    values = ((*vars(one.request).values(), one.prompt, one.method, one.rotation) for one in items)
    columns = zip(*values, strict=True)
    arrays = [pa.array(column, type) for column, type in zip(columns, PLANNED.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=PLANNED)


def to_request(row: dict[str, Any]) -> Request:
    """The request of a row with the columns of REQUESTS."""
    return Request(
        row["item_id"], row["prompt"], tuple(row["continuations"]), row["max_new_tokens"], row["repetition_penalty"],
        row["stop"],
    )  # fmt: skip
