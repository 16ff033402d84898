"""What is read of a model's logits, without all of them at once."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from jmed.inference.onednn import OneDnnLinear, linear

ROWS = 128  # hidden states at a time: with a vocabulary of 152k their logits are 78 MB in float32
BLOCK = 8192  # tokens of the vocabulary at a time on a CPU: their logits stay in its cache


class Vocabulary:
    """The vocabulary head of a model. What is read of it is float32 whatever its dtype: in bfloat16 options tie."""

    def __init__(self, head: Any) -> None:
        self.head = head
        weight = head.weight if type(head) in (nn.Linear, OneDnnLinear) else None  # an adapter on it must be called
        self.linear = linear if type(head) is OneDnnLinear else nn.functional.linear
        self.in_blocks = weight is not None and weight.device.type == "cpu"

    def logprobs(self, hidden: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """float64 log-probabilities of `wanted` [pairs, 2] (row, token), from hidden states [rows, width]."""
        rows, tokens = wanted.T.contiguous()
        found = torch.empty(len(wanted), dtype=torch.float64, device=hidden.device)
        for first in range(0, len(hidden), ROWS):
            here = ((rows >= first) & (rows < first + ROWS)).nonzero()[:, 0]
            found[here] = self._logprobs(hidden[first : first + ROWS], rows[here] - first, tokens[here])
        return found

    def _logprobs(self, hidden: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        total = torch.full((len(hidden),), -torch.inf, dtype=torch.float64, device=hidden.device)
        found = torch.empty(len(rows), dtype=torch.float64, device=hidden.device)
        for start, logits in self._blocks(hidden):
            total = torch.logaddexp(total, logits.logsumexp(-1).double())
            here = ((tokens >= start) & (tokens < start + logits.shape[-1])).nonzero()[:, 0]
            found[here] = logits[rows[here], tokens[here] - start].double()
        return found - total[rows]

    def likeliest(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[rows] the greatest logit behind each hidden state (NaN if one is), and its token; of equals the first."""
        best, tokens = torch.empty(0), torch.empty(0)
        for start, logits in self._blocks(hidden):
            values, places = logits.max(-1)
            if start == 0:
                best, tokens = values, places
            else:
                better = (values > best) | values.isnan()
                best, tokens = torch.where(better, values, best), torch.where(better, places + start, tokens)
        return best, tokens

    def _blocks(self, hidden: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """(its first token, logits [rows, tokens]) of each part of the vocabulary."""
        if not self.in_blocks:
            yield 0, self.head(hidden).float()
            return
        weight, bias = self.head.weight, self.head.bias
        for start in range(0, len(weight), BLOCK):
            part = slice(start, start + BLOCK)
            yield start, self.linear(hidden, weight[part], None if bias is None else bias[part]).float()
