"""The folder of an evaluation: which batches have answers, and reading them back."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jmed.evaluation.attempts import Attempts
from jmed.evaluation.plan import Plan
from jmed.evaluation.table import RAW_ANSWERS, REQUESTS
from jmed.rows import Rows
from jmed.runs.files import write_batches, write_text
from jmed.runs.folder import RunFolder

GATHERED = 300  # batches whose answers are gathered at once: many small pieces make a table slow
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
        return file.is_file() and is_answered(file, plan.batches.ids(number).to_pylist())

    def write_batches(self, plan: Plan, numbers: Iterable[int]) -> Path:
        """The batches to ask, a record batch each, so that a worker reads just the one it was given."""
        self.answers.mkdir(parents=True, exist_ok=True)
        self.attempts.prepare()
        write_text(plan.digest, self.work / PROMPTS)
        file = self.work / "batches.arrow"
        write_batches(map(plan.batches.requests, numbers), REQUESTS, file)
        return file

    def read_answers(self, plan: Plan) -> pa.Table:
        """Raw answers, of the schema RAW_ANSWERS, in the order in which the plan asks; every item must have its own."""
        answers, gathered = Rows(RAW_ANSWERS), list[pa.Table]()
        for number in range(len(plan.batches)):
            gathered.append(_read(answer_file(self.answers, number), plan.batches.ids(number)))
            if len(gathered) == GATHERED or number + 1 == len(plan.batches):
                answers.append(pa.concat_tables(gathered).combine_chunks())
                gathered = []
        table = answers.table()
        if table["error"].null_count == 0:
            shutil.rmtree(self.work)  # no result: the same command asks again
            first = table["error"][plan.items.order[0]]
            raise RuntimeError(f"every question failed, so nothing was written; the first error: {first}")
        return table

    def end(self, results: dict[str, Any]) -> None:
        """Write results.json last: its presence says that the run is finished."""
        write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", self.path / "results.json")
        shutil.rmtree(self.work, ignore_errors=True)


def _read(file: Path, item_ids: pa.ChunkedArray) -> pa.Table:
    """The answers to these items, in their order, and to no others."""
    with pq.ParquetFile(file) as parquet:
        answers = parquet.read(use_threads=False)
    if not answers["item_id"].equals(item_ids):
        asked, found = set(item_ids.to_pylist()), set(answers["item_id"].to_pylist())
        wrong = f"{len(asked - found)} questions have no answer and {len(found - asked)} answers no question"
        order = "the answers are in another order, or repeated"
        raise RuntimeError(f"{file}: {order if asked == found else wrong}; run the command again")
    return answers


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
