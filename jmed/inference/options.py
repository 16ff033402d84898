"""Log-probability of each option's text after the prompt: a tree a question, the vocabulary head where it is read."""

from collections.abc import Sequence
from typing import Any

import torch

from jmed.inference.cache import shared_length
from jmed.inference.encoding import encode_options
from jmed.inference.fast import Fast
from jmed.inference.request import Answer, Request
from jmed.inference.stopping import check_numbers
from jmed.inference.tree import Tree, plant

Places = tuple[torch.Tensor, torch.Tensor]  # rows and columns of the model's input


@torch.inference_mode()
def score_trees(fast: Fast, requests: Sequence[Request]) -> list[Answer]:
    """Score every request's continuations in one forward pass."""
    loaded = fast.loaded
    encoded = [encode_options(loaded.tokenizer, request, loaded.max_length) for request in requests]
    trees = [plant(options) for options in encoded]
    shared = shared_length([tree.prompt for tree in trees])
    places, wanted = _wanted(trees, shared, loaded.device)
    logprobs = fast.vocabulary.logprobs(_hidden(fast, trees, shared, places), wanted)
    check_numbers(logprobs)
    parts = iter(logprobs.tolist())
    sums = [tuple(sum(next(parts) for _ in option) for option in tree.scored) for tree in trees]
    return [
        Answer(request.item_id, "", logprobs, options.prompt_tokens, options.scored_tokens)
        for request, options, logprobs in zip(requests, encoded, sums, strict=True)
    ]


def _hidden(fast: Fast, trees: Sequence[Tree], shared: int, places: Places) -> torch.Tensor:
    """[places, width] last hidden states, once all tokens behind the shared ones are read; padded on the right."""
    longest = max(len(tree) for tree in trees) - shared
    ids = torch.full((len(trees), longest), fast.loaded.pad_id)
    positions = torch.arange(shared, shared + longest).repeat(len(trees), 1)
    for row, tree in enumerate(trees):
        end = len(tree.prompt) - shared
        ids[row, : len(tree) - shared] = torch.tensor([*tree.prompt[shared:], *tree.tokens])
        positions[row, end : end + len(tree.tokens)] = len(tree.prompt) - 1 + torch.tensor(tree.depths(), dtype=int)
    device = fast.loaded.device
    return fast.read_at(
        *places,
        input_ids=ids.to(device),
        position_ids=positions.to(device),
        attention_mask=_mask(trees, shared, longest, fast.dtype, device),
        past_key_values=fast.beginning.cache(trees[0].prompt[:shared], len(trees)) if shared else None,
        use_cache=bool(shared),
    )


def _mask(trees: Sequence[Tree], shared: int, longest: int, dtype: torch.dtype, device: Any) -> torch.Tensor | None:
    """[trees, 1, longest, shared + longest], added to the scores of attention; None: every token sees all before it.

    What is padded stands behind everything that is read, and sees all before it.
    """
    if not any(tree.tokens for tree in trees):
        return None
    seen = torch.ones(longest, shared + longest, dtype=torch.bool).tril(shared).repeat(len(trees), 1, 1)
    for row, tree in enumerate(trees):
        first, count = len(tree.prompt), len(tree.tokens)
        own = slice(first - shared, first - shared + count)
        seen[row, own, first : first + count] = torch.from_numpy(tree.ancestors())
    mask = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
    return mask[:, None].to(device)


def _wanted(trees: Sequence[Tree], shared: int, device: torch.device) -> tuple[Places, torch.Tensor]:
    """Where something is predicted, and what: [tokens, 2] of one of these places and the token.

    Of each option of each tree in turn.
    """
    places: dict[tuple[int, int], int] = {}
    wanted: list[tuple[int, int]] = []
    for row, tree in enumerate(trees):
        for place, token in (pair for option in tree.scored for pair in option):
            column = len(tree.prompt) - shared + place
            wanted.append((places.setdefault((row, column), len(places)), token))
    rows, columns = torch.tensor(list(places), device=device).T.contiguous()
    return (rows, columns), torch.tensor(wanted, device=device)
