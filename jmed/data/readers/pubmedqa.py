"""PubMedQA, expert-labelled, English test split: does the abstract answer the question with yes, no or maybe?

`ori_pqal.json`: {pubmed id: {QUESTION, CONTEXTS [..], final_decision}}; `test_ground_truth.json`: {pubmed id: answer},
which names the 500 of the 1000 that are the test.
"""

from collections.abc import Iterator
from pathlib import Path

from jmed.data.lines import Record, read_object
from jmed.data.question import LETTERS, Question
from jmed.data.readers import Placed

_ALL, _TEST = "ori_pqal.json", "test_ground_truth.json"
_CHOICES = ("yes", "no", "maybe")


def parts(folder: Path) -> list[str]:
    return [""]


def files(folder: Path, part: str) -> list[Path]:
    return [folder / _ALL, folder / _TEST]


def read(folder: Path, part: str, language: str) -> Iterator[Placed]:
    abstracts, truth = read_object(folder / _ALL), read_object(folder / _TEST)
    for question_id in truth.fields:
        truth.check_name(question_id)
        if question_id not in abstracts.fields:
            raise truth.error(f"question {question_id!r} is not in {abstracts.place}")
    for question_id in abstracts.fields:
        if question_id in truth.fields:
            yield abstracts.place, _question(abstracts.record(question_id), question_id, truth, language)


def _question(record: Record, question_id: str, truth: Record, language: str) -> Question:
    answer, decision = truth.text(question_id), record.text("final_decision")
    if answer not in _CHOICES:
        raise truth.error(f"the answer of question {question_id!r} is {answer!r}; expected {', '.join(_CHOICES)}")
    if answer != decision:
        where = f"field {question_id + '.final_decision'!r}"
        raise record.error(f"{where} is {decision!r}; {truth.place} says {answer!r}, and the two must agree")
    return Question(
        benchmark="",
        question_id=question_id,
        language=language,
        text=record.text("QUESTION"),
        choices=_CHOICES,
        accepted=((LETTERS[_CHOICES.index(answer)],),),
        context="\n".join(record.strings("CONTEXTS")),
    )
