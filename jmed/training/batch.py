"""A micro-batch as tensors: one sequence a row, padded on the right, or several packed into a row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from jmed.training.table import TokenTable

Rows = Sequence[Sequence[int]]  # of a micro-batch: each row the sequences (indices of the table) that stand in it


@dataclass(frozen=True)
class Batch:
    """[rows, width] tensors; `mask` is None where rows are packed: then `positions` tell the sequences apart.

    transformers sees packing only without a mask and without a cache; with an all-ones mask the second sequence of a
    row would see the first.
    """

    ids: torch.Tensor
    supervised: torch.Tensor  # True: the loss counts the prediction of this token
    mask: torch.Tensor | None  # 1: a token, 0: padding
    positions: torch.Tensor | None  # of packed rows: counted from 0 in each sequence


def make_batch(table: TokenTable, rows: Rows, pad_id: int, device: torch.device) -> Batch:
    """Read the rows of a micro-batch; packed if any row holds more than one sequence."""
    packed = any(len(row) > 1 for row in rows)
    parts = [[table.tokens(index) for index in row] for row in rows]
    width = max(sum(len(ids) for ids, _ in row) for row in parts)
    shape = (len(rows), width)
    ids, supervised = np.full(shape, pad_id, dtype=np.int64), np.zeros(shape, dtype=bool)
    mask, positions = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for number, row in enumerate(parts):
        start = 0
        for tokens, wanted in row:
            end = start + len(tokens)
            ids[number, start:end], supervised[number, start:end] = tokens, wanted
            mask[number, start:end], positions[number, start:end] = 1, np.arange(len(tokens))
            supervised[number, start] = False  # nothing stands before it
            start = end
        positions[number, start:] = np.arange(width - start)  # padding is one more sequence, seen by no other
    tensors = {name: torch.from_numpy(array).to(device) for name, array in (("ids", ids), ("supervised", supervised))}
    if packed:
        return Batch(**tensors, mask=None, positions=torch.from_numpy(positions).to(device))
    return Batch(**tensors, mask=torch.from_numpy(mask).to(device), positions=None)
