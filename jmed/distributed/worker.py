"""A worker: loads the model once, answers batches, and commits each batch as one file."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from jmed.configuration.schema import ModelConfig
from jmed.distributed.collection import without_collection
from jmed.distributed.metrics import EvaluationMetrics
from jmed.distributed.notes import ANSWERING, LOADING, READY, worker_notepad
from jmed.distributed.stop import Stop
from jmed.errors import GaveUp
from jmed.evaluation.asking import Asker
from jmed.evaluation.attempts import Attempts
from jmed.evaluation.folder import answer_file, is_answered
from jmed.evaluation.items import to_request
from jmed.evaluation.table import RAW_ANSWERS
from jmed.inference.request import Request
from jmed.models.source import ModelSource, find_here
from jmed.offline import forbid_network
from jmed.runs.files import persistently, write_table

BUDGET_LABEL = "jmed-batch-tokens"  # of a node: most tokens that its workers compute at once
STARTS = 5  # that may die, a worker, before any loads its model
KEPT = "every answer so far is kept"


@dataclass(frozen=True)
class Task:
    """What every worker is told."""

    source: ModelSource
    config: ModelConfig
    work: Path  # the run's `unfinished`
    batches: Path  # the requests, a record batch a batch
    answers: Path
    attempts: Attempts
    workers: int
    threads: int
    offline: bool


class EvaluationWorker:
    """Called by Ray Data with rows that are turns; what it returns is only the bookkeeping.

    The answers go straight into the run folder, whole or not at all, under the number of the batch. A batch that
    comes again, because a worker died or an acknowledgement was lost, is not asked again if its file is there; if it
    is, it replaces the same file by the same content.
    """

    def __init__(self, task: Task) -> None:
        if task.offline:
            forbid_network()
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self.task, self.stop = task, Stop(task.work)
        self.note = worker_notepad(task.work)
        self.note.say(LOADING)
        try:
            self._refuse_start()
            with task.attempts.trying("start"):
                self.asker = Asker(self._load(), task.attempts)
        except Exception as error:
            self.stop.report(error, KEPT)
            raise
        self.batches = pa.ipc.open_file(pa.OSFile(str(task.batches)))
        self.metrics = EvaluationMetrics(task.source.name)
        self.note.say(READY)
        task.attempts.forget("start")  # loading works; whoever died at it was not ended by the model

    def _refuse_start(self) -> None:
        """Ray starts a worker again and again; a model that kills each of them must end the job."""
        deaths = self.task.attempts.deaths("start")
        if deaths >= STARTS * self.task.workers:
            raise GaveUp(f"{deaths} workers died while they loaded the model, and none could; is there memory for it?")

    def _load(self) -> Any:
        with without_collection():
            import torch

            from jmed.inference.engine import Engine
            from jmed.models.loading import load_model
            from jmed.models.quiet import quiet_libraries

        torch.set_num_threads(self.task.threads)
        quiet_libraries()
        budget = ray.get_runtime_context().get_node_labels().get(BUDGET_LABEL)
        loaded = load_model(find_here(self.task.source, self.task.config, self.task.offline))
        return Engine(loaded, int(budget) if budget else None)

    def __call__(self, turns: pa.Table) -> dict[str, list[int]]:
        try:
            done = [
                self._answer(batch, self._read(row))
                for turn in turns.to_pylist()
                for row, batch in enumerate(turn["batches"], turn["row"])
            ]
            return {"questions": [questions for questions, _ in done], "errors": [errors for _, errors in done]}
        except Exception as error:
            self.stop.report(error, KEPT)
            raise
        finally:
            self.note.say(READY)

    def _read(self, row: int) -> list[Request]:
        return list(map(to_request, self.batches.get_batch(row).to_pylist()))

    def _answer(self, number: int, asked: list[Request]) -> tuple[int, int]:
        """Answer one batch and commit it; returns its number of questions, and how many failed now."""
        self.note.say(ANSWERING)
        file = answer_file(self.task.answers, number)
        if is_answered(file, [request.item_id for request in asked]):
            return len(asked), 0
        begun = time.perf_counter()
        answers = [vars(answer) for answer in self.asker.answer(number, asked)]
        table = pa.Table.from_pylist(answers, RAW_ANSWERS)
        persistently(lambda: write_table([table], RAW_ANSWERS, file, use_dictionary=False))
        self.metrics.answered(answers, time.perf_counter() - begun)
        return len(asked), sum(answer["error"] is not None for answer in answers)
