"""A tiny model and a few sequences for the tests of training, and workers that are real processes."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from jmed.configuration.finetune import FinetuneConfig
from jmed.models.source import find_model
from jmed.models.tiny import build_tiny_model, train_tokenizer
from jmed.training.fence import Fence
from jmed.training.loop import Loop
from jmed.training.model import load_learner
from jmed.training.notice import Notices
from jmed.training.run import make_backend
from jmed.training.schedule import Schedule

DTYPES = {"auto": torch.float32, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Sequences:
    """A token table in memory."""

    rows: list[tuple[np.ndarray, np.ndarray]]

    def __post_init__(self) -> None:
        self.lengths = np.array([len(ids) for ids, _ in self.rows], dtype=np.int32)
        self.supervised = np.array([wanted.sum() for _, wanted in self.rows], dtype=np.int32)
        self.sources = np.zeros(len(self.rows), dtype=np.int16)

    def __len__(self) -> int:
        return len(self.rows)

    def tokens(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.rows[index]


def sequences(count: int = 24, seed: int = 0) -> Sequences:
    """Random tokens; the second half of each sequence is supervised."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        length = int(generator.integers(4, 40))
        ids = generator.integers(3, 250, length).astype(np.int32)
        rows.append((ids, np.arange(length) >= length // 2))
    return Sequences(rows)


def tiny(folder: Path, **shape: Any) -> Path:
    return build_tiny_model(
        folder, train_tokenizer(["アスピリンは何に効くか。 What does aspirin treat? 0123456789"]), **shape
    )


def configured(model: Path, **keys: Any) -> FinetuneConfig:
    """Small steps with several micro-batches each."""
    dtype = keys.pop("dtype", "auto")
    base: dict[str, Any] = {
        "model": {"path": str(model), "dtype": dtype},
        "output_dir": "unused",
        "stage": "instruct",
        "tuning": "lora",
        "data": [{"path": "unused", "format": "mcqa"}],
        "global_batch_size": 8,
        "batch_tokens": 80,
        "sequence_length": 64,
        "learning_rate": 1e-2,
        "epochs": 2,
        "lora": {"r": 4, "dropout": 0.1},
        "tensorboard": False,
        "checkpoint": {"every_steps": 2},
    }
    return FinetuneConfig(**{**base, **keys})


torch.set_num_threads(1)


def train(
    config: FinetuneConfig, table: Sequences, output: Path, mark: str = "", notices: Notices | None = None
) -> dict[str, torch.Tensor]:
    """One worker's run, in this process (and its group); the trained weights."""
    source = find_model(config.model, True)
    loaded = load_learner(source, config, torch.device("cpu"))
    backend = make_backend(loaded, config, DTYPES[config.model.dtype])
    work = output / "unfinished"
    work.mkdir(parents=True, exist_ok=True)
    fence = (
        Fence(work / "attempt", mark or (work / "attempt").read_text("utf-8")) if mark else Fence.new(work / "attempt")
    )
    schedule = Schedule(table, config)  # type: ignore[arg-type]
    Loop(config, backend, schedule, None, output, work, fence, loaded.pad_id, notices or Notices()).run()
    return {name: weight.detach().clone() for name, weight in loaded.model.named_parameters() if weight.requires_grad}


def logged(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "train_log.jsonl").read_text("utf-8").splitlines()]


def together(workers: int, work: Callable[..., None], *arguments: Any, folder: Path) -> None:
    """Run `work(*arguments)` in so many processes that form a gloo group."""
    meeting = folder / f"meeting-{os.urandom(4).hex()}"
    mp.spawn(_worker, args=(workers, str(meeting), work, arguments), nprocs=workers)


def _worker(rank: int, workers: int, meeting: str, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=workers)
    work(*arguments)
    dist.destroy_process_group()
    # What still refers to the group (DeepSpeed does) keeps gloo's threads alive, and one that needs Python's lock while
    # the interpreter ends takes the process down (SIGABRT, seen once; pytorch/pytorch#179291). All work is done here.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
