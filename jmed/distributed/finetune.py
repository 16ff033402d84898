"""The training job: data through the gate, preflight, Ray Train, the result in its place."""

import errno
import json
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jmed.configuration.finetune import FinetuneConfig
from jmed.distributed.stop import Stop
from jmed.errors import UserError
from jmed.models.source import ModelSource, find_model
from jmed.offline import forbid_network, forbid_telemetry
from jmed.runs.files import write_text
from jmed.runs.folder import RunFolder
from jmed.training.fence import Fence
from jmed.training.files import CONTAMINATION, EXAM_LOG, TOKENS, TRAIN_LOG
from jmed.training.finish import already_finished, finish
from jmed.training.identity import training_identity

if TYPE_CHECKING:
    from jmed.distributed.session import Workers
    from jmed.evaluation.plan import Plan
    from jmed.training.run import Job
    from jmed.training.schedule import Schedule

STOPPED = "stopped.json"  # why the workers stopped for good
ERRORS = "errors.log"  # tracebacks of workers
MAKE_ROOM = "Make room or mend the disk, then the same command continues"
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Prepared:
    """What the driver made of model, data and exam."""

    report: dict[str, Any]  # data and contamination
    schedule: "Schedule"
    exam: "Plan | None"


def finetune(config: FinetuneConfig) -> None:
    """Run the whole job; the same command again continues from the last checkpoint."""
    forbid_telemetry()
    if config.offline:
        forbid_network()
    from jmed.distributed import session

    session.refuse_lost_output(config.output_dir)
    quantized = config.model.model_copy(update={"quantization": config.quantization})
    config = config.model_copy(update={"model": quantized})
    source = find_model(config.model, config.offline)
    result = "model" if config.tuning == "full" else "adapter"
    path = Path(config.output_dir).expanduser().absolute()
    folder = RunFolder(path, training_identity(config, source), [result], [TRAIN_LOG, EXAM_LOG])
    with folder.claim():
        if folder.finished:
            already_finished(folder, result)
        else:
            _train(config, source, folder, result)


def _train(config: FinetuneConfig, source: ModelSource, folder: RunFolder, result: str) -> None:
    from jmed.distributed import session
    from jmed.distributed.preflight import preflight

    prepared = _prepare(config, source, folder.work)
    session.connect()
    with session.native_log(folder.work / "ray.log"):
        workers = session.plan_training(config.workers, config.global_batch_size)
        longest = prepared.schedule.longest()
        checked = preflight(config, source, longest, workers, folder.path)
        checked.show()
        if config.preflight_only or checked.fits:
            checked.write(folder.path)
        checked.refuse()
        if config.preflight_only:
            return
        folder.begin(
            config,
            {
                "model_folder": str(source.folder),
                "data": prepared.report["data"],
                "cluster": session.describe(workers),
            },
        )
        write_text(_json(prepared.report["contamination"]), folder.path / CONTAMINATION)
        _fit(config, source, folder, prepared, workers)
    finish(config, source, folder, prepared.report, result)


def _prepare(config: FinetuneConfig, source: ModelSource, work: Path) -> Prepared:
    """Check everything that can be checked without workers, and write the token table."""
    from jmed.models.loading import context_length, load_tokenizer
    from jmed.models.quiet import quiet_libraries
    from jmed.training.exam import plan_exam
    from jmed.training.prepare import prepare
    from jmed.training.schedule import Schedule
    from jmed.training.table import TokenTable

    quiet_libraries()
    tokenizer, longest = load_tokenizer(source), context_length(source)
    if config.sequence_length > longest:
        raise UserError(
            f"sequence_length: found {config.sequence_length:,}; the model's context holds {longest:,} tokens: lower it"
        )
    exam = plan_exam(config, tokenizer, longest)
    report = prepare(config, tokenizer, work)
    schedule = Schedule(TokenTable.open(work / TOKENS), config)
    print(describe(report, schedule), file=sys.stderr)
    return Prepared(report, schedule, exam)


def describe(report: dict[str, Any], schedule: "Schedule") -> str:
    """What will be trained on, in a few lines."""
    lines = [
        f"{row['name']}: {row['examples']:,} examples, {row['tokens']:,} tokens, "
        f"{row['supervised_tokens']:,} of them supervised"
        + (f"; {row['too_long']:,} too long, left out" if row["too_long"] else "")
        for row in report["data"]
    ]
    gate = report["contamination"]
    if gate["verdict"] == "not checked":
        lines.append("contamination: not checked, since no benchmark is named (contamination.benchmarks)")
    else:
        found = f"{gate['overlapping_examples']:,} of {gate['examples']:,} examples hold their questions"
        left_out = ", left out" if gate["dropped_examples"] else ""
        lines.append(f"contamination: checked against {', '.join(gate['benchmarks'])}: {found}{left_out}")
    lines.append(f"{schedule.total:,} steps of {schedule.config.global_batch_size} sequences")
    return "\n".join(lines)


def _fit(
    config: FinetuneConfig, source: ModelSource, folder: RunFolder, prepared: Prepared, workers: "Workers"
) -> None:
    """Run the workers until the result lies in `unfinished`; lost workers are replaced, from the last checkpoint."""
    from jmed.distributed.watch import watched
    from jmed.training.run import Job

    stop = Stop(folder.work / STOPPED)
    stop.prepare()
    job = Job(config, source, folder.path, folder.work, Fence.new(folder.work / "attempt"), prepared.exam)
    trainer = _trainer(job, workers)
    try:
        with watched(folder.path / TRAIN_LOG, prepared.schedule.total, sys.stderr):
            trainer.fit()
    finally:
        _raise(stop)


def _raise(stop: Stop) -> None:
    """Say why the workers stopped before the end, if they did."""
    reason = stop.said()
    if reason is None:
        return
    if reason["mendable"]:
        raise UserError(reason["message"])
    where = stop.path.parent / ERRORS
    raise RuntimeError(f"{reason['message']}; see {where}, or Ray's own logs for workers that were killed")


def _trainer(job: "Job", workers: "Workers") -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    config = job.config.workers
    count = tuple(config.count) if isinstance(config.count, list) else workers.count
    resources = {"CPU": float(workers.cpus), **({"GPU": workers.gpus} if workers.gpus else {})}
    return TorchTrainer(
        work,
        train_loop_config={"job": job, "threads": workers.cpus},
        scaling_config=ScalingConfig(
            num_workers=count,
            use_gpu=workers.gpus > 0,
            resources_per_worker=resources,
            elastic_resize_monitor_interval_s=config.resize_seconds,
        ),
        run_config=RunConfig(
            # A name of its own: what Ray keeps of an attempt is never continued, our checkpoints are.
            name=job.fence.mark,
            storage_path=str(job.work / "ray"),
            failure_config=FailureConfig(max_failures=config.max_restarts),
        ),
    )


def work(settings: dict[str, Any]) -> None:
    """One Ray Train worker."""
    import os

    job: Job = settings["job"]
    if job.config.offline:
        forbid_network()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch
    from ray.train.torch import get_device

    from jmed.models.quiet import quiet_libraries

    torch.set_num_threads(settings["threads"])
    quiet_libraries()
    stop = Stop(job.work / STOPPED)
    if stop.said() is None:
        _teach(job, get_device(), stop)


def _teach(job: "Job", device: Any, stop: Stop) -> None:
    """Ray starts workers again after any error; a reason that would only repeat itself makes the new ones end."""
    from jmed.training.loop import GaveUp
    from jmed.training.run import teach

    try:
        teach(job, device)
    except Exception as error:
        if isinstance(error, UserError | GaveUp):
            stop.say(str(error), mendable=isinstance(error, UserError))
        elif isinstance(error, OSError) and error.errno in DISK_ERRORS:
            stop.say(f"output_dir: {error.strerror}; the last checkpoint is kept. {MAKE_ROOM}", mendable=True)
        else:
            with (job.work / ERRORS).open("a", encoding="utf-8") as stream:
                stream.write(traceback.format_exc() + "\n")
        raise  # also where only this worker failed: the others are taken down, not left waiting


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
