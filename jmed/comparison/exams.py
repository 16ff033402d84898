"""The national examination: each run by its rule, and the average student beside it."""

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError

from jmed.comparison.facts import Facts
from jmed.comparison.folders import Folder, damaged
from jmed.comparison.runs import Runs
from jmed.comparison.schema import Exam, StudentExam
from jmed.data.question import Question
from jmed.scoring.exam import COMPULSORY_BLOCKS, PASS_MARKS


def exams(runs: Runs) -> list[Exam]:
    """As the runs' results.json have them, by exam, then language, then run."""
    found = [
        _exam(system.name, folder, exam)
        for system in runs.systems
        for folder in system.folders
        for exam in folder.results["exams"]
    ]
    return sorted(found, key=lambda exam: (exam.exam, exam.language))


def _exam(run: str, folder: Folder, exam: dict[str, Any]) -> Exam:
    try:
        return Exam(run=run, **{key: exam[key] for key in Exam.model_fields if key != "run"})
    except (KeyError, TypeError, ValidationError):
        raise damaged(folder.path / "results.json") from None


def exam_students(runs: Runs, facts: Facts) -> list[StudentExam]:
    """The average student in the exams that the runs sat, where the students' answers are published."""
    names = sorted({exam.exam for exam in exams(runs)})
    return [found for name in names if (found := _students(name, facts))]


def _students(exam: str, facts: Facts) -> StudentExam | None:
    questions = facts.exam(exam)
    shares = {
        question.question_id: share for question in questions if (share := _accuracy(question, facts)) is not None
    }
    known = [question for question in questions if question.question_id in shares]
    if not known:
        return None

    def expected(of: Iterable[Question], worth: Callable[[Question], int]) -> float:
        return sum(shares[question.question_id] * worth(question) for question in of)

    compulsory = [question for question in known if question.block in COMPULSORY_BLOCKS]
    general = [question for question in known if question.block not in COMPULSORY_BLOCKS]
    text_only = [question for question in known if not question.needs_image]
    marks = PASS_MARKS.get(exam)
    return StudentExam(
        exam=exam,
        questions=len(questions),
        known=len(known),
        correct=expected(known, lambda question: 1),
        points=expected(known, _points),
        max_points=sum(map(_points, known)),
        compulsory_points=expected(compulsory, _points),
        compulsory_max=sum(map(_points, compulsory)),
        general_points=expected(general, _points),
        general_max=sum(map(_points, general)),
        text_only_correct=expected(text_only, lambda question: 1),
        text_only_questions=len(text_only),
        pass_marks=list(marks) if marks else None,
    )


def _points(question: Question) -> int:
    return question.points


def _accuracy(question: Question, facts: Facts) -> float | None:
    """The share of students who were right; None: not published."""
    answers = facts.students_of(question.benchmark, question.question_id)
    return answers.accuracy if answers else None
