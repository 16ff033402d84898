"""Rows of different lengths, one behind the other in a single row: the layers compute no padding."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "jmed_packed"  # of the attention below; transformers makes no mask for an attention that it does not know


@dataclass(frozen=True)
class Span:
    """Some tokens of a row, which see its beginning and one another."""

    row: int  # where the row begins
    start: int
    end: int
    seen: torch.Tensor | None  # [end - start, shared + end - row], true where a token sees another; None: all before it


@dataclass(frozen=True)
class Packed:
    """Rows behind each other in `spans`, all of them behind the keys of `shared` tokens."""

    spans: tuple[Span, ...]
    shared: int
    read: tuple[Span, ...]  # the spans that are read behind the last layer
    last: int  # the number of that layer

    def of_layer(self, number: int) -> tuple[Span, ...]:
        """What attends in it."""
        return self.read if number == self.last else self.spans

    def keys(self, states: torch.Tensor, span: Span) -> torch.Tensor:
        """What a span sees of keys or values [1, heads, shared + tokens, width]."""
        own = states[:, :, self.shared + span.row : self.shared + span.end]
        return torch.cat([states[:, :, : self.shared], own], dim=2) if self.shared else own


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    packed: Packed,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """[1, tokens, heads, width]: attention of `query` [1, heads, tokens, width], each row to itself."""
    output: Any = None
    for span in packed.of_layer(module.layer_idx):
        own = query[:, :, span.start : span.end]
        keys, values = packed.keys(key, span), packed.keys(value, span)
        seen = None if span.seen is None else span.seen[None, None]
        part = sdpa_attention_forward(module, own, keys, values, seen, **settings)[0]
        if output is None:
            output = part.new_zeros(1, query.shape[2], *part.shape[2:])
        output[:, span.start : span.end] = part
    return output, None


AttentionInterface.register(NAME, attend)


@contextmanager
def packed_attention(backbone: Any) -> Iterator[None]:
    """The backbone's layers attend as `attend` does; they need `packed=`."""
    config = backbone.config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
