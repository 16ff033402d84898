"""A model built from nothing in seconds: a Qwen2 shape with random weights, for tests and the demo.

`python -m jmed.models.tiny --output_dir FOLDER` writes one. It knows no medicine: its score is chance.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DEMO_SHAPE: dict[str, Any] = {"hidden": 128, "layers": 3, "context": 512, "spread": 0.1}
DEMO_VOCABULARY = 3000
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def train_tokenizer(texts: Iterable[str], vocabulary: int = 1024) -> Any:
    """A byte-level BPE tokenizer of Qwen2's kind, trained on `texts`; any text comes back from it (in NFC)."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    trained = Tokenizer(models.BPE())
    # Qwen2's own splitting of text, so that the tokenizer is the same before and after it is saved.
    trained.pre_tokenizer = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    trained.train_from_iterator(texts, trainer)
    model = json.loads(trained.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
    )


def build_tiny_model(
    folder: Path,
    tokenizer: Any,
    hidden: int = 64,
    layers: int = 2,
    seed: int = 0,
    context: int = 4096,
    spread: float = 0.2,
) -> Path:
    """Write a Qwen2-shaped model with random weights and `tokenizer` into `folder`.

    `hidden` is the width (a multiple of 32), `layers` the depth, `context` the longest sequence in tokens, `spread`
    the standard deviation of the weights: wider than the usual 0.02, so that such a small model prefers some tokens
    clearly over others.
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from jmed.models.quiet import quiet_libraries

    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 16,
        num_key_value_heads=hidden // 32,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        initializer_range=spread,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    quiet_libraries()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m jmed.models.tiny", description=__doc__, allow_abbrev=False)
    parser.add_argument("--output_dir", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random weights (default: 0)")
    parser.add_argument("--demo", action="store_true", help="the larger one that the demo teaches")
    options = parser.parse_args()
    tokenizer, shape = (_demo_tokenizer(), DEMO_SHAPE) if options.demo else (_mini_tokenizer(), {})
    build_tiny_model(options.output_dir, tokenizer, seed=options.seed, **shape)
    print(f"wrote a tiny random model to {options.output_dir}")


def _mini_tokenizer() -> Any:
    from jmed.data.catalogue import load

    questions = [question for language in ("ja", "en") for question in load("mini", language, Path())]
    return train_tokenizer(text for question in questions for text in (question.text, *question.choices))


def _demo_tokenizer() -> Any:
    from jmed.data.demo import texts

    return train_tokenizer(texts(), DEMO_VOCABULARY)


if __name__ == "__main__":
    main()
