"""Keys and values of the tokens that a model has read: kept in room that grows, and shared beginnings kept once."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

from jmed.inference.encoding import common_prefix

ROOM = 64  # tokens that room is added for at a time
STEP = 64  # a shared beginning has a multiple of so many tokens, so that most batches of a benchmark share the same one
LEAST = 128  # shorter ones are not worth it


class GrowingLayer(DynamicLayer):
    """Writes new tokens into spare room; transformers' own layer copies all that is there at every token."""

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """Add keys and values [rows, heads, tokens, width]; all that are there now."""
        end = self.length + key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = (_room(states, None, 0, end) for states in (key_states, value_states))
        elif end > self.keys.shape[-2]:
            self.keys = _room(key_states, self.keys, self.length, end)
            self.values = _room(value_states, self.values, self.length, end)
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self, *_: Any) -> int:
        return self.length

    def keep(self, rows: torch.Tensor) -> None:
        """Only these rows go on."""
        self.keys, self.values = self.keys[rows], self.values[rows]


def _room(like: torch.Tensor, old: torch.Tensor | None, length: int, needed: int) -> torch.Tensor:
    rows, heads, _, width = like.shape
    new = like.new_empty(rows, heads, needed + ROOM, width)
    if old is not None:
        new[:, :, :length] = old[:, :, :length]
    return new


def growing_cache(layers: int) -> Cache:
    return Cache(layers=[GrowingLayer() for _ in range(layers)])


def shared_length(rows: Sequence[Sequence[int]]) -> int:
    """Tokens that all rows begin with, as far as it is worth reading them once; one of each row is always left."""
    if len(rows) < 2:
        return 0
    ordered = sorted(map(tuple, rows))
    same = common_prefix(ordered[0], ordered[-1])  # what the least and the greatest share, all share
    same = min(same, min(map(len, rows)) - 1)
    return same - same % STEP if same >= LEAST else 0


class Beginning:
    """The last shared beginning that was read: few-shot examples are the same for every batch of a benchmark.

    Whether it is at hand or read again changes nothing: it is always read alone, in one row.
    """

    def __init__(self, backbone: Any, layers: int, device: torch.device) -> None:
        self.backbone, self.layers, self.device = backbone, layers, device
        self.tokens: tuple[int, ...] = ()
        # Of each layer: keys and values [1, heads, tokens, width].
        self.states: list[tuple[torch.Tensor, torch.Tensor]] = []

    def cache(self, tokens: Sequence[int], rows: int) -> Cache:
        """A cache in which every one of `rows` rows has read these tokens."""
        if tuple(tokens) != self.tokens:
            self._read(tokens)
        cache = growing_cache(self.layers)
        for layer, (keys, values) in zip(cache.layers, self.states, strict=True):
            layer.update(*(states.expand(rows, -1, -1, -1) for states in (keys, values)))
        return cache

    def _read(self, tokens: Sequence[int]) -> None:
        cache = growing_cache(self.layers)
        ids = torch.tensor([list(tokens)], device=self.device)
        self.backbone(input_ids=ids, past_key_values=cache, use_cache=True)
        self.tokens = tuple(tokens)
        self.states = [(layer.keys[:, :, : layer.length], layer.values[:, :, : layer.length]) for layer in cache.layers]
