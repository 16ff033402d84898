"""results.json: scores with their intervals, exams, and what was left out, unread or failed."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from jmed.data.question import Question
from jmed.evaluation.marks import Marked
from jmed.scoring.exam import ExamAnswer, mark_exam
from jmed.statistics.intervals import wilson

Group = tuple[str, str, str, str]  # benchmark, language, prompt, method
METRICS = {"accuracy": "correct", "exact_match": "exact_match", "gestalt_accuracy": "gestalt_match"}


def make_results(
    model: str,
    marked: Sequence[Marked],
    exam_questions: Sequence[Question],
    left_out: Counter[tuple[str, str, str]],
    timing: dict[str, Any],
) -> dict[str, Any]:
    """Everything of results.json. `exam_questions` are all questions of the exams, asked or not.

    Answers to questions with their choices in other orders are left out: each question counts once.
    """
    marked = [one for one in marked if not one.rotation]
    return {
        "model": model,
        "scores": _scores(marked, lambda one: one.question.benchmark),
        "subsets": _scores((one for one in marked if _is_part_of_more(one.question)), _subset_name),
        "exams": _exams(marked, exam_questions),
        "counts": _counts(marked, left_out),
        "timing": timing,
    }


def _is_part_of_more(question: Question) -> bool:
    """Whether the benchmark asked for is wider than the question's subset: `igakuqa`, not `igakuqa-2018`."""
    return bool(question.subset) and "-" not in question.benchmark


def _subset_name(one: Marked) -> str:
    """`jmmlu` and subset `anatomy` make `jmmlu-anatomy`."""
    return f"{one.question.benchmark}-{one.question.subset}"


def _scores(marked: Iterable[Marked], name: Callable[[Marked], str]) -> list[dict[str, Any]]:
    groups: dict[Group, list[Marked]] = {}
    for one in marked:
        groups.setdefault((name(one), one.row["language"], one.row["prompt"], one.row["method"]), []).append(one)
    return [score for group in sorted(groups) for score in _group_scores(group, groups[group])]


def _group_scores(group: Group, members: Sequence[Marked]) -> list[dict[str, Any]]:
    scores = []
    for metric, column in METRICS.items():
        marks = [one.row[column] for one in members if one.row[column] is not None]
        if not marks:
            continue
        low, high = wilson(sum(marks), len(marks))
        scores.append(
            {
                **dict(zip(("benchmark", "language", "prompt", "method"), group, strict=True)),
                "metric": metric,
                "correct": sum(marks),
                "n": len(marks),
                "value": sum(marks) / len(marks),
                "ci_low": low,
                "ci_high": high,
            }
        )
    return scores


def _exams(marked: Sequence[Marked], questions: Sequence[Question]) -> list[dict[str, Any]]:
    """One entry an exam and language of which anything was asked; what was not asked counts as unanswered."""
    answered = {(one.question.benchmark, one.question.language, one.question.question_id): one for one in marked}
    groups: dict[tuple[str, str, str], list[ExamAnswer]] = {}
    for question in questions:
        one = answered.get((question.benchmark, question.language, question.question_id))
        prediction, correct = (one.prediction, one.row["correct"]) if one else (None, False)
        answer = ExamAnswer(question, prediction, correct, one is not None)
        groups.setdefault((question.exam, question.language, question.benchmark), []).append(answer)
    results = {}
    for (exam, language, _), answers in sorted(groups.items()):
        if any(answer.asked for answer in answers):
            results[exam, language] = mark_exam(answers, exam, language).as_dict()
    return list(results.values())


def _counts(marked: Sequence[Marked], left_out: Counter[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """By benchmark and language: asked, unread (an answer without a readable choice), failed, left out by reason."""
    keys = sorted({(one.row["benchmark"], one.row["language"]) for one in marked} | {key[:2] for key in left_out})
    counts = []
    for benchmark, language in keys:
        members = [one for one in marked if (one.row["benchmark"], one.row["language"]) == (benchmark, language)]
        errors = sum(one.row["error"] is not None for one in members)
        counts.append(
            {
                "benchmark": benchmark,
                "language": language,
                "asked": len(members),
                "unread": sum(not one.row["prediction"] for one in members) - errors,
                "errors": errors,
                "left_out": {
                    reason: n for (*key, reason), n in sorted(left_out.items()) if tuple(key) == (benchmark, language)
                },
            }
        )
    return counts
