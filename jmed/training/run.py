"""One worker of a run, from loading to the result; it does not know Ray."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from jmed.configuration.finetune import FinetuneConfig
from jmed.evaluation.plan import Plan
from jmed.models.loading import LoadedModel, choose_dtype
from jmed.models.source import ModelSource, find_here, stored_dtype
from jmed.models.writing import complete
from jmed.training import group
from jmed.training.backend import Backend
from jmed.training.checkpoints import Checkpoints, write_together
from jmed.training.exam import Exam
from jmed.training.fence import Fence
from jmed.training.files import BEST, CHECKPOINTS, RESULT, STOP_ASKED, TOKENS
from jmed.training.loop import Loop
from jmed.training.model import load_learner
from jmed.training.notice import Notices, nobody
from jmed.training.parallel import DataParallel
from jmed.training.probe import Probe
from jmed.training.schedule import Schedule
from jmed.training.table import TokenTable


@dataclass(frozen=True)
class Job:
    """What every worker is told."""

    config: FinetuneConfig
    source: ModelSource
    output: Path  # the run folder
    work: Path  # its `unfinished`
    fence: Fence
    exam: Plan | None


def teach(
    job: Job,
    device: torch.device,
    leaving: Callable[[], bool] = nobody,
    examining: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Train; leaves the result in `unfinished/result`. Returns the memory that the largest batch took, in bytes.

    `leaving`: whether a machine is about to go; called by every worker alike. `examining` is called before each batch
    of an exam.
    """
    config = job.config
    source = find_here(job.source, config.model, config.offline)
    loaded = load_learner(source, config, device)
    backend = make_backend(loaded, config, choose_dtype(config.model.dtype, device))
    table = TokenTable.open(job.work / TOKENS)
    schedule = Schedule(table, config)
    peak = 0
    if Checkpoints(job.work / CHECKPOINTS, backend).latest() is None:
        peak = _try_out(backend, schedule, loaded)
    exam = Exam(job.exam, loaded, backend, examining) if job.exam else None
    notices = Notices(leaving, job.work / STOP_ASKED)
    Loop(config, backend, schedule, exam, job.output, job.work, job.fence, loaded.pad_id, notices).run()
    _leave_result(job, backend, loaded, source)
    return {"peak_bytes": max(group.gather(peak))}


def make_backend(loaded: LoadedModel, config: FinetuneConfig, dtype: torch.dtype) -> Backend:
    if config.sharded:
        from jmed.training.zero import Zero

        return Zero(loaded.model, config, dtype)
    return DataParallel(loaded.model, config, dtype, loaded.stored)


def _try_out(backend: Backend, schedule: Schedule, loaded: LoadedModel) -> int:
    """What would go wrong later goes wrong now; the largest batch's peak memory in bytes."""
    probe = Probe(backend, schedule.table, loaded.pad_id, choose_dtype(schedule.config.model.dtype, backend.device))
    backend.model.train()
    probe.check_loss()
    if schedule.config.packing:
        probe.check_packing()
    return probe.check_fit(schedule)


def _leave_result(job: Job, backend: Backend, loaded: LoadedModel, source: ModelSource) -> None:
    """The best epoch's weights if that was asked for, else the last ones, with what belongs to them."""

    def write(folder: Path) -> None:
        if job.config.checkpoint.keep == "last":
            backend.export(folder)
        elif backend.rank == 0:
            shutil.copytree(job.work / BEST, folder, dirs_exist_ok=True)
        if backend.rank == 0 and job.config.tuning == "full":
            complete(loaded.model, source.folder, folder, stored_dtype(folder))
        elif backend.rank == 0:
            loaded.tokenizer.save_pretrained(folder)

    job.fence.check()
    write_together(backend, job.work / RESULT, write, {})
