"""Folding an adapter into its base layer by layer, and the check that the answers stay the same."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch.nn import Parameter
from transformers import AutoModelForCausalLM

from jmed.data import catalogue
from jmed.errors import UserError
from jmed.models.loading import DTYPES, context_length, load_tokenizer
from jmed.models.source import ModelSource
from jmed.models.writing import rounded

TOLERANCE = 1e-3  # of the logits in float32, whose own error is far below it while they are
LARGE = 10  # at most; of larger ones it grows with them


@dataclass(frozen=True)
class Difference:
    """Largest absolute difference between the logits of base with adapter and of the merged model."""

    exact: float  # before the weights are rounded
    rounded: float  # after


def fold_checked(source: ModelSource, adapter: Path, loaded: str, target: str) -> tuple[Any, Difference]:
    """The merged model in the dtype `target`, after its logits were compared with those of base and adapter."""
    text = _text(source)
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        model = _load(source.folder, adapter, DTYPES[loaded])
        expected = _logits(model, text)
        if not expected.isfinite().all():
            raise UserError(f"model.adapter: with {adapter} the model computes NaN or infinity; train it again")
        exact = float((_logits(model, text, fold=True) - expected).abs().max())
        if not exact <= TOLERANCE * max(1.0, float(expected.abs().max()) / LARGE):  # also if it is NaN
            raise RuntimeError(f"the merged model's logits differ by {exact:g} from those of base and adapter")
        whole = _fold(model, DTYPES[target])
        after = float((_logits(whole, text) - expected).abs().max())
    return whole, Difference(exact, after)


def _text(source: ModelSource) -> torch.Tensor:
    """A question of `mini` in both languages, one behind the other, as tokens."""
    tokenizer, longest = load_tokenizer(source), context_length(source)
    text = "\n".join(catalogue.load("mini", language, None)[0].text for language in ("ja", "en"))
    return tokenizer(text, return_tensors="pt").input_ids[:, :longest]


def _load(folder: Path, adapter: Path, dtype: torch.dtype) -> Any:
    """The base in host memory, with the adapter on it."""
    base, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False,
        output_loading_info=True,
    )  # fmt: skip
    if missing := sorted(info["missing_keys"]):
        raise UserError(f"model.path: {folder} lacks {len(missing)} weights, such as {missing[0]}; copy it again")
    base.eval().requires_grad_(False)
    with warnings.catch_warnings(record=True) as caught, _peft_errors():
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(base, str(adapter))
    if lost := next((str(one.message) for one in caught if "missing adapter keys" in str(one.message)), None):
        raise UserError(f"model.adapter: {adapter} is not whole; copy it again ({lost})")
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
    whole = model.get_base_model()
    embedding, head = whole.get_input_embeddings(), whole.get_output_embeddings()
    inner = getattr(head, "base_layer", head)
    if inner is head and not hasattr(embedding, "base_layer"):
        return
    if inner.weight is getattr(embedding, "base_layer", embedding).weight:
        inner.weight = Parameter(inner.weight.detach().clone(), requires_grad=False)
    whole.config.tie_word_embeddings = False


def _logits(model: Any, text: torch.Tensor, fold: bool = False) -> torch.Tensor:
    """Logits of all positions, computed in float32; `fold`: with the adapter folded in, not beside the base."""
    with _in_float32(model, fold):
        return model(input_ids=text, use_cache=False).logits[0]


@contextmanager
def _in_float32(model: Any, fold: bool) -> Iterator[None]:
    """Widen the weights of each module while it computes, so that only one at a time is in memory in float32."""
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
    own = module.get_base_layer() if isinstance(module, LoraLayer) else module
    return [parameter for parameter in own.parameters(recurse=False) if parameter.is_floating_point()]


def _widen(module: Any) -> None:
    for parameter in _parameters(module):
        parameter.data = parameter.data.float()


def _merge_layer(layer: Any) -> None:
    """Fold the adapter into one layer, in a float32 copy of its weights."""
    for parameter in _parameters(layer):
        parameter.data = parameter.data.to(torch.float32, copy=True)
    with _peft_errors():
        layer.merge()


def _fold(model: Any, dtype: torch.dtype) -> Any:
    """Fold the adapter in, layer by layer: the sum in float32, rounded once.

    Left to itself, peft rounds B·A to the base's dtype before it adds it.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            _merge_layer(layer)
            _round(name, _parameters(layer), dtype)
    whole = model.merge_and_unload()  # all is merged; modules that were trained whole take their place
    for name, parameter in whole.named_parameters():
        if parameter.dtype != dtype:
            _round(name, [parameter], dtype)
    return whole


def _round(name: str, parameters: Iterable[Any], dtype: torch.dtype) -> None:
    """To the target dtype; a weight that is NaN or too large for it is refused."""
    for parameter in parameters:
        try:
            parameter.data = rounded(parameter.data, dtype)
        except OverflowError as error:
            raise UserError(
                f"model.dtype: {str(dtype).removeprefix('torch.')} cannot hold the merged weights of {name} "
                f"({error}); give bfloat16 or float32"
            ) from None
