"""The exam in the loop: the model that learns sits dev benchmarks, asked and marked as the evaluation job does."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa

from jmed.configuration.finetune import FinetuneConfig
from jmed.configuration.schema import EvaluateConfig
from jmed.evaluation.marks import mark_answers
from jmed.evaluation.plan import Plan, plan_evaluation
from jmed.evaluation.results import make_results
from jmed.evaluation.table import RAW_ANSWERS
from jmed.inference.engine import Engine
from jmed.models.loading import LoadedModel
from jmed.training.backend import Backend
from jmed.training.group import gather


def exam_config(config: FinetuneConfig) -> EvaluateConfig:
    """The exam as an evaluation of its own."""
    exam = config.evaluate
    return EvaluateConfig(
        model=config.model, benchmarks=exam.benchmarks, languages=exam.languages, method=exam.method,
        prompt=exam.prompt, prompt_file=config.prompt_file, limit=exam.limit, data_root=config.data_root,
        output_dir=config.output_dir, seed=config.seed, batch_tokens=config.batch_tokens,
    )  # fmt: skip


def plan_exam(config: FinetuneConfig, tokenizer: Any, max_length: int) -> Plan | None:
    """The questions of the exam, planned by the driver, so that workers need no benchmark files; None: no exam."""
    return plan_evaluation(exam_config(config), tokenizer, max_length) if config.evaluate.benchmarks else None


class Exam:
    """A planned exam and the model that sits it."""

    def __init__(
        self, plan: Plan, loaded: LoadedModel, backend: Backend, examining: Callable[[], None] = lambda: None
    ) -> None:
        """`examining` is called before each batch of this worker's."""
        self.plan, self.loaded, self.backend, self.examining = plan, loaded, backend, examining

    def sit(self) -> list[dict[str, Any]]:
        """Scores as in results.json, the same on every worker; batches are shared out over the workers.

        Where every forward pass is a collective, each worker asks everything.
        """
        backend, model = self.backend, self.backend.model
        engine = Engine(replace(self.loaded, model=model, device=backend.device))
        first, stride = (0, 1) if backend.lockstep else (backend.rank, backend.world_size)
        training = model.training
        model.eval()
        answers = []
        for batch in self.plan.batches[first::stride]:
            self.examining()
            answers += [vars(answer) for answer in engine.answer([item.request for item in batch])]
        model.train(training)
        everyone = {answer["item_id"]: answer for part in gather(answers) for answer in part}
        asked = self.plan.batches.items.rows["item_id"].to_pylist()
        given = pa.Table.from_pylist([everyone[item_id] for item_id in asked], RAW_ANSWERS)
        marked = (one for piece in mark_answers(self.plan, given, "strict") for one in piece.marked)
        return make_results("", marked, self.plan.exam_questions, self.plan.left_out, {})["scores"]


def mean_accuracy(scores: list[dict[str, Any]]) -> float:
    """The mean over benchmarks and languages, each counting the same; what `checkpoint.keep: best` chooses by."""
    return sum(score["value"] for score in scores) / len(scores)
