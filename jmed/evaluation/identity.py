"""Everything that decides the answers of a run, and nothing else: two runs with the same identity are the same run."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jmed.configuration.schema import EvaluateConfig
from jmed.evaluation.plan import Plan
from jmed.models.source import ModelSource, fingerprint
from jmed.runs.hashes import file_hashes

_EVALUATE_KEYS = (
    "benchmarks", "languages", "method", "prompt", "shots", "limit", "scoring", "max_new_tokens", "repetition_penalty",
    "seed", "batch_tokens",
)  # fmt: skip


def evaluation_identity(config: EvaluateConfig, source: ModelSource, plan: Plan) -> dict[str, Any]:
    """Keys that decide the answers, and hashes of model, adapter, templates and benchmark files.

    Left out on purpose: workers, paths, offline. They may change between the start of a run and its end.
    """
    return {
        "job": "evaluate",
        **{key: _once(getattr(config, key)) for key in _EVALUATE_KEYS},
        **({"rotations": config.rotations} if config.rotations else {}),  # without: as runs of before the key
        "quantization": config.model.quantization,
        "dtype": config.model.dtype,
        "model": fingerprint(source.folder),
        "adapter": fingerprint(source.adapter) if source.adapter else None,
        "templates": _hash([asdict(template) for template in plan.templates]),
        "data": file_hashes(plan.files, Path(config.data_root)),
    }


def _once(value: Any) -> Any:
    """A list without repeats, as the plan takes it."""
    return list(dict.fromkeys(value)) if isinstance(value, list) else value


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
