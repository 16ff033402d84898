"""The same batches in a bare loop: `python -m tests.perf.bare MODEL PLAN` prints seconds and log-probabilities as JSON.

In a process of its own, as a worker is: the memory that the first batches take costs both the same.
"""

import json
import pickle
import sys
import time
from pathlib import Path

import torch

from jmed.evaluation.plan import Plan
from tests.perf.kit import engine_of
from tests.perf.process import printed
from tests.perf.ray_kit import THREADS


def bare_loop(model: Path, plan: Plan, folder: Path) -> tuple[float, dict[str, list[float]]]:
    """Seconds, model load excluded, and the log-probabilities by question."""
    file = folder / "batches.pickle"
    file.write_bytes(pickle.dumps([[item.request for item in batch] for batch in plan.batches]))
    return tuple(json.loads(printed("tests.perf.bare", model, file)))


def main() -> None:
    model, file = map(Path, sys.argv[1:])
    torch.set_num_threads(THREADS)
    engine, batches = engine_of(model), pickle.loads(file.read_bytes())
    begun = time.perf_counter()
    answers = [answer for batch in batches for answer in engine.answer(batch)]
    taken = time.perf_counter() - begun
    print(json.dumps([taken, {answer.item_id: answer.logprobs for answer in answers}]))


if __name__ == "__main__":
    main()
