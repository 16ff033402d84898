"""The training job: data through the gate, preflight, Ray Train, the result in its place."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jmed.configuration.finetune import FinetuneConfig
from jmed.distributed.collection import collect_seldom
from jmed.distributed.heartbeat import Heartbeat
from jmed.errors import UserError
from jmed.evaluation.inputs import localise
from jmed.models.source import ModelSource, find_model
from jmed.offline import forbid_network, forbid_telemetry
from jmed.runs.files import write_text
from jmed.runs.folder import RunFolder
from jmed.training.files import CONTAMINATION, EXAM_LOG, TOKENS, TRAIN_LOG
from jmed.training.finish import already_finished, finish
from jmed.training.identity import training_identity

if TYPE_CHECKING:
    from jmed.evaluation.plan import Plan
    from jmed.training.schedule import Schedule


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
    collect_seldom()
    quantized = config.model.model_copy(update={"quantization": config.quantization})
    config = config.model_copy(update={"model": quantized})
    config = localise(config)
    source = find_model(config.model, config.offline)
    result = "model" if config.tuning == "full" else "adapter"
    path = Path(config.output_dir).expanduser().absolute()
    folder = RunFolder(path, training_identity(config, source), [result], [TRAIN_LOG, EXAM_LOG])
    with folder.claim(), Heartbeat("finetune", folder.path, folder.work) as heart:
        if folder.finished:
            already_finished(folder, result)
        else:
            _train(config, source, folder, result, heart)


def _train(config: FinetuneConfig, source: ModelSource, folder: RunFolder, result: str, heart: Heartbeat) -> None:
    heart.stage("reading and checking the data")
    prepared = _prepare(config, source, folder.work)
    # Here, since Ray Train takes seconds to import, and most mistakes are in the data.
    from jmed.distributed import capacity, session
    from jmed.distributed.preflight import preflight
    from jmed.distributed.trainer import fit

    heart.stage("joining Ray")
    joined = session.connect()
    with session.native_log(folder.work / "ray.log", leave=joined):
        heart.stage("finding room for the workers")
        workers = capacity.plan_training(config.workers, config.global_batch_size)
        heart.stage("preflight: asking the machines and predicting memory")
        longest = prepared.schedule.longest()
        checked = preflight(config, source, longest, workers, folder.path)
        checked.show()
        if config.preflight_only or checked.fits:
            checked.write(folder.path)
        checked.refuse()
        if config.preflight_only:
            return
        folder.begin(
            config.as_given,
            {
                "model_folder": str(source.folder),
                "data": prepared.report["data"],
                "cluster": capacity.describe(workers),
            },
        )
        write_text(_json(prepared.report["contamination"]), folder.path / CONTAMINATION)
        fit(config, source, folder, prepared.exam, workers, prepared.schedule.total, heart)
    heart.stage("writing the result")
    finish(config, source, folder, prepared.report, result)


def _prepare(config: FinetuneConfig, source: ModelSource, work: Path) -> Prepared:
    """Check everything that can be checked without workers, and write the token table."""
    from jmed.models.loading import context_length, load_tokenizer
    from jmed.models.quiet import quiet_libraries
    from jmed.training.exam import plan_exam
    from jmed.training.model import check_adapter
    from jmed.training.prepare import prepare
    from jmed.training.schedule import Schedule
    from jmed.training.table import TokenTable

    quiet_libraries()
    check_adapter(source, config)
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


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
