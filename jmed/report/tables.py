"""Tables of a comparison as data: which list of the JSON, and which of its keys are the columns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jmed.report.figures import at
from jmed.report.words import Pair


@dataclass(frozen=True)
class Column:
    """`form` is a form of `figures.FORMS`, or `name` (as it stands), `word` (translated), `names` (a list of names),
    `rank`, `better`, or `interval`, `signed interval`, `decimal interval`: `key` with _low and with _high."""

    english: str
    japanese: str
    key: str
    form: str = "number"

    @property
    def is_number(self) -> bool:
        return self.form not in ("name", "word", "names", "better")


@dataclass(frozen=True)
class Table:
    """`path`: keys of nested lists; a row is an entry of the innermost with the keys of those around it."""

    name: str
    path: Sequence[str]
    columns: Sequence[Column]
    caption: Pair | None = None
    needs: str = ""  # only rows that have this key

    def rows(self, document: Mapping[str, Any]) -> list["Row"]:
        rows = _rows(document, self.path, "", Row({}, {}))
        return [row for row in rows if not self.needs or self.needs in row.values]


@dataclass(frozen=True)
class Chart:
    kind: str  # a function of comparison_charts.js
    caption: Pair
    note: Pair | None = None
    each: str = ""  # a chart for each different value of this key in the table's rows


@dataclass(frozen=True)
class Section:
    name: str
    heading: Pair
    text: Pair | None
    charts: Sequence[Chart]
    tables: Sequence[Table]

    def filled(self, document: Mapping[str, Any]) -> bool:
        """Whether there is anything to show."""
        return any(table.rows(document) for table in self.tables)


@dataclass(frozen=True)
class Row:
    values: dict[str, Any] = field(default_factory=dict)
    pointers: dict[str, str] = field(default_factory=dict)  # where each value stands in the JSON


def _rows(value: Mapping[str, Any], path: Sequence[str], pointer: str, outer: Row) -> Iterator[Row]:
    if not path:
        yield outer
        return
    head, *rest = path
    for place, entry in enumerate(value[head]):
        here = pointer + at(head, place)
        flat = dict(_flat(entry, ""))
        pointers = {key: here + at(*key.split(".")) for key in flat}
        yield from _rows(entry, rest, here, Row(outer.values | flat, outer.pointers | pointers))


def _flat(entry: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    """The values of an entry; those of an object in it with the names of both, `gain.difference`."""
    for key, value in entry.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, value
