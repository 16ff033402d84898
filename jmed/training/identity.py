"""Everything that decides the trained weights: a run is continued only with the same."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jmed.configuration.finetune import DataSource, FinetuneConfig
from jmed.data import catalogue
from jmed.errors import UserError
from jmed.models.source import ModelSource, fingerprint
from jmed.prompts.template import Template, find_template
from jmed.runs.hashes import file_hashes

# Left out on purpose, because they may change between the start of a run and its end: workers, paths, offline,
# memory (time for memory, same numbers), checkpoint.every_steps, tensorboard.
_KEYS = (
    "stage", "tuning", "sequence_length", "too_long", "epochs", "steps", "global_batch_size", "batch_tokens", "packing",
    "learning_rate", "schedule", "warmup", "optimizer", "weight_decay", "max_grad_norm", "prompt", "alpaca", "seed",
)  # fmt: skip


def training_identity(config: FinetuneConfig, source: ModelSource) -> dict[str, Any]:
    """Keys that decide the weights, and hashes of model, data and templates."""
    root = Path(config.data_root)
    return {
        "job": "finetune",
        **{key: getattr(config, key) for key in _KEYS},
        "dtype": config.model.dtype,
        "lora": None if config.tuning == "full" else config.lora.model_dump(),
        "zero": config.zero.stage if config.sharded else None,
        "keep": config.checkpoint.keep,
        "contamination": {"action": config.contamination.action, "benchmarks": config.gate_benchmarks},
        "exam": config.evaluate.model_dump() if config.evaluate.benchmarks else None,
        "sources": [{"name": one.name, **one.model_dump(exclude={"path", "benchmark"})} for one in config.data],
        "model": fingerprint(source.folder),
        "data": file_hashes([file for one in config.data for file in source_files(one, root)], root),
        "gate_data": file_hashes([f for name in config.gate_benchmarks for f in catalogue.files_of(name, root)], root),
        "templates": dict(template_hashes(config)),
    }


def source_files(source: DataSource, root: Path) -> list[Path]:
    if source.benchmark is not None:
        return catalogue.files_of(source.benchmark, root)
    path = Path(str(source.path)).expanduser()
    if not path.is_file():
        raise UserError(f"data: {path}: there is no such file; give the path of a JSON-lines file")
    return [path]


def template_hashes(config: FinetuneConfig) -> list[tuple[str, str]]:
    """Name and SHA-256 of the templates by which questions become text; none where the data holds no questions."""
    found = _templates(config)
    return [(config.prompt, _hash([asdict(template) for template in found]))] if found else []


def _templates(config: FinetuneConfig) -> list[Template]:
    families = [
        source.benchmark.split("-")[0] if source.benchmark else "jsonl"
        for source in config.data
        if source.benchmark or source.format == "mcqa"
    ]
    return [
        find_template(config.prompt, language, family, config.prompt_file)
        for family in dict.fromkeys(families)
        for language in ("ja", "en")
    ]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
