"""The model that would be trained as a module tree without weights: its real classes, shapes and dtypes, no memory."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig
from transformers.quantizers import AutoHfQuantizer

from jmed.configuration.finetune import FinetuneConfig
from jmed.models.source import ModelSource
from jmed.training.model import _with_adapter, _with_checkpointing

NF4_BLOCK = 64  # weights that share a scale, held in 8 bits
SCALE_BLOCK = 256  # such scales that share a float32


@dataclass(frozen=True)
class Sizes:
    """Bytes of a model's tensors, and how many elements each tensor that learns has."""

    weights: int  # what is frozen, and all weights in full tuning
    adapters: int
    trained: tuple[int, ...]  # elements
    head: int  # elements of the vocabulary head
    largest: int  # elements of the largest tensor


def model_config(source: ModelSource) -> Any:
    """config.json of the model folder, for its language part."""
    return AutoConfig.from_pretrained(source.folder, local_files_only=True, trust_remote_code=False).get_text_config()


def weight_dtype(config: FinetuneConfig, dtype: torch.dtype) -> torch.dtype:
    """What the base is loaded in: float32 where a worker trains all of it alone, see load_learner."""
    return torch.float32 if config.tuning == "full" and not config.sharded else dtype


def build(config: FinetuneConfig, shape: Any, dtype: torch.dtype, depth: int | None = None) -> Any:
    """The model on the meta device, quantised and adapted as in training; with only `depth` layers if that is given."""
    shape = shape if depth is None else shortened(shape, depth)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(copy.deepcopy(shape), dtype=weight_dtype(config, dtype))
        if config.tuning == "full":
            model.requires_grad_(True)
        else:
            if config.quantization == "nf4":
                _quantise(model, dtype)
            model.requires_grad_(False)
            model = _with_adapter(model, config)
        return _with_checkpointing(model, config).train()


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


def decoder_layers(model: Any, shape: Any) -> nn.ModuleList | None:
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    return next((module for module in lists if len(module) == shape.num_hidden_layers), None)


def layers_alike(model: Any, shape: Any) -> bool:
    """Whether every decoder layer is of the same kind and size, so that two tell about all."""
    layers = decoder_layers(model, shape)
    kinds = {str(kind) for kind in getattr(shape, "layer_types", None) or ()}
    if layers is None or len(kinds) > 1:
        return False
    return len({tuple(weight.shape for weight in layer.parameters()) for layer in layers}) == 1


def sizes(model: Any) -> Sizes:
    weights = adapters = 0
    for weight in model.parameters():  # each once, also if it is tied
        if getattr(weight, "quant_state", None) is not None or hasattr(weight, "quant_type"):
            weights += nf4_bytes(weight.numel())
        elif weight.requires_grad and hasattr(model, "peft_config"):
            adapters += weight.numel() * weight.element_size()
        else:
            weights += weight.numel() * weight.element_size()
    weights += sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    trained = tuple(weight.numel() for weight in model.parameters() if weight.requires_grad)
    whole = model.get_base_model() if hasattr(model, "peft_config") else model
    head = whole.get_output_embeddings().weight.numel()
    return Sizes(weights, adapters, trained, head, max(weight.numel() for weight in model.parameters()))


def nf4_bytes(elements: int) -> int:
    """A weight in NF4 with double quantisation: 4 bits each, 8 bits a block, 32 bits a block of blocks, two tables."""
    blocks = -(-elements // NF4_BLOCK)
    scales = blocks + 4 * -(-blocks // SCALE_BLOCK) + 4
    return -(-elements // 2) + scales + 4 * (16 + SCALE_BLOCK)
