"""The end of a run: answers.parquet, report.html, results.json, and a table for the terminal."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from jmed.data.question import Question
from jmed.evaluation.folder import EvaluationFolder
from jmed.evaluation.marks import Marked
from jmed.evaluation.results import make_results
from jmed.evaluation.table import ANSWERS
from jmed.report.page import write_run_page
from jmed.report.sampling import RunAnswers
from jmed.report.terminal import print_results
from jmed.runs.files import write_table


def write_results(
    folder: EvaluationFolder,
    model: str,
    marked: Sequence[Marked],
    exam_questions: Sequence[Question],
    left_out: Counter[tuple[str, str, str]],
    timing: dict[str, Any],
) -> None:
    """Write every file of the contract, results.json last, and print the figures."""
    marked = sorted(marked, key=lambda one: one.row["item_id"])
    results = make_results(model, marked, exam_questions, left_out, timing)
    table = write_table([one.row for one in marked], ANSWERS, folder.path / "answers.parquet")
    known = {(one.question.benchmark, one.question.question_id, one.question.language): one.question for one in marked}
    write_run_page(results, folder.identity, RunAnswers(model, table), known, folder.path / "report.html")
    folder.end(results)
    _show(folder, results)


def already_finished(folder: EvaluationFolder) -> None:
    """Say so, show the figures again, and do nothing."""
    print(f"{folder.path} holds this run, finished; nothing is asked again", file=sys.stderr)
    _show(folder, json.loads((folder.path / "results.json").read_text("utf-8")))


def _show(folder: EvaluationFolder, results: dict[str, Any]) -> None:
    print_results(results)
    print(f"report: {folder.path / 'report.html'}")
