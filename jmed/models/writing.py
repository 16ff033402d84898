"""Writing a model folder in transformers layout: weights of the model, everything else as its base has it."""

import json
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jmed.errors import UserError
from jmed.models.source import read_json
from jmed.runs.files import write_text

if TYPE_CHECKING:
    import torch

SHARD = "5GB"
CONFIG = "config.json"
KEPT = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model", "chat_template*",
    "additional_chat_templates/*.jinja", "generation_config.json", "LICENSE*", "NOTICE*",
)  # fmt: skip


def rounded(weight: "torch.Tensor", dtype: "torch.dtype") -> "torch.Tensor":
    """The weight in another dtype; OverflowError, with its range, if it is NaN or too large for it."""
    import torch

    largest = torch.finfo(dtype).max
    low, high = weight.aminmax()
    if not (low >= -largest and high <= largest):
        raise OverflowError(f"{low:g} to {high:g}")
    return weight.to(dtype)


def write_weights(model: Any, folder: Path, weights: "dict[str, torch.Tensor] | None" = None) -> None:
    """The model in shards, with `weights` in the place of its own; tied ones, which share memory, are written once."""
    model.save_pretrained(folder, max_shard_size=SHARD, state_dict=weights)
    _make_readable(folder)


def write_adapter(model: Any, folder: Path) -> None:
    """A peft model's adapter."""
    model.save_pretrained(folder)
    _make_readable(folder)


def _make_readable(folder: Path) -> None:
    """Give weights the mode of any other new file: safetensors 0.8 lets nobody else read them."""
    probe = folder / ".mode"
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for file in folder.glob("*.safetensors"):
        file.chmod(mode)


def complete(model: Any, base: Path, folder: Path, dtype: str) -> None:
    """Put what the base has beside its weights to those in `folder`: configuration, tokenizer, licence."""
    _write_config(model, base, folder, dtype)
    (folder / "generation_config.json").unlink(missing_ok=True)
    for file in sorted({file for pattern in KEPT for file in base.glob(pattern) if file.is_file()}):
        target = folder / file.relative_to(base)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)


def _write_config(model: Any, base: Path, folder: Path, dtype: str) -> None:
    """The base's own config.json with the new dtype.

    As transformers 5 writes it, transformers 4 and other servers miss keys: without `rope_theta`, for one, they compute
    positions wrongly and say nothing.
    """
    config = read_json(base / CONFIG)
    if config.get("model_type") != model.config.model_type:
        config = read_json(folder / CONFIG)  # only a part of the base was loaded
    names = [name for name in ("torch_dtype", "dtype") if name in config] or ["dtype"]
    config |= dict.fromkeys(names, dtype)
    if not model.config.tie_word_embeddings:
        config["tie_word_embeddings"] = False
    write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", folder / CONFIG)


@contextmanager
def disk_errors(folder: Path, work: Path) -> Iterator[None]:
    """A full disk or a quota is the user's to mend; nothing half-written stays in `work`."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or re.sub(r".*error: ", "", str(error))
        raise UserError(
            f"output_dir: {folder} cannot be written ({why}); no model was left there: "
            "free space, or give a folder on another disk"
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
