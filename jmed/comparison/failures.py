"""Where a run fails: by kind of question, and beside the students."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from jmed.comparison.facts import Facts
from jmed.comparison.figures import pick, share, where
from jmed.comparison.runs import Answer, Group, Runs, System
from jmed.comparison.schema import FailurePart, Failures, Kind, Students
from jmed.data.question import LETTERS, Question
from jmed.statistics.intervals import wilson

EASY, HARD = 0.8, 0.5  # shares of right students: at least, at most
_BANDS = (0.2, 0.4, 0.6, 0.8, 1.0)
_QUARTERS = (0.25, 0.5, 0.75)

Partition = dict[str, list[str]]  # part → question ids, in the order that is shown


def failures(runs: Runs, facts: Facts) -> list[Failures]:
    """Accuracy on each part of the questions that all runs share; kinds that tell nothing apart are left out."""
    found = []
    for kind, split in _KINDS.items():
        parts = [part for group in runs.groups for part in _parts(runs, facts, group, split)]
        if parts:
            found.append(Failures(kind=kind, parts=parts))
    return found


Split = Callable[[Sequence[Question], Facts], Partition]


def _parts(runs: Runs, facts: Facts, group: Group, split: Split) -> Iterator[FailurePart]:
    questions = [question for one in runs.shared(group) if (question := facts.of(group, one))]
    partition = split(questions, facts) if questions else {}
    if len(partition) < 2:
        return
    for part, ids in partition.items():
        for system in runs.asked(group):
            figures = share(pick(system.marks(group), ids))
            yield FailurePart(part=part, **where(runs, group, system), **figures)


def _by(questions: Sequence[Question], name: Callable[[Question], str]) -> Partition:
    """Parts by name, sorted; questions without a name are in none."""
    parts: Partition = {}
    for question in questions:
        if part := name(question):
            parts.setdefault(part, []).append(question.question_id)
    return dict(sorted(parts.items()))


def _part(questions: Sequence[Question], facts: Facts) -> Partition:
    return _by(questions, lambda question: question.subset)


def _specialty(questions: Sequence[Question], facts: Facts) -> Partition:
    """The larger ones first; empty where they are the subjects that `part` has."""
    if all(question.specialty == question.subset for question in questions):
        return {}
    parts = _by(questions, lambda question: question.specialty)
    return dict(sorted(parts.items(), key=lambda part: -len(part[1])))


def _student_accuracy(questions: Sequence[Question], facts: Facts) -> Partition:
    def band(question: Question) -> str:
        answers = facts.students_of(question.benchmark, question.question_id)
        if answers is None or answers.accuracy is None:
            return ""
        top = next(edge for edge in _BANDS if answers.accuracy <= edge)
        return _band_name(top)

    parts = _by(questions, band)
    return {name: parts[name] for name in (_band_name(top) for top in _BANDS) if name in parts}


def _band_name(top: float) -> str:
    return f"{100 * (top - 0.2):.0f}-{100 * top:.0f} %"


def _stem_length(questions: Sequence[Question], facts: Facts) -> Partition:
    """Quarters of the questions by the characters of the stem; equal lengths stand in the same one."""
    lengths = np.array([len(question.text) for question in questions])
    edges = np.unique(np.quantile(lengths, _QUARTERS, method="lower"))
    place = np.searchsorted(edges, lengths, side="left")
    parts: Partition = {}
    for number in np.unique(place):
        inside = place == number
        name = f"{lengths[inside].min()}-{lengths[inside].max()}"
        parts[name] = [question.question_id for question, own in zip(questions, inside, strict=True) if own]
    return parts


def _answers(questions: Sequence[Question], facts: Facts) -> Partition:
    return _by(questions, lambda question: str(question.n_answers if question.choices else 0))


_KINDS: dict[Kind, Split] = {
    "part": _part,
    "specialty": _specialty,
    "student_accuracy": _student_accuracy,
    "stem_length": _stem_length,
    "answers": _answers,
}


# --- beside the students


def students(runs: Runs, facts: Facts) -> list[Students]:
    """Each run on all questions that it answered and whose students' answers are published."""
    return [
        found
        for group in runs.groups
        for system in runs.asked(group)
        if (found := _students(runs, facts, group, system))
    ]


def _students(runs: Runs, facts: Facts, group: Group, system: System) -> Students | None:
    accuracy = {
        one: answers.accuracy
        for one in sorted(system.marks(group))
        if (answers := facts.students_of(group[0], one)) and answers.accuracy is not None
    }
    if not accuracy:
        return None
    marks = system.marks(group)
    right = [share for one, share in accuracy.items() if marks[one]]
    wrong = [share for one, share in accuracy.items() if not marks[one]]
    easy = [one for one, share in accuracy.items() if share >= EASY]
    hard = [one for one, share in accuracy.items() if share <= HARD]
    mistakes = [mistake for answer in system.of(group) if (mistake := _mistake(answer, facts))]
    same = sum(own for own, _ in mistakes)
    low, high = wilson(same, len(mistakes)) if mistakes else (None, None)
    return Students(
        **where(runs, group, system),
        n=len(accuracy),
        easy_wrong=[one for one in easy if not marks[one]],
        easy=len(easy),
        hard_right=[one for one in hard if marks[one]],
        hard=len(hard),
        when_right=_mean(right),
        when_wrong=_mean(wrong),
        wrong=len(mistakes),
        same_mistake=same,
        value=same / len(mistakes) if mistakes else None,
        ci_low=low,
        ci_high=high,
        by_chance=_mean([chance for _, chance in mistakes]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _mistake(answer: Answer, facts: Facts) -> tuple[bool, float] | None:
    """(whether it is the students' most frequent one, the chance that any wrong choice is) of a wrong single choice."""
    students = facts.students_of(answer.family, answer.question_id)
    choices = LETTERS[: len(answer.choices)]
    if students is None or len(students.chosen) != len(choices) or answer.gold not in list(choices):
        return None
    if answer.prediction == answer.gold or answer.prediction not in list(choices):
        return None
    wrong = {letter: share for letter, share in zip(choices, students.chosen, strict=True) if letter != answer.gold}
    return answer.prediction == max(wrong, key=lambda letter: wrong[letter]), 1 / len(wrong)
