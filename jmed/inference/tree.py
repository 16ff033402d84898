"""All options of a question behind one copy of its prompt, as a tree of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jmed.inference.encoding import EncodedOptions, encode_generation, encode_options
from jmed.inference.request import Request

ROOT = -1  # the prompt's last token, as a parent: the place before the first


@dataclass(frozen=True)
class Tree:
    """One row of the model's input: the prompt, then every token of the options that has another one behind it.

    A token sees the prompt, its ancestors and itself, and stands at the place that it has in its own option, so the
    model computes what it computes for each option alone. Beginnings that options share are there once.

        prompt …  ┬ 鉄 ─ 欠乏        the last token of an option is only predicted, never put in
                  └ 葉酸 ─ …
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]  # of the options, parents before children
    parents: tuple[int, ...]  # of each: a place in `tokens`, or ROOT
    scored: tuple[tuple[tuple[int, int], ...], ...]  # of each option: (where it is predicted: a place, the token)

    def __len__(self) -> int:
        return len(self.prompt) + len(self.tokens)

    def positions(self) -> list[int]:
        """Where each token stands: the prompt's from 0, the others in their own option."""
        last = len(self.prompt) - 1
        behind: list[int] = []
        for parent in self.parents:
            behind.append((last if parent == ROOT else behind[parent]) + 1)
        return [*range(len(self.prompt)), *behind]

    def ancestors(self) -> np.ndarray:
        """[tokens, tokens], true where the second is the first or one of its ancestors."""
        seen = np.eye(len(self.tokens), dtype=bool)
        for place, parent in enumerate(self.parents):
            if parent != ROOT:
                seen[place] |= seen[parent]
        return seen


def plant(options: EncodedOptions) -> Tree:
    """The tree of a request's options; for options of a single token it is the prompt alone."""
    places: dict[tuple[int, int], int] = {}  # (parent, token) → place
    scored = [tuple(_walk(sequence[options.start :], places)) for sequence in options.sequences]
    prompt = options.sequences[0][: options.start]
    return Tree(prompt, tuple(token for _, token in places), tuple(parent for parent, _ in places), tuple(scored))


def area(tokenizer: Any, requests: Sequence[Request], max_length: int) -> int:
    """Tokens that a batch takes in one forward pass, padding and room for generated answers included."""
    if requests[0].continuations:
        rows = [len(plant(encode_options(tokenizer, request, max_length))) for request in requests]
    else:
        rows = [len(encode_generation(tokenizer, one, max_length)) + one.max_new_tokens for one in requests]
    return len(rows) * max(rows)


def _walk(continuation: Sequence[int], places: dict[tuple[int, int], int]) -> list[tuple[int, int]]:
    """Put a continuation into the tree; where each of its tokens is predicted."""
    place, path = ROOT, []
    for token in continuation:
        path.append((place, token))
        if len(path) < len(continuation):
            place = places.setdefault((place, token), len(places))
    return path
