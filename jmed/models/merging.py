"""Folding an adapter into its 16-bit base: a model that plain transformers loads."""

import json
import logging
import math
import os
import re
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jmed import __version__
from jmed.configuration.finetune import MergeConfig
from jmed.data import catalogue
from jmed.errors import UserError
from jmed.models.source import ModelSource, check_model, find_model, fingerprint, read_json
from jmed.offline import forbid_network, forbid_telemetry
from jmed.runs.card import LINEAGE, README, Card, Origin, Step, read_lineage, write_card
from jmed.runs.files import write_text
from jmed.runs.folder import RunFolder

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-3  # of the logits in float32, whose own error is far below it while they are
LARGE = 10  # at most; of larger ones it grows with them
SHARD = "5GB"
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors")
SPARE = 64 * 1024**2  # bytes beside the weights: tokenizer, card
NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}  # of safetensors and of torch
CONFIG = "config.json"  # put in place last: with it the folder is a model
KEPT = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model", "chat_template*",
    "additional_chat_templates/*.jinja", "generation_config.json", "LICENSE*", "NOTICE*",
)  # fmt: skip
# Settings of LoRA variants that are no fixed change of one weight matrix, or that nothing here was tried with.
UNFOLDABLE = (
    "alora_invocation_tokens", "arrow_config", "kasa_config", "layer_replication", "megatron_config",
    "monteclora_config", "target_parameters", "trainable_token_indices", "use_bdlora", "use_qalora", "velora_config",
)  # fmt: skip


class MergeFolder(RunFolder):
    """A run folder that is the merged model's own: `output_dir/config.json`, and run.yaml beside it."""

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        there = [file.name for file in path.glob("*.safetensors")]
        names = ("tokenizer.json", "tokenizer_config.json", "adapter_config.json", README, LINEAGE)
        super().__init__(path, identity, [CONFIG], [*there, *names])

    @property
    def finished(self) -> bool:
        try:
            check_model(self.path)
        except UserError:
            return False
        return super().finished

    def clear(self) -> None:
        """Take away what an earlier attempt left; only a folder with run.yaml holds more of it than `unfinished`."""
        shutil.rmtree(self.work, ignore_errors=True)
        if (self.path / "run.yaml").is_file():
            for pattern in (CONFIG, *WEIGHTS, "model.safetensors.index.json"):
                for file in self.path.glob(pattern):
                    file.unlink()

    def publish(self) -> None:
        """Move every file from `unfinished` into its place, config.json last."""
        files = [file for file in self.work.rglob("*") if file.is_file()]
        for file in files:
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        for file in sorted(files, key=lambda file: (file.name == CONFIG, file)):
            file.chmod((self.work / CONFIG).stat().st_mode)  # safetensors' own may be read by nobody else
            target = self.path / file.relative_to(self.work)
            target.parent.mkdir(exist_ok=True)
            file.replace(target)


@dataclass(frozen=True)
class Plan:
    """What is merged into what, in which dtype."""

    source: ModelSource
    adapter_folder: Path
    base: Origin
    adapter: Origin
    steps: list[Step]  # all that led to base and adapter, oldest first
    loaded: str  # dtype that the base is loaded in
    target: str  # dtype of the merged model
    bytes: int  # of its weights


@dataclass(frozen=True)
class Difference:
    """Largest absolute difference between the logits of base with adapter and of the merged model."""

    exact: float  # before the weights are rounded
    rounded: float  # after


def merge(config: MergeConfig) -> None:
    """Run the whole job; a finished one is left alone."""
    forbid_telemetry()
    if config.offline:
        forbid_network()
    plan = _plan(config)
    identity = {
        "job": "merge", "dtype": config.model.dtype, "model": plan.base.files, "adapter": plan.adapter.files,
    }  # fmt: skip
    folder = MergeFolder(Path(config.output_dir).expanduser().absolute(), identity)
    with folder.claim():
        if folder.finished:
            print(f"{folder.path} holds this merged model, finished; nothing is done again", file=sys.stderr)
            return
        folder.clear()
        _check_room(folder.path, plan)
        _merge(config, plan, folder)


def _merge(config: MergeConfig, plan: Plan, folder: MergeFolder) -> None:
    _hush_libraries()
    print(f"merging {plan.source.name} in {plan.target}", file=sys.stderr)
    model, difference = _fold_checked(plan)
    with _disk_errors(folder):
        _write(model, plan, difference, folder.work)
        # Not before all is written, so that a full disk leaves nothing.
        folder.begin(config, {"model_folder": str(plan.source.folder), "adapter_folder": str(plan.adapter_folder)})
        folder.publish()
    print(
        f"logits with and without merging differ by {difference.exact:.1e} at most (float32); "
        f"by {difference.rounded:.1e} with the weights in {plan.target}"
    )
    print(f"merged model: {folder.path}")


def _hush_libraries() -> None:
    """Progress bars, and warnings of what is missing for a GPU or for 4-bit weights, which have no part in this."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft imports it
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # transformers imports DeepSpeed to save


# --- what is merged, and whether it can be


def _plan(config: MergeConfig) -> Plan:
    source = find_model(config.model, config.offline)
    folder, adapter = source.folder, source.adapter
    assert adapter is not None  # MergeConfig requires it
    _check_base(folder, adapter)
    _check_adapter(adapter)
    loaded, target, size = _dtypes(source)
    before = read_lineage(folder)
    name = before[-1].name if before else source.name.removesuffix(f"+{Path(config.model.adapter or '').name}")
    base = Origin(name=name, files=_fingerprint(folder))
    steps = _steps(before, folder, adapter, base)
    return Plan(
        source, adapter, base, Origin(name=steps[-1].name, files=_fingerprint(adapter)), steps, loaded, target, size
    )


def _dtypes(source: ModelSource) -> tuple[str, str, int]:
    """What the base is loaded in (its files' dtype), what the result has, and how many bytes that are."""
    stored = _stored_dtypes(source.folder)
    own = stored.most_common(1)[0][0]
    target = own if source.dtype == "auto" else source.dtype
    if source.dtype == "auto" and target != "float32" and stored["float32"]:
        print(
            f"model.path: {stored['float32']:,} of {stored.total():,} values of the base are float32; like the others "
            f"they become {own} (--model.dtype float32 keeps them)",
            file=sys.stderr,
        )
    loaded = "float32" if target == "float32" else own
    return loaded, target, stored.total() * (4 if target == "float32" else 2)


def _fingerprint(folder: Path) -> dict[str, str]:
    """Without lineage.json: it tells where a model comes from and decides none of its answers."""
    return {name: digest for name, digest in fingerprint(folder).items() if name != LINEAGE}


def _check_base(folder: Path, adapter: Path) -> None:
    quantization = read_json(folder / CONFIG).get("quantization_config")
    if quantization is None:
        return
    method = quantization.get("quant_method", "unknown") if isinstance(quantization, dict) else quantization
    named = read_json(adapter / "adapter_config.json").get("base_model_name_or_path")
    other = named and Path(str(named)).expanduser().resolve() != folder
    hint = f"the adapter names {named}" if other else "the one that this was quantised from"
    raise UserError(
        f"model.path: the weights of {folder} are quantised (quantization_config in its config.json: {method}); "
        f"merge into the 16-bit base: {hint}"
    )


def _check_adapter(adapter: Path) -> None:
    config = read_json(adapter / "adapter_config.json")
    if config.get("peft_type") != "LORA":
        raise UserError(f"model.adapter: {adapter} is of peft_type {config.get('peft_type')!r}; expected LORA")
    if found := [key for key in UNFOLDABLE if config.get(key)]:
        raise UserError(
            f"model.adapter: {adapter} was trained with {', '.join(found)}, which cannot be folded into the base; "
            "use it unmerged (model.adapter of the evaluate job)"
        )


def _stored_dtypes(folder: Path) -> Counter[str]:
    """How many values the files of a model hold in each dtype."""
    from safetensors import safe_open

    found: Counter[str] = Counter()
    for shard in (file for pattern in WEIGHTS for file in folder.glob(pattern)):
        with safe_open(shard, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                part = file.get_slice(name)
                found[part.get_dtype()] += math.prod(part.get_shape())
    floats = Counter({NAMES[dtype]: count for dtype, count in found.items() if dtype in NAMES})
    if not floats or floats.total() < found.total() / 2:
        kinds = ", ".join(sorted(found)) or "in no model.safetensors"
        raise UserError(f"model.path: the weights of {folder} are {kinds}; expected {', '.join(NAMES.values())}")
    return floats


def _steps(before: list[Step], folder: Path, adapter: Path, base: Origin) -> list[Step]:
    """What led to the base and then to the adapter; an adapter without lineage has an unknown training."""
    after = read_lineage(adapter)
    if not after:
        return [*before, Step(kind="adapter", name=adapter.name, base=base, stage="unknown")]
    trained_on = after[-1].base
    if (weights := _weights(trained_on)) and weights != _weights(base):
        raise UserError(
            f"model.adapter: {adapter} was trained on other weights than those of {folder}: its {LINEAGE} names "
            f"{trained_on.name} with other hashes; give that base"
        )
    return [*(step for step in before if step not in after), *after]


def _weights(origin: Origin) -> set[str]:
    """Hashes of the files that hold weights."""
    return {digest for name, digest in origin.files.items() if name.endswith(".safetensors")}


def _check_room(folder: Path, plan: Plan) -> None:
    free = shutil.disk_usage(folder).free
    if free < plan.bytes + SPARE:
        raise UserError(
            f"output_dir: {folder} has room for {free / 1e9:,.1f} GB; the merged model needs "
            f"{(plan.bytes + SPARE) / 1e9:,.1f} GB: free some, or give a folder on another disk"
        )


# --- folding


def _fold_checked(plan: Plan) -> tuple[Any, Difference]:
    """The merged model in the target dtype, after its logits were compared with those of base and adapter."""
    import torch

    from jmed.models.loading import DTYPES

    text = _text(plan.source)
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        model = _load(plan, DTYPES[plan.loaded])
        expected = _logits(model, text)
        if not expected.isfinite().all():
            raise UserError(
                f"model.adapter: with {plan.adapter_folder} the model computes NaN or infinity; train it again"
            )
        exact = float((_logits(model, text, fold=True) - expected).abs().max())
        if not exact <= TOLERANCE * max(1.0, float(expected.abs().max()) / LARGE):  # also if it is NaN
            raise RuntimeError(f"the merged model's logits differ by {exact:g} from those of base and adapter")
        whole = _fold(model, DTYPES[plan.target])
        rounded = float((_logits(whole, text) - expected).abs().max())
    return whole, Difference(exact, rounded)


def _text(source: ModelSource) -> "torch.Tensor":
    """A question of `mini` in both languages, one behind the other, as tokens."""
    from jmed.models.loading import context_length, load_tokenizer

    tokenizer, longest = load_tokenizer(source), context_length(source)
    text = "\n".join(catalogue.load("mini", language, None)[0].text for language in ("ja", "en"))
    return tokenizer(text, return_tensors="pt").input_ids[:, :longest]


def _load(plan: Plan, dtype: "torch.dtype") -> Any:
    """The base in host memory, with the adapter on it."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = plan.source.folder
    base, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False,
        output_loading_info=True,
    )  # fmt: skip
    if missing := sorted(info["missing_keys"]):
        raise UserError(f"model.path: {folder} lacks {len(missing)} weights, such as {missing[0]}; copy it again")
    base.eval().requires_grad_(False)
    with warnings.catch_warnings(record=True) as caught, _peft_errors():
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(base, str(plan.adapter_folder))
    if lost := next((str(one.message) for one in caught if "missing adapter keys" in str(one.message)), None):
        raise UserError(f"model.adapter: {plan.adapter_folder} is not whole; copy it again ({lost})")
    _untie(model)
    return model.eval().requires_grad_(False)


@contextmanager
def _peft_errors() -> Iterator[None]:
    """What peft cannot load or fold is the adapter's fault."""
    try:
        yield
    except (ValueError, RuntimeError, NotImplementedError, TypeError, KeyError) as error:
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"model.adapter: peft cannot fold it in: {why}") from None


def _untie(model: Any) -> None:
    """Give the head weights of its own, where it shares the embedding's and the adapter changes one of the two.

    The adapter was trained with each changed on its own, so in the merged model they differ.
    """
    from torch.nn import Parameter

    whole = model.get_base_model()
    embedding, head = whole.get_input_embeddings(), whole.get_output_embeddings()
    inner = getattr(head, "base_layer", head)
    if inner is head and not hasattr(embedding, "base_layer"):
        return
    if inner.weight is getattr(embedding, "base_layer", embedding).weight:
        inner.weight = Parameter(inner.weight.detach().clone(), requires_grad=False)
    whole.config.tie_word_embeddings = False


def _logits(model: Any, text: "torch.Tensor", fold: bool = False) -> "torch.Tensor":
    """Logits of all positions, computed in float32; `fold`: with the adapter folded in, not beside the base."""
    with _in_float32(model, fold):
        return model(input_ids=text, use_cache=False).logits[0]


@contextmanager
def _in_float32(model: Any, fold: bool) -> Iterator[None]:
    """Widen the weights of each module while it computes, so that only one at a time is in memory in float32."""
    from peft.tuners.lora import LoraLayer

    kept: dict[Any, list[torch.Tensor]] = {}

    def before(module: Any, _: Any) -> None:
        kept[module] = [parameter.data for parameter in _parameters(module)]
        if fold and isinstance(module, LoraLayer):
            _merge_layer(module)
        else:
            _widen(module)

    def after(module: Any, _: Any, __: Any) -> None:
        for parameter, data in zip(_parameters(module), kept.pop(module), strict=True):
            parameter.data = data
        if isinstance(module, LoraLayer):
            module.merged_adapters.clear()

    modules = [module for module in model.modules() if _parameters(module)]
    hooks = [hook for module in modules for hook in (
        module.register_forward_pre_hook(before), module.register_forward_hook(after),
    )]  # fmt: skip
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _parameters(module: Any) -> list[Any]:
    """A module's own parameters, not those of modules in it; of a LoRA layer those of the layer that it changes."""
    from peft.tuners.lora import LoraLayer

    own = module.get_base_layer() if isinstance(module, LoraLayer) else module
    return [parameter for parameter in own.parameters(recurse=False) if parameter.is_floating_point()]


def _widen(module: Any) -> None:
    for parameter in _parameters(module):
        parameter.data = parameter.data.float()


def _merge_layer(layer: Any) -> None:
    """Fold the adapter into one layer, in a float32 copy of its weights."""
    import torch

    for parameter in _parameters(layer):
        parameter.data = parameter.data.to(torch.float32, copy=True)
    with _peft_errors():
        layer.merge()


def _fold(model: Any, dtype: "torch.dtype") -> Any:
    """Fold the adapter in, layer by layer: the sum in float32, rounded once.

    Left to itself, peft rounds B·A to the base's dtype before it adds it.
    """
    from peft.tuners.lora import LoraLayer

    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            _merge_layer(layer)
            _round(name, _parameters(layer), dtype)
    whole = model.merge_and_unload()  # all is merged; modules that were trained whole take their place
    for name, parameter in whole.named_parameters():
        if parameter.dtype != dtype:
            _round(name, [parameter], dtype)
    return whole


def _round(name: str, parameters: Iterable[Any], dtype: "torch.dtype") -> None:
    """To the target dtype; a weight that is NaN or too large for it is refused."""
    import torch

    largest = torch.finfo(dtype).max
    for parameter in parameters:
        low, high = parameter.data.aminmax()
        if not (low >= -largest and high <= largest):
            raise UserError(
                f"model.dtype: {str(dtype).removeprefix('torch.')} cannot hold the merged weights of {name} "
                f"({low:g} to {high:g}); give bfloat16 or float32"
            )
        parameter.data = parameter.data.to(dtype)


# --- writing


@contextmanager
def _disk_errors(folder: MergeFolder) -> Iterator[None]:
    """A full disk or a quota is the user's to mend; nothing half-written stays."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or re.sub(r".*error: ", "", str(error))
        raise UserError(
            f"output_dir: {folder.path} cannot be written ({why}); no model was left there: "
            "free space, or give a folder on another disk"
        ) from None
    finally:
        shutil.rmtree(folder.work, ignore_errors=True)


def _write(model: Any, plan: Plan, difference: Difference, work: Path) -> None:
    """The merged model in transformers layout, with its card."""
    from transformers import GenerationConfig

    work.mkdir()
    model.generation_config = GenerationConfig()  # the base's own, which is copied, may be one that is refused here
    model.save_pretrained(work, max_shard_size=SHARD)
    (work / "generation_config.json").unlink(missing_ok=True)
    _write_config(model, plan, work)
    for file in sorted({file for pattern in KEPT for file in plan.source.folder.glob(pattern) if file.is_file()}):
        target = work / file.relative_to(plan.source.folder)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)
    write_card(work, _card(plan, difference))


def _write_config(model: Any, plan: Plan, work: Path) -> None:
    """The base's own config.json with the new dtype.

    As transformers 5 writes it, transformers 4 and other servers miss keys: without `rope_theta`, for one, they compute
    positions wrongly and say nothing.
    """
    config = read_json(plan.source.folder / CONFIG)
    if config.get("model_type") != model.config.model_type:
        return  # only a part of the base was loaded
    names = [name for name in ("torch_dtype", "dtype") if name in config] or ["dtype"]
    config |= dict.fromkeys(names, plan.target)
    if not model.config.tie_word_embeddings:
        config["tie_word_embeddings"] = False
    write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", work / CONFIG)


def _card(plan: Plan, difference: Difference) -> Card:
    return Card(
        kind="model",
        name=f"{plan.base.name}+{plan.adapter.name}",
        base=plan.base,
        adapter=plan.adapter,
        stage="merge",
        settings={
            "dtype": plan.target,
            "largest_logit_difference": {"before_rounding": difference.exact, "after_rounding": difference.rounded},
        },
        versions={"jmed": __version__, **{name: version(name) for name in ("torch", "transformers", "peft")}},
        created=datetime.now(UTC).date(),
        license=plan.steps[-1].license,
        parents=plan.steps,
    )
