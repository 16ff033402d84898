"""Log-probability of each option's text after the prompt: a tree a question, the vocabulary head where it is read."""

from collections.abc import Iterator, Sequence

import torch

from jmed.inference.cache import shared_length
from jmed.inference.encoding import encode_options
from jmed.inference.fast import Fast
from jmed.inference.packing import Packed, Span, packed_attention
from jmed.inference.request import Answer, Request
from jmed.inference.stopping import check_numbers
from jmed.inference.tree import Tree, plant


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


def _hidden(fast: Fast, trees: Sequence[Tree], shared: int, places: torch.Tensor) -> torch.Tensor:
    """[places, width] last hidden states, once all tokens behind the shared ones are read, tree behind tree."""
    ids = [token for tree in trees for token in (*tree.prompt[shared:], *tree.tokens)]
    positions = [place for tree in trees for place in tree.positions()[shared:]]
    device = fast.loaded.device
    begun = fast.beginning.cache(trees[0].prompt[:shared], 1) if shared else None
    spans, read = zip(*_spans(trees, shared, device), strict=True)
    packed = Packed(spans, shared, read, fast.layers - 1)
    with packed_attention(fast.backbone):
        return fast.read_at(
            torch.zeros_like(places),
            places,
            input_ids=torch.tensor([ids], device=device),
            position_ids=torch.tensor([positions], device=device),
            packed=packed,
            past_key_values=begun,
            use_cache=bool(shared),
        )


def _spans(trees: Sequence[Tree], shared: int, device: torch.device) -> Iterator[tuple[Span, Span]]:
    """Of each tree its prompt, and the tokens of its options, which see the prompt and their ancestors.

    Beside each what is read of it: of a prompt the last token, which sees all before it, of options every token.
    """
    start = 0
    for tree in trees:
        length, count = len(tree.prompt), len(tree.tokens)
        middle, end = start + length - shared, start + length + count - shared
        before = torch.ones(length - shared, length, dtype=torch.bool).tril(shared).to(device) if shared else None
        yield Span(start, start, middle, before), Span(start, middle - 1, middle, None)
        if count:
            ancestors = torch.from_numpy(tree.ancestors())
            seen = torch.cat([ancestors.new_ones(count, length), ancestors], dim=1)
            options = Span(start, middle, end, seen.to(device))
            yield options, options
        start = end


def _wanted(trees: Sequence[Tree], shared: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Places where something is predicted, and what: [tokens, 2] of the number of a place and the token.

    Of each option of each tree in turn.
    """
    places: dict[int, int] = {}
    wanted: list[tuple[int, int]] = []
    start = 0
    for tree in trees:
        first = start + len(tree.prompt) - shared
        for place, token in (pair for option in tree.scored for pair in option):
            wanted.append((places.setdefault(first + place, len(places)), token))
        start += len(tree) - shared
    return torch.tensor(list(places), device=device), torch.tensor(wanted, device=device)
