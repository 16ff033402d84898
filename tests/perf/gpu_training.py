"""QLoRA steps of Qwen2-7B's shape on a GPU, beside the usual way: `python -m tests.perf.gpu_training MODEL`.

Needs neither Ray nor pytest. MODEL is a folder that `tests.perf.gpu` left. The usual way is what SFT trainers do: the
model's own loss over all logits, gradient checkpointing, the same adapter and optimiser.
"""

import gc
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from jmed.configuration.finetune import FinetuneConfig
from jmed.models.source import find_model
from jmed.training.batch import Batch
from jmed.training.memory import Case, plan
from jmed.training.model import load_learner
from jmed.training.parallel import DataParallel

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
STEPS = 5


def make_batch(rows: int, width: int, share: float) -> Batch:
    """Packed sequences of 512 tokens, the last `share` of each supervised."""
    ids = torch.randint(3, 150_000, (rows, width), device=DEVICE, generator=torch.Generator(DEVICE).manual_seed(0))
    places = (torch.arange(width, device=DEVICE) % 512).expand(rows, width)
    return Batch(ids, (places >= 512 * (1 - share)) & (places > 0), None, places)


def timed(step: Callable[[], float]) -> tuple[float, float, float]:
    """(median seconds, peak GiB, first loss)."""
    loss = step()
    times = []
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(STEPS):
        begun = time.perf_counter()
        step()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    peak = torch.cuda.max_memory_allocated() / 2**30 if DEVICE.type == "cuda" else float("nan")
    return statistics.median(times), peak, loss


def learner(model: Path, dtype: str, **keys: Any) -> tuple[FinetuneConfig, DataParallel]:
    config = FinetuneConfig.model_validate(
        {
            "model": {"path": str(model), "dtype": dtype, "quantization": "nf4"}, "stage": "instruct",
            "tuning": "qlora", "data": [{"path": "none", "format": "mcqa"}], "output_dir": "none",
            "lora": {"r": 16, "dropout": 0.0}, "sequence_length": 2048, **keys,
        }
    )  # fmt: skip
    loaded = load_learner(find_model(config.model, True), config, DEVICE)
    backend = DataParallel(loaded.model, config, DTYPES[dtype], loaded.stored)
    backend.model.train()
    return config, backend


def ours(backend: DataParallel, batch: Batch) -> float:
    wanted = int(batch.supervised[:, 1:].sum())
    return backend.update(1e-5, backend.backward(batch, wanted, True))[0]


def usual(backend: DataParallel, batch: Batch) -> float:
    labels = torch.where(batch.supervised, batch.ids, -100)
    with torch.autocast(DEVICE.type, backend.dtype):
        loss = backend.model(
            input_ids=batch.ids, position_ids=batch.positions, labels=labels, use_cache=False
        ).loss  # fmt: skip
    loss.backward()
    backend.optimizer.step()
    backend.forget()
    return float(loss.detach())


def main() -> None:
    model = Path(sys.argv[1])
    rows, width = (2, 2048) if DEVICE.type == "cuda" else (1, 512)
    for share in (1.0, 0.17):
        batch = make_batch(rows, width, share)
        for name, way in (("jmed", ours), ("usual", usual)):
            config, backend = learner(model, "bfloat16")
            took, peak, loss = timed(partial(way, backend, batch))
            print(
                f"{name}, {rows} x {width}, {share:.0%} supervised: {rows * width / took:.0f} tokens/s, peak "
                f"{peak:.2f} GiB, first loss {loss:.4f}",
                flush=True,
            )
            del backend
            gc.collect()
            torch.cuda.empty_cache()
        source = find_model(config.model, True)
        case = Case(config, source, 1, (rows, width), int(batch.supervised.sum()), DEVICE.type, torch.bfloat16)
        print(f"predicted: {plan(case).device.total / 2**30:.2f} GiB, {plan(case).device}", flush=True)
    for dtype, keys in (("float16", {}), ("bfloat16", {"optimizer": "adamw_8bit"})):
        if DEVICE.type == "cuda":
            _, backend = learner(model, dtype, **keys)
            batch = make_batch(1, 1024, 0.5)
            losses = [ours(backend, batch) for _ in range(6)]
            print(f"{dtype} {keys}: losses {[round(loss, 3) for loss in losses]}", flush=True)
            del backend
            gc.collect()
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
