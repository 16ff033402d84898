"""The questions that are timed: single-answer five-choice questions of IgakuQA 2018, in Japanese."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jmed.configuration.schema import EvaluateConfig, ModelConfig
from jmed.data import catalogue
from jmed.evaluation.batches import make_batches
from jmed.evaluation.items import Item
from jmed.evaluation.plan import plan_evaluation
from jmed.inference.engine import Engine
from jmed.inference.request import Answer

BENCHMARK, LANGUAGE, CONTEXT = "igakuqa-2018", "ja", 4096


def make_config(data_root: Path, method: str, **keys: Any) -> EvaluateConfig:
    return EvaluateConfig(
        model=ModelConfig(path="none"), output_dir="none", data_root=str(data_root), benchmarks=[BENCHMARK],
        languages=[LANGUAGE], method=method, **keys,
    )  # fmt: skip


def first_items(config: EvaluateConfig, tokenizer: Any, count: int) -> list[Item]:
    """The first questions with five choices and one right answer, in the order of the exam."""
    planned = plan_evaluation(config, tokenizer, CONTEXT)
    items = {item.question.question_id: item for item in planned.items}
    questions = catalogue.load(BENCHMARK, LANGUAGE, Path(config.data_root))
    fitting = [q for q in questions if q.question_id in items and len(q.choices) == 5 and len(q.gold) == 1]
    assert len(fitting) >= count
    return [items[question.question_id] for question in fitting[:count]]


def jmed_runs(engine: Engine, items: Sequence[Item], config: EvaluateConfig) -> dict[str, Answer]:
    """What the job does with these questions, Ray aside: batches by the plan's rule, answered one after the other."""
    batches = make_batches(items, engine.loaded.tokenizer, config.batch_tokens, engine.loaded.max_length)
    answers = [answer for batch in batches for answer in engine.answer([item.request for item in batch])]
    assert not any(answer.error for answer in answers)
    return {answer.item_id: answer for answer in answers}
