"""Loading: weights from safetensors, a dtype that suits the hardware, NF4, an unmerged adapter."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GenerationConfig

from jmed.errors import UserError
from jmed.models.source import ModelSource, read_json

NO_LIMIT = 1 << 30  # tokens; of models whose positions have no end
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_SAFE = {"local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to answer, with its tokenizer."""

    model: Any  # transformers PreTrainedModel, or peft PeftModel around it
    tokenizer: Any  # transformers PreTrainedTokenizerBase
    device: torch.device
    max_length: int  # tokens that fit into the model's context
    pad_id: int  # fills masked positions; always a row of the embedding
    end_ids: tuple[int, ...]  # tokens that end a text
    stored: torch.dtype | None = None  # of the files, where all weights are trained


def load_model(source: ModelSource, device: torch.device | None = None) -> LoadedModel:
    """Load model, tokenizer and adapter from local folders; no network, no remote code, no pickle."""
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = choose_dtype(source.dtype, device)
    options: dict[str, Any] = {"dtype": dtype}
    if source.quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    model = AutoModelForCausalLM.from_pretrained(
        source.folder, device_map={"": device}, use_safetensors=True, **_SAFE, **options
    )
    if source.quantization == "nf4" and dtype == torch.float32:
        keep_unpacked(model)
    tokenizer = load_tokenizer(source)
    ends = _end_ids(model, tokenizer)
    # transformers fills every setting that a call leaves open from here: beams, penalties, bad words of the folder.
    model.generation_config = GenerationConfig(eos_token_id=list(ends) or None)
    pad_id = _pad_id(model, tokenizer)
    if source.adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(source.adapter))
    model.eval().requires_grad_(False)
    return LoadedModel(model, tokenizer, device, context_length(source), pad_id, ends)


def unwrapped(model: Any) -> Any:
    """The causal language model in a peft wrapper; its adapters stay in place."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _end_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Tokens that end a text, from the tokenizer and from the model's own generation settings."""
    configured = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
    return tuple(sorted(token for token in ends if token is not None))


def _pad_id(model: Any, tokenizer: Any) -> int:
    """The tokenizer's padding token if the model has a row for it, else its end token, else 0: padding is masked."""
    rows = model.get_input_embeddings().num_embeddings
    candidates = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(token for token in candidates if token is not None and 0 <= token < rows)


def keep_unpacked(model: Any) -> None:
    """Keep NF4 weights in the layout that computes in any dtype and has gradients.

    On CPUs with AVX512-BF16, bitsandbytes 0.50 packs them anew at the first inference. From then on activations are
    rounded to bfloat16, whatever the compute dtype (log-probabilities move by 1e-2 with the shape of the batch and from
    one CPU to another), and training has no gradient through these layers.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def load_tokenizer(source: ModelSource) -> Any:
    """The tokenizer that lies beside the model."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.folder, **_SAFE)
    except Exception as error:  # whatever a broken folder makes transformers raise
        raise UserError(
            f"model.path: the tokenizer of {source.folder} cannot be loaded: {_first_line(error)}"
        ) from None
    return tokenizer


def context_length(source: ModelSource) -> int:
    """Longest sequence, prompt and answer together, in tokens (`max_position_embeddings`; some models have none)."""
    length = getattr(load_config(source).get_text_config(), "max_position_embeddings", NO_LIMIT)
    if not isinstance(length, int) or length <= 0:
        file = source.folder / "config.json"
        raise UserError(f"model.path: max_position_embeddings in {file} is {length!r}; expected a number of tokens")
    return length


def model_penalty(source: ModelSource) -> float:
    """The repetition penalty in the model's generation_config.json; 1 if it has none."""
    file = source.folder / "generation_config.json"
    penalty = (read_json(file).get("repetition_penalty") or 1.0) if file.is_file() else 1.0
    if not isinstance(penalty, int | float) or penalty <= 0:
        raise UserError(f"{file}: repetition_penalty is {penalty!r}; expected a number above 0")
    return float(penalty)


def load_config(source: ModelSource) -> Any:
    try:
        return AutoConfig.from_pretrained(source.folder, **_SAFE)
    except Exception as error:  # whatever a broken folder makes transformers raise
        raise UserError(
            f"model.path: {source.folder}/config.json cannot be used: {_first_line(error)} "
            "(jmed runs only models that transformers knows; code that comes with a model is never run)"
        ) from None


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto`: float32 on CPU; bfloat16 on GPUs that compute it natively (Ampere and later), else float16."""
    if name != "auto":
        return DTYPES[name]
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
