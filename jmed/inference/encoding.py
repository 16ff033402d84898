"""Prompt and continuations as token ids, split as lm-evaluation-harness splits them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jmed.inference.request import PromptTooLong, Request


@dataclass(frozen=True)
class EncodedOptions:
    """Each option whole (prompt and continuation), and where the scored part begins in all of them."""

    sequences: tuple[tuple[int, ...], ...]
    start: int

    @property
    def prompt_tokens(self) -> int:
        return self.start

    @property
    def scored_tokens(self) -> int:
        return sum(len(sequence) - self.start for sequence in self.sequences)

    def rows(self) -> dict[tuple[int, ...], int]:
        """The distinct inputs of the model (a sequence without its last token) → row number.

        Options of a single token share one row, so letters cost one forward pass a question.
        """
        return {row: i for i, row in enumerate(dict.fromkeys(sequence[:-1] for sequence in self.sequences))}


def encode_prompt(tokenizer: Any, text: str) -> list[int]:
    """Token ids with the special tokens that the model expects in front, unless the text (a chat) has them already.

    Some tokenizers also put an end-of-text token behind; nothing could follow it, so it is taken off.
    """
    return _encode(tokenizer, text)[0]


def encode_with_offsets(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """The token ids of `encode_prompt`, and for each the characters of the text that it stands for: [first, last)."""
    ids, encoding = _encode(tokenizer, text, return_offsets_mapping=True)
    return ids, encoding["offset_mapping"][: len(ids)]


def encode_options(tokenizer: Any, request: Request, max_length: int) -> EncodedOptions:
    """Encode a request's options.

    Blanks at the end of the prompt move into the continuation (lm-evaluation-harness, `_encode_pair`). A tokenizer may
    merge across the border ("答え：" + "a"); then the scored part begins, for all options alike, where the first
    of them departs from the prompt's own tokens, so that their sums stay comparable and none is empty.
    """
    prompt = encode_prompt(tokenizer, request.prompt.rstrip())
    wholes = [encode_prompt(tokenizer, request.prompt + option) for option in request.continuations]
    start = min(common_prefix(prompt, whole) for whole in wholes)
    longest = max(len(whole) for whole in wholes)
    if longest > max_length:
        raise PromptTooLong(f"prompt and option have {longest:,} tokens, the model takes {max_length:,}")
    if start == 0 or any(len(whole) <= start for whole in wholes):
        raise ValueError("an option adds no token of its own to the prompt, so it has no probability")
    return EncodedOptions(tuple(tuple(whole) for whole in wholes), start)


def split_pair(tokenizer: Any, prompt: str, continuation: str) -> tuple[list[int], int]:
    """Prompt and continuation as one text: its token ids, and where they depart from the tokens of the prompt alone."""
    whole = encode_prompt(tokenizer, prompt + continuation)
    return whole, common_prefix(encode_prompt(tokenizer, prompt.rstrip()), whole)


def encode_generation(tokenizer: Any, request: Request, max_length: int) -> list[int]:
    prompt = encode_prompt(tokenizer, request.prompt)
    if len(prompt) + request.max_new_tokens > max_length:
        raise PromptTooLong(
            f"prompt has {len(prompt):,} tokens and its answer up to {request.max_new_tokens:,}, "
            f"the model takes {max_length:,}"
        )
    return prompt


def _encode(tokenizer: Any, text: str, **options: bool) -> tuple[list[int], Any]:
    """The ids, and the tokenizer's whole answer."""
    begins = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
    encoding = tokenizer(text, add_special_tokens=not begins, **options)
    ids = encoding["input_ids"]
    ended = bool(tokenizer.eos_token) and ids[-1:] == [tokenizer.eos_token_id]
    return (ids[:-1] if ended and not text.endswith(tokenizer.eos_token) else ids), encoding


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Tokens that both begin with."""
    length = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        length += 1
    return length
