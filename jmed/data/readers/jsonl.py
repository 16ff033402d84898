"""A user's own questions: `jsonl:PATH`, one question a line.

question_id, language ("ja" or "en"), question, choices, answer; optional: context. The answer is a letter ("a", "A"),
several ("a,c"), a list of letters, or, when choices is [], a number as text ("7.20"). Other fields are ignored.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from jmed.data.lines import Record, read_jsonl
from jmed.data.question import LANGUAGES, Question
from jmed.data.readers import Placed
from jmed.data.readers.answers import accepted_answer


def parts(folder: Path) -> list[str]:
    return [""]


def files(folder: Path, part: str) -> list[Path]:
    return [folder]


def read(folder: Path, part: str, language: str) -> Iterator[Placed]:
    """`folder` is the file itself. Lines of another language are checked too: an error shows at the first run."""
    for record in read_jsonl(folder):
        question = question_of(record)
        if question.language == language:
            yield record.place, question


def languages(path: Path, wanted: Iterable[str]) -> tuple[str, ...]:
    """The languages that the file holds; once all that are `wanted` are found, no more is read."""
    found, missing = set[str](), set(wanted)
    for record in read_jsonl(path):
        found.add(_language(record))
        if missing <= found:
            break
    return tuple(language for language in LANGUAGES if language in found)


def question_of(record: Record) -> Question:
    """One line of such a file; training data of the same form are read with it too."""
    question_id, choices = record.name("question_id"), record.strings("choices")
    accepted = accepted_answer(record, question_id, _answer(record, bool(choices)), len(choices))
    return Question(
        benchmark="",
        question_id=question_id,
        language=_language(record),
        text=_filled(record, "question"),
        choices=choices,
        accepted=(accepted,),
        n_answers=len(accepted),
        context=record.text("context", default=""),
    )


def _filled(record: Record, name: str) -> str:
    text = record.text(name)
    if not text or text.isspace():
        raise record.error(f"field {name!r} is empty; expected text")
    return text


def _language(record: Record) -> str:
    language = record.text("language")
    if language not in LANGUAGES:
        raise record.error(f"field 'language' is {language!r}; expected {' or '.join(LANGUAGES)}")
    return language


def _answer(record: Record, has_choices: bool) -> list[str]:
    """The answer's letters, or its number, in a list."""
    value = record.fields.get("answer")
    if isinstance(value, list):
        parts = list(record.strings("answer"))
    elif isinstance(value, str) or "answer" not in record.fields:
        text = record.text("answer")
        parts = text.split(",") if has_choices else [text]
    else:
        raise record.error('field \'answer\' is neither text nor a list; expected "a", "a,c", ["a", "c"] or "7.20"')
    return [part.strip().lower() for part in parts]
