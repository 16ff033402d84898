"""The model that learns: frozen base with an adapter, or all weights."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from jmed.configuration.finetune import FinetuneConfig
from jmed.errors import UserError, nearest
from jmed.models.loading import DTYPES, LoadedModel, choose_dtype, keep_unpacked, load_config, load_model
from jmed.models.source import ModelSource, stored_dtype


def load_learner(source: ModelSource, config: FinetuneConfig, device: torch.device) -> LoadedModel:
    """Load the model with what is to be trained; the same weights on every worker that uses the same seed."""
    dtype = choose_dtype(source.dtype, device)
    if config.tuning == "full":
        return _all_weights(source, config, device, dtype)
    loaded = load_model(replace(source, quantization=config.quantization), device)
    keep_unpacked(loaded.model)
    torch.manual_seed(config.seed)
    return replace(loaded, model=_with_checkpointing(_with_adapter(loaded.model, config), config))


def _all_weights(source: ModelSource, config: FinetuneConfig, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """Every weight: in float32 where each worker holds all, else on the CPU in `dtype`, for DeepSpeed to share out."""
    stored = DTYPES[stored_dtype(source.folder)]
    if config.sharded:
        loaded = load_model(replace(source, dtype=str(dtype).removeprefix("torch.")), torch.device("cpu"))
    else:
        loaded = load_model(replace(source, dtype="float32"), device)
    loaded.model.requires_grad_(True)
    return replace(loaded, model=_with_checkpointing(loaded.model, config), device=device, stored=stored)


def _with_adapter(model: Any, config: FinetuneConfig) -> Any:
    from peft import LoraConfig, get_peft_model

    check_targets(config, (name for name, _ in model.named_modules()))
    lora = LoraConfig(
        r=config.lora.r,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        target_modules=config.lora.targets,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)  # adapter weights are float32 (autocast_adapter_dtype)


def _with_checkpointing(model: Any, config: FinetuneConfig) -> Any:
    if config.memory.checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    return model


def check_adapter(source: ModelSource, config: FinetuneConfig) -> None:
    """Whether what lora.targets names is there, without loading a weight."""
    if config.tuning == "full" or isinstance(config.lora.targets, str):
        return
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(load_config(source))
    check_targets(config, (name for name, _ in model.named_modules()))


def check_targets(config: FinetuneConfig, modules: Iterable[str]) -> None:
    """Every name in lora.targets must end the name of a module."""
    targets = config.lora.targets
    if isinstance(targets, str):
        return
    names = list(modules)
    leaves = {name.rsplit(".", 1)[-1] for name in names if name and not name.rsplit(".", 1)[-1].isdigit()}
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            found = ", ".join(sorted(leaves))
            raise UserError(
                f"lora.targets: the model has no module {target!r}{nearest(target, leaves)}; it has: {found}"
            )
