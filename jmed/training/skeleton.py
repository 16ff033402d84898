"""The model that would be trained as a module tree without weights: its real classes, shapes and dtypes, no memory."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from bitsandbytes.functional import QuantState
from bitsandbytes.nn import Linear4bit, Params4bit
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig
from transformers.quantizers import AutoHfQuantizer

from jmed.configuration.finetune import FinetuneConfig
from jmed.errors import UserError
from jmed.models.source import ModelSource
from jmed.training.model import _with_adapter, _with_checkpointing

NF4_BLOCK = 64  # weights that share a scale, held in 8 bits
SCALE_BLOCK = 256  # such scales that share a float32


class Unpredictable(Exception):
    """The model cannot be built or run without data (experts chosen by their input, masks of its own, …)."""


@dataclass(frozen=True)
class Sizes:
    """How large a model is."""

    weights: int  # bytes of what is frozen; of all weights in full tuning
    adapters: int  # bytes
    trained: tuple[int, ...]  # elements of each tensor that learns
    largest: int  # elements of the largest of all tensors


def model_config(source: ModelSource) -> Any:
    """config.json of the model folder, for its language part."""
    return AutoConfig.from_pretrained(source.folder, local_files_only=True, trust_remote_code=False).get_text_config()


def build(config: FinetuneConfig, shape: Any, dtype: torch.dtype) -> Any:
    """The model on the meta device, quantised and adapted as `load_learner` does it."""
    try:
        with torch.device("meta"):
            return _with_checkpointing(_built(config, shape, dtype), config).train()
    except UserError:
        raise
    except Exception as error:  # whatever transformers and peft do not support; training would meet it too
        raise Unpredictable(first_line(error)) from error


def first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _built(config: FinetuneConfig, shape: Any, dtype: torch.dtype) -> Any:
    alone = config.tuning == "full" and not config.sharded  # then weights are float32
    model = AutoModelForCausalLM.from_config(copy.deepcopy(shape), dtype=torch.float32 if alone else dtype)
    if config.tuning == "full":
        return model.requires_grad_(True)
    if config.quantization == "nf4":
        _quantise(model, dtype)
    return _with_adapter(model.requires_grad_(False), config)


def _quantise(model: Any, dtype: torch.dtype) -> None:
    """Put NF4 modules in the place of those that transformers would convert."""
    options = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    quantizer = AutoHfQuantizer.from_config(options)
    quantizer.preprocess_model(model=model, device_map=None)
    quantizer.postprocess_model(model)
    for module in model.modules():
        if isinstance(module, Linear4bit) and module.bias is not None:  # made in float32, loaded in `dtype`
            module.bias = nn.Parameter(module.bias.to(dtype), requires_grad=False)


def shortened(shape: Any, depth: int) -> Any:
    """A configuration with `depth` layers; lists with an entry for each layer are cut alike."""
    short, layers = copy.deepcopy(shape), shape.num_hidden_layers
    for name, value in vars(short).items():
        if isinstance(value, list | tuple) and len(value) == layers:
            setattr(short, name, value[:depth])
    short.num_hidden_layers = depth
    return short


def layers_alike(model: Any, shape: Any) -> bool:
    """Whether every decoder layer is of the same kind and size, so that two tell about all."""
    kinds = {str(kind) for kind in getattr(shape, "layer_types", None) or ()}
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    layers = next((module for module in lists if len(module) == shape.num_hidden_layers), None)
    if layers is None or len(kinds) > 1:
        return False
    return len({tuple(weight.shape for weight in layer.parameters()) for layer in layers}) == 1


def sizes(model: Any) -> Sizes:
    adapted = hasattr(model, "peft_config")
    weights = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    adapters = 0
    for weight in model.parameters():  # each once, also if it is tied
        if isinstance(weight, Params4bit):
            weights += nf4_bytes(weight.numel())
        elif adapted and weight.requires_grad:
            adapters += weight.numel() * weight.element_size()
        else:
            weights += weight.numel() * weight.element_size()
    trained = tuple(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return Sizes(weights, adapters, trained, max(weight.numel() for weight in model.parameters()))


def nf4_bytes(elements: int) -> int:
    """A weight in NF4 with double quantisation: 4 bits each, 8 bits a block, 32 bits a block of blocks, two tables."""
    blocks = -(-elements // NF4_BLOCK)
    scales = blocks + 4 * -(-blocks // SCALE_BLOCK) + 4
    return -(-elements // 2) + scales + 4 * (16 + SCALE_BLOCK)


def materialise(model: Any, dtype: torch.dtype) -> list[torch.Tensor]:
    """Inside FakeTensorMode: replace all tensors of the meta device by fake ones on a CPU, which autocast works on."""
    made = {
        weight: _nf4(weight, dtype) if isinstance(weight, Params4bit) else _plain(weight)
        for weight in model.parameters()
    }
    existing: list[torch.Tensor] = list(made.values())
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = made[weight]
        if state := getattr(getattr(module, "weight", None), "quant_state", None):
            module.quant_state, module.support_avx512bf16_for_cpu = state, False
            existing += [state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
                existing.append(module._buffers[name])
    return existing


def _plain(weight: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(torch.empty(weight.shape, dtype=weight.dtype), requires_grad=weight.requires_grad)


def _nf4(weight: torch.Tensor, dtype: torch.dtype) -> nn.Parameter:
    """A packed weight as bitsandbytes holds it; a plain tensor, because its own class cannot be fake."""
    blocks = -(-weight.numel() // NF4_BLOCK)
    scales = QuantState(
        absmax=torch.empty(-(-blocks // SCALE_BLOCK)),
        blocksize=SCALE_BLOCK,
        code=torch.empty(SCALE_BLOCK),
        dtype=torch.float32,
    )
    packed: Any = nn.Parameter(torch.empty(-(-weight.numel() // 2), 1, dtype=torch.uint8), requires_grad=False)
    packed.quant_state = QuantState(
        absmax=torch.empty(blocks, dtype=torch.uint8),
        shape=weight.shape,
        dtype=dtype,
        blocksize=NF4_BLOCK,
        code=torch.empty(16),
        quant_type="nf4",
        offset=torch.empty(()),
        state2=scales,
    )
    return packed
