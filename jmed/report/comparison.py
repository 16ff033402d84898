"""report.html of a comparison."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from jmed.data.question import Question
from jmed.report.exams import has_misprints, why
from jmed.report.questions import Key, Questions
from jmed.report.rendering import write_page
from jmed.report.sampling import RunAnswers
from jmed.report.sections import AFTER_EXAMS, BEFORE_EXAMS, STUDENT_EXAMS
from jmed.report.tables import Section, Table
from jmed.report.words import pair, word
from jmed.untrusted import printable

LISTED = 6  # so many pairs, and runs of a ranking, stand in the summary


class Run(Protocol):
    """A run that was opened."""

    @property
    def name(self) -> str: ...
    @property
    def table(self) -> pa.Table:
        """Rows with the columns of answers.parquet."""


def write_comparison_page(
    comparison: dict[str, Any],
    runs: Sequence[Run],
    file: Path,
    known: Mapping[Key, Question] | None = None,
    names: Mapping[str, str] | None = None,
) -> None:
    """Write the page of a comparison.

    `comparison` is the content of comparison.json, from which every figure comes; parts that are empty are left out.
    `runs` are the runs compared, in its order; `known` are their questions, as far as they could be read again;
    `names` tells which name a benchmark is compared under (`igakuqa-2018`: `igakuqa`), so that a question stands once.
    """
    answers = [RunAnswers(run.name, renamed(run.table, names or {})) for run in runs]
    questions = {((names or {}).get(key[0], key[0]), *key[1:]): one for key, one in (known or {}).items()}
    exams = list(comparison["exams"])
    write_page(
        "comparison.html",
        comparison,
        Questions(answers, questions),
        file,
        before=_filled(BEFORE_EXAMS, comparison),
        after=_filled(AFTER_EXAMS, comparison),
        exams=[(name, rows) for name, rows in _exams(exams)],
        exam_chart="candidates",
        misprints=has_misprints(exams),
        leaderboards=_leaderboards(comparison),
        listed=LISTED,
        student_exams=STUDENT_EXAMS,
    )


def renamed(table: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """The table with other names of its benchmarks."""
    column = table.schema.get_field_index("benchmark")
    chunks = []
    for chunk in table["benchmark"].chunks:
        coded = chunk.dictionary_encode()
        others = pa.array([names.get(name, name) for name in coded.dictionary.to_pylist()], pa.string())
        chunks.append(pa.DictionaryArray.from_arrays(coded.indices, others).cast(pa.string()))
    return table.set_column(column, "benchmark", pa.chunked_array(chunks, pa.string()))


def _filled(sections: Sequence[Section], comparison: Mapping[str, Any]) -> list[tuple[Section, list[Any]]]:
    """The sections that have anything to show, each with its charts: (chart, the value it is drawn for or None)."""
    return [(one, _charts(one, comparison)) for one in sections if one.filled(comparison)]


def _charts(section: Section, comparison: Mapping[str, Any]) -> list[tuple[Any, str | None]]:
    charts: list[tuple[Any, str | None]] = []
    for chart in section.charts:
        values = [row.values[chart.each] for table in section.tables for row in _having(table, comparison, chart.each)]
        charts += [(chart, value) for value in dict.fromkeys(values)] if chart.each else [(chart, None)]
    return charts


def _having(table: Table, comparison: Mapping[str, Any], key: str) -> list[Any]:
    return [row for row in table.rows(comparison) if key and key in row.values]


def _exams(exams: Sequence[dict[str, Any]]) -> list[tuple[str, list[tuple[Any, ...]]]]:
    placed = sorted(enumerate(exams), key=lambda entry: entry[1]["exam"])
    return [(name, [_exam_row(*one) for one in rows]) for name, rows in groupby(placed, lambda entry: entry[1]["exam"])]


def _exam_row(place: int, exam: dict[str, Any]) -> tuple[Any, ...]:
    english, japanese = (printable(f"{exam['run']}, {name}") for name in word(exam["language"]))
    return f"/exams/{place}", exam, pair(*why(exam)), pair(english, japanese)


def _leaderboards(comparison: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(f"/leaderboards/{place}", board) for place, board in enumerate(comparison["leaderboards"])]
