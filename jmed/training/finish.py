"""The end of a run: the model card, the result in its place, and the figures for the terminal."""

import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from jmed.configuration.finetune import FinetuneConfig
from jmed.models.source import ModelSource, fingerprint
from jmed.report.learning import print_learning
from jmed.runs.card import Card, Contamination, Data, Exam, Origin, Prompt, read_lineage, write_card
from jmed.runs.folder import RunFolder, versions
from jmed.runs.hashes import sha256_file
from jmed.training.files import BEST, EXAM_LOG, RESULT, STATE, TRAIN_LOG
from jmed.training.identity import source_files, template_hashes
from jmed.training.log import read_log


def finish(config: FinetuneConfig, source: ModelSource, folder: RunFolder, report: dict[str, Any], result: str) -> None:
    """Write card and lineage beside the weights, then move them to `result` (`adapter` or `model`): the run is done."""
    made = folder.work / RESULT
    step = _step_kept(config, folder)
    write_card(made, _card(config, source, folder, report, "adapter" if result == "adapter" else "model", step))
    (made / STATE).unlink(missing_ok=True)
    made.rename(folder.path / result)
    shutil.rmtree(folder.work, ignore_errors=True)
    _show(folder, result)


def already_finished(folder: RunFolder, result: str) -> None:
    """Say so, show the figures again, and do nothing."""
    print(f"{folder.path} holds this run, finished; nothing is trained again", file=sys.stderr)
    _show(folder, result)


def _show(folder: RunFolder, result: str) -> None:
    print_learning(read_log(folder.path / TRAIN_LOG), read_log(folder.path / EXAM_LOG))
    print(f"{result}: {folder.path / result}")


def _step_kept(config: FinetuneConfig, folder: RunFolder) -> int:
    """The step whose weights are the result."""
    if config.checkpoint.keep == "best":
        return int(json.loads((folder.work / BEST / STATE).read_text("utf-8"))["step"])
    return int(read_log(folder.path / TRAIN_LOG)[-1]["step"])


def _card(
    config: FinetuneConfig,
    source: ModelSource,
    folder: RunFolder,
    report: dict[str, Any],
    kind: Literal["adapter", "model"],
    step: int,
) -> Card:
    root = Path(config.data_root)
    hashes = [
        {file.name: sha256_file(file) for file in source_files(one, root)} for one in config.data
    ]  # of each data source
    exams = [
        row for row in read_log(folder.path / EXAM_LOG) if row["step"] in (0, step) and row["metric"] == "accuracy"
    ]
    return Card(
        kind=kind,
        name=folder.path.name,
        base=Origin(name=source.name, files=fingerprint(source.folder)),
        parents=read_lineage(source.folder),
        stage=config.stage,
        tuning=config.tuning,
        settings=_settings(config, step),
        data=[_data(row, files) for row, files in zip(report["data"], hashes, strict=True)],
        prompts=[Prompt(name=name, sha256=digest) for name, digest in template_hashes(config)],
        contamination=_contamination(report["contamination"]),
        exams=[Exam.model_validate(row) for row in exams],
        versions=versions(),
        created=datetime.now(UTC).date(),
    )


def _settings(config: FinetuneConfig, step: int) -> dict[str, Any]:
    """What a reader of the card wants to know of the training; all of it stands in run.yaml."""
    keys = ("sequence_length", "global_batch_size", "learning_rate", "schedule", "warmup", "optimizer", "weight_decay")
    adapter = {} if config.tuning == "full" else {"lora": config.lora.model_dump()}
    return {
        "steps": step,
        "epochs": config.epochs or (1 if config.steps is None else None),
        **{key: getattr(config, key) for key in keys},
        **adapter,
        "seed": config.seed,
    }


def _data(row: dict[str, Any], files: dict[str, str]) -> Data:
    keys = ("name", "format", "language", "weight", "examples", "sequences", "tokens")
    return Data(**{key: row[key] for key in keys}, sha256=files)


def _contamination(report: dict[str, Any]) -> Contamination:
    return Contamination(
        action=report["action"],
        benchmarks=report["benchmarks"],
        overlaps=report["overlapping_examples"],
        dropped=report["dropped_examples"],
        verdict=report["verdict"],
    )
