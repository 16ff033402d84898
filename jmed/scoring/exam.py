"""The national medical examination's own marking: points, pass marks, prohibited choices (禁忌), verdict."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jmed.data.question import Question

# Compulsory (必修) and general marks as the Ministry announced them, 112th (2018) to 119th (2025) examination.
PASS_MARKS = {
    "igakuqa-2018": (160, 208),
    "igakuqa-2019": (160, 209),
    "igakuqa-2020": (158, 217),
    "igakuqa-2021": (160, 209),
    "igakuqa-2022": (158, 214),
    "igakuqa-2023": (160, 220),
    "igakuqa-2024": (160, 230),
    "igakuqa-2025": (160, 221),
}
MOST_PROHIBITED = 3  # with one more the candidate fails
COMPULSORY_BLOCKS = ("B", "E", "compulsory")


@dataclass(frozen=True, slots=True)
class ExamAnswer:
    """One question of the examination and what the candidate made of it."""

    question: Question
    prediction: tuple[str, ...] | None  # None: unread, or not asked
    correct: bool
    asked: bool  # False: left unanswered, as by a model that sees no images


@dataclass(frozen=True, slots=True)
class ExamResult:
    """An examination, marked. Unanswered questions stand as wrong in all figures but the verdict."""

    exam: str
    language: str
    correct: int
    questions: int
    points: int
    max_points: int
    compulsory_points: int
    compulsory_max: int
    general_points: int
    general_max: int
    prohibited_choices: int  # questions in which a published token was chosen literally
    prohibited_choices_folded: int  # the same after mending the publisher's misprints ("cde", "ｂ", " e")
    text_only_correct: int
    text_only_questions: int
    unanswered: int
    pass_marks: tuple[int, int] | None  # compulsory, general; None: not known for this examination
    verdict: str  # "pass", "fail", "undetermined"

    def as_dict(self) -> dict[str, Any]:
        """For results.json."""
        marks = list(self.pass_marks) if self.pass_marks else None
        return {**asdict(self), "pass_marks": marks}


def mark_exam(answers: Sequence[ExamAnswer], exam: str, language: str) -> ExamResult:
    """Mark an examination; `answers` holds all its questions, those that were not asked too."""
    compulsory = [answer for answer in answers if answer.question.block in COMPULSORY_BLOCKS]
    general = [answer for answer in answers if answer.question.block not in COMPULSORY_BLOCKS]
    text_only = [answer for answer in answers if not answer.question.needs_image]
    return ExamResult(
        exam=exam,
        language=language,
        correct=sum(answer.correct for answer in answers),
        questions=len(answers),
        points=_points(answers),
        max_points=_max_points(answers),
        compulsory_points=_points(compulsory),
        compulsory_max=_max_points(compulsory),
        general_points=_points(general),
        general_max=_max_points(general),
        prohibited_choices=sum(map(_chose_token, answers)),
        prohibited_choices_folded=sum(map(_chose_prohibited, answers)),
        text_only_correct=sum(answer.correct for answer in text_only),
        text_only_questions=len(text_only),
        unanswered=sum(not answer.asked for answer in answers),
        pass_marks=PASS_MARKS.get(exam),
        verdict=_verdict(compulsory, general, PASS_MARKS.get(exam)),
    )


def _points(answers: Iterable[ExamAnswer]) -> int:
    return sum(answer.question.points for answer in answers if answer.correct)


def _max_points(answers: Iterable[ExamAnswer]) -> int:
    return sum(answer.question.points for answer in answers)


def _chose_token(answer: ExamAnswer) -> bool:
    """Whether a chosen letter equals a published token: "cde", one token, equals none."""
    return any(letter in answer.question.prohibited for letter in answer.prediction or ())


def _chose_prohibited(answer: ExamAnswer) -> bool:
    return chose_prohibited(answer.prediction, answer.question)


def chose_prohibited(prediction: tuple[str, ...] | None, question: Question) -> bool:
    """Whether a prohibited choice was picked, whatever way the publisher wrote it: "cde" is c, d and e; "ｂ" is b."""
    prohibited = _fold("".join(question.prohibited))
    return any(_fold(letter) in prohibited for letter in prediction or () if letter.strip())


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()


def _verdict(compulsory: Sequence[ExamAnswer], general: Sequence[ExamAnswer], marks: tuple[int, int] | None) -> str:
    """What holds however the unanswered questions are marked, and however the prohibited choices are counted."""
    at_worst, at_best = (
        {_passes(compulsory, general, marks, count, worst) for count in (_chose_token, _chose_prohibited)}
        for worst in (True, False)
    )
    if at_worst == {True}:
        return "pass"
    return "fail" if at_best == {False} else "undetermined"


def _passes(
    compulsory: Sequence[ExamAnswer],
    general: Sequence[ExamAnswer],
    marks: tuple[int, int] | None,
    count: Callable[[ExamAnswer], bool],
    worst: bool,
) -> bool | None:
    """Whether the candidate passes when the unanswered questions go as badly, or as well, as they can.

    None: not to be said without the year's marks.
    """
    if sum(_picks(answer, count, worst) for answer in (*compulsory, *general)) > MOST_PROHIBITED:
        return False
    if marks is None:
        return None
    return _open_points(compulsory, worst) >= marks[0] and _open_points(general, worst) >= marks[1]


def _open_points(answers: Iterable[ExamAnswer], worst: bool) -> int:
    """The points with the unanswered questions all wrong, or all right."""
    return sum(
        answer.question.points
        for answer in answers
        if answer.correct or (not answer.asked and (answer.question.every_answer_counts or not worst))
    )


def _picks(answer: ExamAnswer, count: Callable[[ExamAnswer], bool], worst: bool) -> bool:
    """Whether a prohibited choice counts against the candidate; at worst it does wherever an open question has one."""
    if answer.asked:
        return count(answer)
    return worst and bool(answer.question.prohibited)
