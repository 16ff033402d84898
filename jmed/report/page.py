"""report.html of a run of evaluate or score."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jmed.data.question import Question
from jmed.report.exams import has_misprints, why
from jmed.report.questions import Key, Questions
from jmed.report.rendering import write_page
from jmed.report.sampling import RunAnswers
from jmed.report.words import pair, word
from jmed.untrusted import printable

LISTED = 4  # so many accuracies stand in the summary one by one; of more, only the lowest and the highest
Placed = tuple[str, dict[str, Any]]  # an entry of results.json after its JSON pointer


def write_run_page(
    results: dict[str, Any],
    identity: dict[str, Any],
    answers: RunAnswers,
    known: Mapping[Key, Question],
    file: Path,
) -> None:
    """Write the page of a run; `known` are the questions that were asked. The same input gives the same page."""
    whole = {score["benchmark"] for score in results["scores"]}
    subsets = [(at, score) for at, score in _placed(results, "subsets") if score["benchmark"] not in whole]
    exams = _placed(results, "exams")
    write_page(
        "run.html",
        results,
        Questions([answers], known),
        file,
        identity=identity,
        headline=_headline(_placed(results, "scores")),
        score_groups=_grouped(_placed(results, "scores"), "benchmark"),
        subset_groups=_grouped(subsets, "benchmark"),
        exams=[(name, [_exam_row(*one) for one in rows]) for name, rows in _grouped(exams, "exam")],
        exam_chart="exams",
        misprints=has_misprints(results["exams"]),
    )


def _placed(results: Mapping[str, Any], key: str) -> list[Placed]:
    return [(f"/{key}/{place}", entry) for place, entry in enumerate(results[key])]


def _grouped(entries: Sequence[Placed], key: str) -> list[tuple[str, list[Placed]]]:
    """Neighbours with the same value of `key` together."""
    return [(name, list(members)) for name, members in groupby(entries, lambda entry: entry[1][key])]


def _headline(scores: Sequence[Placed]) -> list[tuple[str, dict[str, Any], Any]]:
    """The accuracies of the summary, each with a word before it: all, or of many the lowest and the highest."""
    accuracies = [(at, score) for at, score in scores if score["metric"] == "accuracy"]
    if len(accuracies) <= LISTED:
        return [(at, score, "") for at, score in accuracies]
    ranked = sorted(accuracies, key=lambda entry: entry[1]["value"])
    notes = (pair("lowest: ", "最低："), pair("highest: ", "最高："))
    return [(*entry, note) for entry, note in zip((ranked[0], ranked[-1]), notes, strict=True)]


def _exam_row(at: str, exam: dict[str, Any]) -> tuple[Any, ...]:
    return at, exam, pair(*why(exam)), pair(*map(printable, word(exam["language"])))
