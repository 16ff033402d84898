"""A worker: loads the model once, answers batches, and commits each batch as one file."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from jmed.configuration.schema import ModelConfig
from jmed.evaluation.folder import answer_file
from jmed.evaluation.table import RAW_ANSWERS
from jmed.models.source import ModelSource, find_here
from jmed.offline import forbid_network
from jmed.runs.files import write_table


class EvaluationWorker:
    """Called by Ray Data with rows that are batches; what it returns is only the bookkeeping.

    The answers go straight into the run folder, whole or not at all, under the number of the batch. A batch that
    is asked again, because a worker died or an acknowledgement was lost, replaces the same file by the same content.
    """

    def __init__(self, source: ModelSource, config: ModelConfig, answers: Path, threads: int, offline: bool) -> None:
        if offline:
            forbid_network()
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        import torch

        from jmed.inference.engine import Engine
        from jmed.models.loading import load_model
        from jmed.models.quiet import quiet_libraries

        torch.set_num_threads(threads)
        quiet_libraries()
        self.answers = answers
        self.engine = Engine(load_model(find_here(source, config, offline)))

    def __call__(self, batches: pa.Table) -> dict[str, list[int]]:
        rows = batches.to_pylist()
        return {
            "batch": [row["batch"] for row in rows],
            "questions": [self._answer(row["batch"], row["requests"]) for row in rows],
        }

    def _answer(self, number: int, requests: list[dict[str, Any]]) -> int:
        """Answer one batch and commit it; returns the number of questions."""
        from jmed.inference.request import Request

        asked = [Request(**{**request, "continuations": tuple(request["continuations"])}) for request in requests]
        answers = self.engine.answer(asked)
        write_table([vars(answer) for answer in answers], RAW_ANSWERS, answer_file(self.answers, number))
        return len(answers)
