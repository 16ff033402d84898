"""The folder of an evaluation: which batches have answers, and reading them back."""

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jmed.evaluation.attempts import Attempts
from jmed.evaluation.plan import Plan
from jmed.evaluation.table import BATCHES, RAW_ANSWERS
from jmed.runs.files import write_table, write_text
from jmed.runs.folder import RunFolder
from jmed.spool import Spool

MAX_UNPACKED = 64 * 1024**2  # bytes of the answers to one batch
PROMPTS = "prompts.sha256"  # of what an unfinished run asks
RESULTS = ("answers.parquet", "results.json")


class EvaluationFolder(RunFolder):
    """The run folder of evaluate and score."""

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        super().__init__(path, identity, RESULTS, ["report.html"])
        self.answers = self.work / "answers"
        self.attempts = Attempts(self.work / "attempts")

    def unanswered(self, plan: Plan) -> list[int]:
        """Numbers of the batches that have no answers yet.

        Answers to other prompts do not count: a chat template may hold today's date, and then a run that is continued
        tomorrow asks everything again.
        """
        mark = self.work / PROMPTS
        if self.work.is_dir() and not (mark.is_file() and mark.read_text("utf-8") == plan.digest):
            shutil.rmtree(self.work)
        return [n for n in range(len(plan.batches)) if not self._is_answered(plan, n)]

    def _is_answered(self, plan: Plan, number: int) -> bool:
        file = answer_file(self.answers, number)
        return file.is_file() and is_answered(file, plan.batches.ids(number))

    def write_batches(self, plan: Plan, numbers: Iterable[int]) -> Path:
        """The batches to ask, one row and row group each, so that a worker reads just the one it was given."""
        self.answers.mkdir(parents=True, exist_ok=True)
        self.attempts.prepare()
        write_text(plan.digest, self.work / PROMPTS)
        rows = ({"batch": n, "requests": [vars(item.request) for item in plan.batches[n]]} for n in numbers)
        write_table(rows, BATCHES, self.work / "batches.parquet", group=1)
        return self.work / "batches.parquet"

    def read_answers(self, plan: Plan) -> Sequence[dict[str, Any]]:
        """Raw answers in the order of the plan's items; every item must have its own."""
        answers: Spool[dict[str, Any]] = Spool()
        lost = extra = 0
        for number in range(len(plan.batches)):
            with pq.ParquetFile(answer_file(self.answers, number)) as file:
                found = {row["item_id"]: row for row in file.read().to_pylist()}
            asked = dict.fromkeys(plan.batches.ids(number))
            lost, extra = lost + len(asked.keys() - found.keys()), extra + len(found.keys() - asked.keys())
            for item_id in asked:
                answers.append(found.get(item_id, {}))
        if lost or extra:
            raise RuntimeError(
                f"{lost} questions have no answer and {extra} answers no question; run the command again"
            )
        ordered = plan.by_item(answers)
        if all(answer["error"] for answer in ordered):
            shutil.rmtree(self.work)  # no result: the same command asks again
            raise RuntimeError(f"every question failed, so nothing was written; the first error: {ordered[0]['error']}")
        return ordered

    def end(self, results: dict[str, Any]) -> None:
        """Write results.json last: its presence says that the run is finished."""
        write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", self.path / "results.json")
        shutil.rmtree(self.work, ignore_errors=True)


def is_answered(file: Path, item_ids: list[str]) -> bool:
    """Whether the file holds the answers to just these items."""
    if not file.is_file():
        return False
    try:
        with pq.ParquetFile(file) as parquet:
            fits = parquet.metadata.num_rows == len(item_ids) and parquet.schema_arrow.equals(RAW_ANSWERS)
            if not fits or _unpacked(parquet.metadata) > MAX_UNPACKED:
                return False
            return parquet.read()["item_id"].to_pylist() == item_ids  # all columns: each must be readable
    except (OSError, pa.ArrowException):  # damaged: the batch is asked again
        return False


def _unpacked(metadata: pq.FileMetaData) -> int:
    """Bytes that a file says it holds when it is not compressed."""
    return sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))


def answer_file(folder: Path, batch: int) -> Path:
    return folder / f"{batch:06d}.parquet"
