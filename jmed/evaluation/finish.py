"""The end of a run: answers.parquet, report.html, results.json, and a table for the terminal."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from jmed.data.question import Question
from jmed.evaluation.folder import EvaluationFolder
from jmed.evaluation.marks import Piece
from jmed.evaluation.results import Tally
from jmed.evaluation.table import ANSWERS
from jmed.report.page import write_run_page
from jmed.report.sampling import LIMIT, Draw, RunAnswers
from jmed.report.terminal import print_results
from jmed.runs.files import write_table


def write_results(
    folder: EvaluationFolder,
    model: str,
    pieces: Iterable[Piece],
    exam_questions: Sequence[Question],
    left_out: Counter[tuple[str, str, str]],
    timing: dict[str, Any],
) -> None:
    """Write every file of the contract, results.json last, and print the figures.

    `pieces` come in the order of the item ids, and are read once: there may be a million answers.
    """
    tally, shown = Tally(), Draw[dict[str, Question]](LIMIT, dict)
    file = folder.path / "answers.parquet"

    def rows() -> Iterator[pa.Table]:
        for piece in pieces:
            for one in piece.marked:
                tally.add(one)
                if (by_language := shown.add((one.question.benchmark, one.question.question_id))) is not None:
                    by_language[one.question.language] = one.question
            yield piece.rows(model)

    write_table(rows(), ANSWERS, file)
    results = tally.results(model, exam_questions, left_out, timing)
    known = {
        (*name, language): question
        for name, by_language in shown.drawn().items()
        for language, question in by_language.items()
    }
    write_run_page(results, folder.identity, RunAnswers(model, file), known, folder.path / "report.html")
    folder.end(results)
    _show(folder, results)


def already_finished(folder: EvaluationFolder) -> None:
    """Say so, show the figures again, and do nothing."""
    print(f"{folder.path} holds this run, finished; nothing is asked again", file=sys.stderr)
    _show(folder, json.loads((folder.path / "results.json").read_text("utf-8")))


def _show(folder: EvaluationFolder, results: dict[str, Any]) -> None:
    print_results(results)
    print(f"report: {folder.path / 'report.html'}")
