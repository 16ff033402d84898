"""What a worker holds from step to step: weights, gradients and optimiser state, whole or its share under ZeRO."""

from dataclasses import dataclass

import torch

from jmed.configuration.finetune import FinetuneConfig
from jmed.training.skeleton import Sizes

STATE_BYTES = 8  # of AdamW in float32, for each trained number
EIGHT_BIT_BLOCK = 256  # numbers that share a float32 scale in bitsandbytes' 8-bit states
EIGHT_BIT_LEAST = 4096  # numbers; smaller tensors keep float32 states
EIGHT_BIT_TABLES = 2 * 256 * 4  # bytes

# DeepSpeed's defaults, in numbers (not bytes)
REDUCE_BUCKET = 500_000_000  # gradients on their way to their owner; allocated whole however small the model is
LIVE_PARAMETERS = 1_000_000_000  # stage 3: weights gathered at a time
SUB_GROUP = 1_000_000_000  # stage 3: weights updated at a time


@dataclass(frozen=True)
class Held:
    """Bytes on the training device all the time, what the update adds for a moment, and what lies elsewhere."""

    weights: int
    adapters: int
    gradients: int
    optimizer: int
    exchange: int  # more for gradients while they are exchanged, or changed to float32
    update_gradients: int  # more for gradients while the optimiser computes
    update_optimizer: int  # more for the optimiser then
    host: int  # a worker's share of the offloaded state
    checkpoint: int  # on disk, all workers together
    result: int  # on disk


def held(config: FinetuneConfig, sizes: Sizes, world_size: int, device_type: str, dtype: torch.dtype) -> Held:
    if config.sharded:
        return _shared_out(config, sizes, world_size, device_type, dtype.itemsize)
    return _whole(config, sizes, world_size, device_type)


def _whole(config: FinetuneConfig, sizes: Sizes, world_size: int, device_type: str) -> Held:
    """Data-parallel: everything on every worker, trained weights in float32."""
    trained = 4 * sum(sizes.trained)
    optimizer = _adam(config, sizes.trained)
    return Held(
        weights=sizes.weights,
        adapters=sizes.adapters,
        gradients=trained,
        optimizer=optimizer,
        exchange=trained if world_size > 1 else 0,  # one flat buffer, see DataParallel._sum_gradients
        update_gradients=0,
        update_optimizer=_adam_temporaries(config, sizes.trained, device_type),
        host=0,
        checkpoint=trained + optimizer,
        result=trained,
    )


def _adam(config: FinetuneConfig, trained: tuple[int, ...]) -> int:
    if config.optimizer == "adamw":
        return STATE_BYTES * sum(trained)
    small = sum(count for count in trained if count < EIGHT_BIT_LEAST)
    large = [count for count in trained if count >= EIGHT_BIT_LEAST]
    scales = sum(2 * 4 * -(-count // EIGHT_BIT_BLOCK) for count in large)
    return STATE_BYTES * small + 2 * sum(large) + scales + EIGHT_BIT_TABLES


def _adam_temporaries(config: FinetuneConfig, trained: tuple[int, ...], device_type: str) -> int:
    """torch's AdamW takes all tensors at once on a GPU, and one after the other on a CPU; bitsandbytes works in place."""
    if config.optimizer == "adamw_8bit" and device_type == "cuda":
        return 0
    return 4 * sum(trained) if device_type == "cuda" else 2 * 4 * max(trained, default=0)


def _shared_out(config: FinetuneConfig, sizes: Sizes, world_size: int, device_type: str, width: int) -> Held:
    """ZeRO 2 and 3 as DeepSpeed 0.19 does it; `width` is the bytes of a weight in training (2 or 4).

    Optimiser state and master weights are shared out, at stage 3 gradients' buffer and weights too. With offload they
    lie in host memory, and only what is being gathered or reduced is on the GPU.
    """
    total = sum(sizes.trained)
    share = -(-total // world_size)
    third, offload = config.zero.stage == 3, config.zero.offload == "cpu"
    master = 4 if width == 2 or not third else 0  # stage 3 updates float32 weights in place
    state = (master + STATE_BYTES) * share
    live = min(total, LIVE_PARAMETERS + sizes.largest) if third else 0
    moving = min(share, SUB_GROUP) if third else share  # changed to float32, then updated
    weights = width * (total if not third else live + (0 if offload else share))
    staged = width * sizes.largest if offload and not third else 0  # a gradient on its way to the host
    return Held(
        weights=weights,
        adapters=0,
        gradients=width * REDUCE_BUCKET + (staged if offload else width * share),
        optimizer=0 if offload else state,
        exchange=0 if offload else (width + 4) * moving,
        update_gradients=0 if offload else 4 * moving,
        update_optimizer=0 if offload else 4 * moving,
        host=_offloaded(state, share, sizes, width, third) if offload else 0,
        checkpoint=(4 + STATE_BYTES) * total,
        result=width * total,
    )


def _offloaded(state: int, share: int, sizes: Sizes, width: int, third: bool) -> int:
    """Host memory of a worker: state, float32 gradients, 16-bit gradients and weights, and what is on its way."""
    staged = 0 if third else width * sizes.largest
    return state + (4 + 2 * width) * share + staged
