"""Very many questions through the whole evaluation, with workers that answer at once:
`python -m tests.perf.million MODEL COUNT FOLDER` prints seconds and the driver's memory as JSON.

Everything else is as in a job: planning with the real tokenizer, batches through Ray Data, answers committed to disk,
marks, tables, the page.
"""

import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jmed.configuration.schema import EvaluateConfig, ModelConfig, WorkersConfig
from jmed.distributed import pipeline
from jmed.distributed.evaluate import evaluate
from jmed.distributed.worker import EvaluationWorker
from jmed.inference.request import Answer, Request
from tests.perf.memory import Peak
from tests.perf.process import printed

EVERY = 0.2  # seconds between two looks at the memory
WORKERS = 2


class Constant:
    """An engine that prefers the first option of everything."""

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        return [
            Answer(one.item_id, "", tuple(-1.0 - place for place in range(len(one.continuations))), 100, 1)
            for one in requests
        ]


class ConstantWorker(EvaluationWorker):
    def _load(self) -> Any:
        return Constant()


def write_questions(file: Path, count: int) -> None:
    """Questions of 12 to 60 words, five choices each."""
    draw = random.Random(0)
    words = [
        "fever",
        "cough",
        "chest",
        "pain",
        "rash",
        "anaemia",
        "nausea",
        "oedema",
        "syncope",
        "jaundice",
        "fatigue",
        "tremor",
    ]
    with file.open("w", encoding="utf-8") as stream:
        for number in range(count):
            text = " ".join(draw.choices(words, k=draw.randint(12, 60)))
            row = {
                "question_id": f"q{number:07d}", "language": "en", "question": f"{text}. Which is most likely?",
                "choices": [f"{word} {number}" for word in draw.sample(words, 5)], "answer": draw.choice("abcde"),
            }  # fmt: skip
            stream.write(json.dumps(row) + "\n")


def answered_at_once(model: Path, count: int) -> dict[str, float]:
    """Seconds and bytes of so many questions, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return json.loads(printed("tests.perf.million", model, count, folder))


def main() -> None:
    model, count, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    file = folder / "questions.jsonl"
    write_questions(file, count)
    pipeline.EvaluationWorker = ConstantWorker  # type: ignore[misc]
    config = EvaluateConfig(
        model=ModelConfig(path=model), output_dir=str(folder / "run"), benchmarks=[f"jsonl:{file}"], languages=["en"],
        method="letters", workers=WorkersConfig(count=WORKERS), offline=True,
    )  # fmt: skip
    begun = time.perf_counter()
    with Peak(EVERY) as peak:
        evaluate(config)
    print(json.dumps({"seconds": time.perf_counter() - begun, "memory": peak.most}))


if __name__ == "__main__":
    main()
