"""The tiny model and the training data of the job tests, also for programs that are no tests."""

import json
from pathlib import Path

from jmed.data import catalogue
from jmed.models.tiny import build_tiny_model, train_tokenizer


def build_tiny(folder: Path) -> Path:
    """The demo's shape: random weights, a tokenizer trained on the questions of `mini`."""
    questions = [question for language in ("ja", "en") for question in catalogue.load("mini", language, None)]
    return build_tiny_model(folder, train_tokenizer(question.text for question in questions))


def training_lines() -> str:
    """The questions of `mini` as JSON lines of the format `mcqa`."""
    rows = [
        {
            "question_id": question.question_id, "language": language, "question": question.text,
            "choices": list(question.choices), "answer": question.gold,
        }
        for language in ("ja", "en")
        for question in catalogue.load("mini", language, None)
    ]  # fmt: skip
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
