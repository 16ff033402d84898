"""MedMCQA, Indian entrance examinations, English validation split (the test split's answers are not published).

`dev.json`, JSON lines in spite of its name: id, question, opa..opd, cop (1 to 4), subject_name.
`choice_type: multi` is about the wording; every question has one right answer.
"""

from collections.abc import Iterator
from pathlib import Path

from jmed.data.lines import Record, read_jsonl
from jmed.data.question import Question
from jmed.data.readers import Placed
from jmed.data.readers.answers import letter_of

_FILE = "dev.json"
_OPTIONS = ("opa", "opb", "opc", "opd")


def parts(folder: Path) -> list[str]:
    return [""]


def files(folder: Path, part: str) -> list[Path]:
    return [folder / _FILE]


def read(folder: Path, part: str, language: str) -> Iterator[Placed]:
    for record in read_jsonl(folder / _FILE):
        yield record.place, _question(record, language)


def _question(record: Record, language: str) -> Question:
    question_id, subject = record.name("id"), record.name("subject_name")
    letter = letter_of(record, question_id, record.number("cop"), len(_OPTIONS))
    return Question(
        benchmark="",
        question_id=question_id,
        language=language,
        text=record.text("question"),
        choices=tuple(record.text(name) for name in _OPTIONS),
        accepted=((letter,),),
        subset=subject,
        specialty=subject,
    )
