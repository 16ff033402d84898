"""Peak memory of one side, in a process of its own: `python -m tests.perf.peak SIDE METHOD MODEL DATA BATCH COUNT`
prints bytes as JSON: of the whole process, and above what it held when the model was loaded."""

import json
import sys
from pathlib import Path

import torch

from tests.perf.kit import THREADS, engine_of
from tests.perf.memory import Peak, status


def main() -> None:
    side, method, model, data, batch, count = sys.argv[1:]
    torch.set_num_threads(THREADS)
    from tests.perf.questions import first_items, jmed_runs, make_config

    config = make_config(Path(data), method)
    if side == "jmed":
        engine = engine_of(Path(model))
        items = first_items(config, engine.loaded.tokenizer, int(count))
        with Peak() as peak:
            jmed_runs(engine, items, config)
    else:
        from transformers import AutoTokenizer

        from tests.unit.test_lm_eval import harness_scores, load_harness

        harness = load_harness(Path(model), batch_size=int(batch))
        items = first_items(config, AutoTokenizer.from_pretrained(model), int(count))
        with Peak() as peak:
            harness_scores(harness, items)
    # Not of getrusage: that also counts what the process was before it became this program.
    print(json.dumps({"whole": status("VmHWM"), "above": peak.growth}))


if __name__ == "__main__":
    main()
