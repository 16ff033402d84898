"""Greedy generation that stops where the answer ends, without a step for rows that have ended."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers.cache_utils import Cache

from jmed.inference.cache import growing_cache, shared_length
from jmed.inference.encoding import encode_generation
from jmed.inference.fast import Fast
from jmed.inference.request import Answer, Request
from jmed.inference.stopping import AnswerEnd, check_numbers, generated_answer, penalised
from jmed.inference.tensors import pad_left

DENSE = 0.9  # ended rows are taken out once less than this share of the rows still runs


@dataclass
class Rows:
    """Rows that are being continued, one tensor row each."""

    numbers: list[int]  # of their requests
    cache: Cache
    mask: torch.Tensor | None  # [rows, tokens]; None: no row is padded
    length: torch.Tensor  # [rows] tokens that each has read, padding aside
    seen: torch.Tensor | None  # [rows, tokens]: what a repetition penalty looks at; None: there is none

    def keep(self, places: list[int]) -> None:
        """Only these go on."""
        chosen = torch.tensor(places, device=self.length.device)
        self.numbers = [self.numbers[place] for place in places]
        for layer in self.cache.layers:
            layer.keep(chosen)
        self.length = self.length[chosen]
        self.mask, self.seen = (None if table is None else table[chosen] for table in (self.mask, self.seen))

    def add(self, tokens: torch.Tensor) -> None:
        """A token [rows] behind each."""
        self.length = self.length + 1
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        if self.seen is not None:
            self.seen = torch.cat([self.seen, tokens[:, None]], dim=1)


@torch.inference_mode()
def generate(fast: Fast, requests: Sequence[Request]) -> list[Answer]:
    """Continue every prompt greedily; all requests of a batch share `max_new_tokens` and penalty, not the stop rule.

    The sampling settings and penalties that a model folder may bring are not applied by themselves.
    """
    loaded, longest, penalty = fast.loaded, requests[0].max_new_tokens, requests[0].repetition_penalty
    prompts = [encode_generation(loaded.tokenizer, request, loaded.max_length) for request in requests]
    end, new = AnswerEnd(loaded), [list[int]() for _ in requests]
    rows, hidden = _read(fast, prompts, penalty)
    while True:
        tokens = _next(fast, rows, hidden, penalty)
        running = []
        for place, (number, token) in enumerate(zip(rows.numbers, tokens.tolist(), strict=True)):
            if number >= 0:
                new[number].append(token)
                if len(new[number]) < longest and not end(new[number], requests[number].stop):
                    running.append(place)
                else:
                    rows.numbers[place] = -1
        if not running:
            break
        if len(running) <= DENSE * len(rows.numbers):
            rows.keep(running)
            tokens = tokens[running]
        hidden = _step(fast, rows, tokens)
    return [
        generated_answer(loaded.tokenizer, request, prompt, answer)
        for request, prompt, answer in zip(requests, prompts, new, strict=True)
    ]


def _read(fast: Fast, prompts: Sequence[Sequence[int]], penalty: float) -> tuple[Rows, torch.Tensor]:
    """Read all prompts; the rows, and the last hidden state [rows, width] of each. What they share is read once."""
    loaded = fast.loaded
    shared = shared_length(prompts)
    ids, mask = pad_left([prompt[shared:] for prompt in prompts], loaded.pad_id, loaded.device)
    cache = fast.beginning.cache(prompts[0][:shared], len(prompts)) if shared else growing_cache(fast.layers)
    whole_mask = torch.cat([mask.new_ones(len(prompts), shared), mask], dim=1)
    positions = (whole_mask.cumsum(-1) - 1).clamp(min=0)[:, shared:]
    padded = None if bool(mask.all()) else whole_mask
    rows = torch.arange(len(prompts), device=ids.device)
    hidden = fast.read_at(
        rows, torch.full_like(rows, ids.shape[1] - 1), input_ids=ids, attention_mask=padded, position_ids=positions,
        past_key_values=cache, use_cache=True,
    )  # fmt: skip
    seen = None
    if penalty != 1:
        begun = ids.new_tensor(prompts[0][:shared]).expand(len(prompts), -1)
        seen = torch.cat([begun, torch.where(mask == 0, ids[:, -1:], ids)], dim=1)
    return Rows(list(range(len(prompts))), cache, padded, whole_mask.sum(-1), seen), hidden


def _next(fast: Fast, rows: Rows, hidden: torch.Tensor, penalty: float) -> torch.Tensor:
    """[rows] the likeliest token behind each."""
    if rows.seen is None:
        values, tokens = fast.vocabulary.likeliest(hidden)
    else:
        values, tokens = penalised(fast.vocabulary.head(hidden).float(), rows.seen, penalty).max(-1)
    check_numbers(values)
    return tokens


def _step(fast: Fast, rows: Rows, tokens: torch.Tensor) -> torch.Tensor:
    """Read one more token [rows] in each row; the last hidden states [rows, width]."""
    positions = rows.length[:, None]
    rows.add(tokens)
    output = fast.backbone(
        input_ids=tokens[:, None], attention_mask=rows.mask, position_ids=positions, past_key_values=rows.cache,
        use_cache=True,
    )  # fmt: skip
    return output.last_hidden_state[:, -1]
