"""MedQA (USMLE), English test split with four options.

`phrases_no_exclude_test.jsonl`: question, options {A..D}, answer_idx. Questions have no name: the line number is it.
"""

from collections.abc import Iterator
from pathlib import Path

from jmed.data.lines import Record, read_jsonl
from jmed.data.question import LETTERS, Question
from jmed.data.readers import Placed
from jmed.data.readers.answers import accepted_answer, check_choices

_FILE = "phrases_no_exclude_test.jsonl"


def parts(folder: Path) -> list[str]:
    return [""]


def files(folder: Path, part: str) -> list[Path]:
    return [folder / _FILE]


def read(folder: Path, part: str, language: str) -> Iterator[Placed]:
    for record in read_jsonl(folder / _FILE):
        yield record.place, _question(record, str(record.line), language)


def _question(record: Record, question_id: str, language: str) -> Question:
    options = record.record("options")
    check_choices(record, question_id, len(options.fields))
    names = LETTERS.upper()[: len(options.fields)]
    if set(options.fields) != set(names):
        raise record.error(f"field 'options' has the letters {options.listed}; expected {', '.join(names)}")
    answer = record.text("answer_idx")
    return Question(
        benchmark="",
        question_id=question_id,
        language=language,
        text=record.text("question"),
        choices=tuple(options.text(name) for name in names),
        accepted=(accepted_answer(record, question_id, [answer.lower()], len(names)),),
    )
