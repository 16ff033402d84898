"""Where a model and its adapter lie, and whether they are whole and fit each other; nothing here needs torch."""

import json
import math
import re
import struct
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from jmed.configuration.schema import ModelConfig
from jmed.errors import UserError
from jmed.runs.card import LINEAGE
from jmed.runs.hashes import sha256_file
from jmed.storage.address import is_url, parse_url
from jmed.storage.names import state_of
from jmed.untrusted import read_whole, readable_size

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors")
MAX_JSON = 256 * 1024**2  # bytes; the largest tokenizers have some 35 million
MAX_HEADER = 100_000_000  # bytes of a safetensors header, by its format
DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}  # as safetensors and as torch calls them
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_PATTERNS = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_LORA = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")


@dataclass(frozen=True)
class ModelSource:
    """A model that was found and checked, ready to load anywhere that sees the folders."""

    name: str
    folder: Path
    adapter: Path | None
    quantization: str
    dtype: str


def find_model(config: ModelConfig, offline: bool) -> ModelSource:
    """Locate and check model and adapter; a hub id is downloaded (never with `offline`)."""
    folder = _locate(config.path, config.revision, offline, "model.path")
    check_model(folder)
    adapter = None
    if config.adapter is not None:
        adapter = _locate(config.adapter, None, offline, "model.adapter")
        check_adapter(adapter, folder)
    name = _name(config.path, folder)
    if adapter is not None:
        name += f"+{_name(config.adapter or '', adapter).rsplit('/', 1)[-1]}"
    return ModelSource(name, folder, adapter, config.quantization, config.dtype)


def _name(path: str, folder: Path) -> str:
    """What tables call it: the hub id, or the folder's name; of a result that jmed trained, the name of its run."""
    trained = folder.name in ("model", "adapter") and (folder / "lineage.json").is_file()
    if is_url(path):
        parts = parse_url(path, "model").place.split("/")
        return parts[-2] if trained and len(parts) > 2 else parts[-1]
    if not Path(path).expanduser().exists():
        return path.rstrip("/")
    return folder.parent.name if trained else folder.name


def find_here(source: ModelSource, config: ModelConfig, offline: bool) -> ModelSource:
    """The same model on this machine: a hub model that another machine found is looked up at that very commit."""
    if source.folder.is_dir() and (source.adapter is None or source.adapter.is_dir()):
        return source
    here = find_model(config.model_copy(update={"revision": source.folder.name}), offline)
    _refuse_other_state(config.path, source.folder, here.folder, "model.path")
    if source.adapter and here.adapter:
        _refuse_other_state(config.adapter or "", source.adapter, here.adapter, "model.adapter")
    return here


def _refuse_other_state(path: str, there: Path, here: Path, key: str) -> None:
    """Copies of object storage: this machine's must be that of the machine which began the run."""
    if is_url(path) and state_of(there) != state_of(here):
        raise UserError(
            f"{key}: {path} was changed after this run began, so this machine has other files than those that the run "
            "began with; start a new run in another folder"
        )


def _locate(path: str, revision: str | None, offline: bool, key: str) -> Path:
    if is_url(path):
        from jmed.storage.mirror import local_folder

        return local_folder(path, key, wanted=_is_part_of_model, what="model files")
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if folder.exists():
        raise UserError(f"{key}: {path} is a file; expected a folder with config and weights, or a hub id")
    if path.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(path):
        raise _no_folder(key, path)
    return _download(path, revision, offline, key)


def _is_part_of_model(name: str) -> bool:
    """What is copied from object storage: the files that are loaded, none of checkpoints below or of other formats."""
    folder, _, file = name.rpartition("/")
    return folder in ("", "additional_chat_templates") and any(fnmatchcase(file, one) for one in _PATTERNS)


def _download(hub_id: str, revision: str | None, offline: bool, key: str) -> Path:
    """The local copy of a hub model; with `offline` only what the cache already holds."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, revision=revision, local_files_only=offline, allow_patterns=_PATTERNS))
    except LocalEntryNotFoundError:
        why = "offline is true and the local cache does not hold it" if offline else "the hub cannot be reached"
        raise UserError(
            f"{key}: no folder {hub_id} here, and as a hub id it cannot be had: {why}; "
            "copy the model folder to this machine and give its path"
        ) from None
    except HFValidationError:
        raise _no_folder(key, hub_id) from None
    except HfHubHTTPError as error:
        raise UserError(
            f"{key}: the hub refused {hub_id}: {str(error).splitlines()[0]}; check id and revision"
        ) from None


def _no_folder(key: str, path: str) -> UserError:
    return UserError(f"{key}: no folder {path}; expected a model folder, or a hub id such as Qwen/Qwen2-7B-Instruct")


def check_model(folder: Path) -> None:
    """Config, safetensors weights (whole files) and a tokenizer must be there."""
    if not (folder / "config.json").is_file():
        raise UserError(f"model.path: {folder} has no config.json; expected a folder in transformers layout")
    read_json(folder / "config.json")
    _check_sizes(folder)
    shards = sorted(file for file in folder.glob("*.safetensors") if file.is_file())
    if not shards:
        pickled = sorted(path.name for path in (*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")))
        found = f"only {pickled[0]}, which could run code when read; convert it" if pickled else "no weights"
        raise UserError(f"model.path: {folder} has {found}; expected model.safetensors or its shards")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        wanted = read_json(index).get("weight_map")
        if not isinstance(wanted, dict):
            raise UserError(f"{index}: has no weight_map; expected the index that transformers writes: copy it again")
        if missing := sorted({str(name) for name in wanted.values()} - {shard.name for shard in shards}):
            raise UserError(f"model.path: {folder} lacks {', '.join(missing)}, which its index names; copy it again")
    for shard in shards:
        read_shapes(shard)
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise UserError(f"model.path: {folder} has no tokenizer; expected one of {', '.join(TOKENIZER_FILES)}")


def _check_sizes(folder: Path) -> None:
    """transformers reads every JSON file of a folder into memory."""
    for file in filter(Path.is_file, folder.glob("*.json")):
        if (found := file.stat().st_size) > MAX_JSON:
            raise UserError(f"{file}: has {found:,} bytes; expected at most {readable_size(MAX_JSON)} of JSON")


def check_adapter(adapter: Path, base: Path) -> None:
    """Every LoRA matrix of the adapter must have its layer in the base, with the same width."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (adapter / name).is_file():
            raise UserError(f"model.adapter: {adapter} has no {name}; expected a folder in PEFT layout")
    config = read_json(adapter / "adapter_config.json")
    if "quantization_config" in read_json(base / "config.json"):
        return  # packed weights do not show their shape
    shapes: dict[str, list[int]] = {}
    for shard in filter(Path.is_file, base.glob("*.safetensors")):
        shapes |= read_shapes(shard)
    for module, side, width in _lora_widths(adapter / "adapter_model.safetensors"):
        shape = shapes.get(f"{module}.weight")
        if shape is None and module == "lm_head":
            continue  # tied to the embedding, so it has no weights of its own
        if shape is None or width != _layer_width(shape, side, bool(config.get("fan_in_fan_out"))):
            found = f"{module} has {shape}" if shape else f"there is no {module}"
            named = config.get("base_model_name_or_path")
            raise UserError(
                f"model.adapter: {adapter} was trained for another base{f' ({named})' if named else ''}: "
                f"its lora_{side} of {module} is {width} wide, but in {base} {found}; "
                "give the base that the adapter was trained on"
            )


def _layer_width(shape: list[int], side: str, transposed: bool) -> int | None:
    """Inputs (for lora_A) or outputs (for lora_B) of a layer whose weight is [out, in], or [in, out] if transposed."""
    return shape[(side == "A") != transposed] if len(shape) == 2 else None


def _lora_widths(file: Path) -> Iterator[tuple[str, str, int]]:
    """(module, "A" or "B", width): lora_A is [r, in], lora_B is [out, r]."""
    for key, shape in read_shapes(file).items():
        if (found := _LORA.fullmatch(key)) and len(shape) == 2:
            yield found["module"], found["side"], shape[1] if found["side"] == "A" else shape[0]


def read_json(file: Path) -> dict[str, Any]:
    """The object that a JSON file of a model folder holds."""
    try:
        value = json.loads(read_whole(file))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error}); copy it again") from None
    if not isinstance(value, dict):
        raise UserError(f"{file}: holds {type(value).__name__}; expected a JSON object: copy it again")
    return value


def read_shapes(file: Path) -> dict[str, list[int]]:
    """Tensor name → shape from a safetensors header; a file cut short is an error."""
    return {name: entry["shape"] for name, entry in _read_header(file).items()}


def _read_header(file: Path) -> dict[str, dict[str, Any]]:
    """Tensor name → what a safetensors header says of it.

    Layout: 8 bytes length of the header (little-endian), the header as JSON, the tensors.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > MAX_HEADER:
                raise ValueError
            header = json.loads(stream.read(min(length, size)))
        tensors = {name: dict(entry) for name, entry in header.items() if name != "__metadata__"}
        for entry in tensors.values():
            entry["shape"] = list(entry["shape"])
        wanted = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise UserError(f"{file}: not a safetensors file (its header cannot be read); copy it again") from None
    if wanted != size:
        raise UserError(f"{file}: has {size:,} bytes, its header says {wanted:,}; it was cut short: copy it again")
    return tensors


def stored_dtypes(folder: Path) -> Counter[str]:
    """How many values the files of a model hold in each dtype."""
    found: Counter[str] = Counter()
    for shard in (file for pattern in WEIGHTS for file in folder.glob(pattern) if file.is_file()):
        for entry in _read_header(shard).values():
            found[str(entry.get("dtype"))] += math.prod(entry["shape"])
    floats = Counter({DTYPES[dtype]: count for dtype, count in found.items() if dtype in DTYPES})
    if not floats or floats.total() < found.total() / 2:
        kinds = ", ".join(sorted(found)) or "in no model.safetensors"
        raise UserError(f"model.path: the weights of {folder} are {kinds}; expected {', '.join(DTYPES.values())}")
    return floats


def stored_dtype(folder: Path) -> str:
    """The dtype of most values in the files of a model."""
    return stored_dtypes(folder).most_common(1)[0][0]


def fingerprint(folder: Path) -> dict[str, str]:
    """File name → SHA-256 of all that decides a model's answers: weights, configuration, tokenizer.

    Not lineage.json, which tells where a model comes from, and when it was made.
    """
    files = sorted({path for pattern in _PATTERNS for path in folder.glob(pattern) if path.is_file()})
    files = [path for path in files if path.name != LINEAGE]
    with ThreadPoolExecutor(4) as pool:
        return dict(zip((file.name for file in files), pool.map(sha256_file, files), strict=True))
