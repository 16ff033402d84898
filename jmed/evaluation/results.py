"""results.json: scores with their intervals, exams, and what was left out, unread or failed."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jmed.data.question import Question
from jmed.evaluation.marks import Marked
from jmed.scoring.exam import ExamAnswer, mark_exam
from jmed.statistics.intervals import wilson

Group = tuple[str, str, str, str]  # benchmark, language, prompt, method
METRICS = ("accuracy", "exact_match", "gestalt_accuracy")


def make_results(
    model: str,
    marked: Iterable[Marked],
    exam_questions: Sequence[Question],
    left_out: Counter[tuple[str, str, str]],
    timing: dict[str, Any],
) -> dict[str, Any]:
    """Everything of results.json. `exam_questions` are all questions of the exams, asked or not."""
    tally = Tally()
    for one in marked:
        tally.add(one)
    return tally.results(model, exam_questions, left_out, timing)


class Tally:
    """Counts marked answers one by one.

    Answers to questions with their choices in other orders are left out: each question counts once.
    """

    def __init__(self) -> None:
        self._benchmarks, self._subsets = _Scores(), _Scores()
        self._answered: dict[tuple[str, str, str], Marked] = {}  # of exams: (benchmark, language, question_id)
        self._counts: dict[tuple[str, str], Counter[str]] = {}  # (benchmark, language) → asked, unread, errors

    def add(self, one: Marked) -> None:
        if one.rotation:
            return
        question = one.question
        self._benchmarks.add(question.benchmark, one)
        if question.subset and "-" not in question.benchmark:  # asked for: `jmmlu`, not `jmmlu-anatomy`
            self._subsets.add(f"{question.benchmark}-{question.subset}", one)
        if question.exam:
            self._answered[question.benchmark, question.language, question.question_id] = one
        failed = one.error is not None
        counts = self._counts.setdefault((question.benchmark, question.language), Counter())
        counts["asked"] += 1
        counts["errors"] += failed
        counts["unread"] += not one.written and not failed

    def results(
        self,
        model: str,
        exam_questions: Sequence[Question],
        left_out: Counter[tuple[str, str, str]],
        timing: dict[str, Any],
    ) -> dict[str, Any]:
        """Everything of results.json."""
        return {
            "model": model,
            "scores": self._benchmarks.listed(),
            "subsets": self._subsets.listed(),
            "exams": _exams(self._answered, exam_questions),
            "counts": _counts(self._counts, left_out),
            "timing": timing,
        }


class _Scores:
    """Right answers and answers, by group and metric."""

    def __init__(self) -> None:
        self._groups: dict[Group, dict[str, list[int]]] = {}

    def add(self, benchmark: str, one: Marked) -> None:
        group = self._groups.setdefault((benchmark, one.question.language, one.prompt, one.method), {})
        marks = (one.correct, one.paper.exact_match, one.paper.gestalt_match) if one.paper else (one.correct,)
        for metric, mark in zip(METRICS, marks, strict=False):
            counts = group.setdefault(metric, [0, 0])
            counts[0] += mark
            counts[1] += 1

    def listed(self) -> list[dict[str, Any]]:
        return [
            _score(group, metric, *self._groups[group][metric])
            for group in sorted(self._groups)
            for metric in METRICS
            if metric in self._groups[group]
        ]


def _score(group: Group, metric: str, correct: int, n: int) -> dict[str, Any]:
    low, high = wilson(correct, n)
    return {
        **dict(zip(("benchmark", "language", "prompt", "method"), group, strict=True)),
        "metric": metric,
        "correct": correct,
        "n": n,
        "value": correct / n,
        "ci_low": low,
        "ci_high": high,
    }


def _exams(answered: Mapping[tuple[str, str, str], Marked], questions: Sequence[Question]) -> list[dict[str, Any]]:
    """One entry an exam and language of which anything was asked; what was not asked counts as unanswered."""
    groups: dict[tuple[str, str, str], list[ExamAnswer]] = {}
    for question in questions:
        one = answered.get((question.benchmark, question.language, question.question_id))
        prediction, correct = (one.prediction, one.correct) if one else (None, False)
        answer = ExamAnswer(question, prediction, correct, one is not None)
        groups.setdefault((question.exam, question.language, question.benchmark), []).append(answer)
    results = {}
    for (exam, language, _), answers in sorted(groups.items()):
        if any(answer.asked for answer in answers):
            results[exam, language] = mark_exam(answers, exam, language).as_dict()
    return list(results.values())


def _counts(
    counts: Mapping[tuple[str, str], Counter[str]], left_out: Counter[tuple[str, str, str]]
) -> list[dict[str, Any]]:
    """By benchmark and language: asked, unread (an answer without a readable choice), failed, left out by reason."""
    keys = sorted(counts.keys() | {key[:2] for key in left_out})
    return [
        {
            "benchmark": benchmark,
            "language": language,
            **{name: counts.get((benchmark, language), Counter())[name] for name in ("asked", "unread", "errors")},
            "left_out": {
                reason: n for (*key, reason), n in sorted(left_out.items()) if tuple(key) == (benchmark, language)
            },
        }
        for benchmark, language in keys
    ]
