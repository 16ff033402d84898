"""What the workers of a run say to each other beside gradients. Without a process group there is only one worker."""

from typing import Any

import torch.distributed as dist


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def gather(value: Any) -> list[Any]:
    """Every worker's value, by rank, on every worker. A barrier too."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def agree(error: str | None) -> str | None:
    """The first error of any worker, so that all of them stop, or none: one alone would leave the others waiting."""
    return next((found for found in gather(error) if found), None)
