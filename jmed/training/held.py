"""What a worker holds from step to step: weights, gradients and optimiser state, whole or its share under ZeRO."""

from dataclasses import dataclass

import torch

from jmed.configuration.finetune import FinetuneConfig
from jmed.training.skeleton import Sizes

STATE_BYTES = 8  # of AdamW in float32, for each trained number
EIGHT_BIT_BLOCK = 256  # numbers that share a float32 scale in bitsandbytes' 8-bit states
EIGHT_BIT_LEAST = 4096  # numbers; smaller tensors keep float32 states
EIGHT_BIT_TABLES = 2 * 256 * 4  # bytes

# DeepSpeed's defaults, in numbers (not bytes); engine_settings leaves them as they are
REDUCE_BUCKET = 500_000_000  # gradients on their way to their owner; allocated whole however small the model is
LIVE_PARAMETERS = 1_000_000_000  # stage 3: weights gathered at a time
SUB_GROUP = 1_000_000_000  # stage 3: weights updated at a time


@dataclass(frozen=True)
class State:
    """Bytes on the training device at one moment of a step."""

    weights: int
    adapters: int
    gradients: int
    optimizer: int


@dataclass(frozen=True)
class Held:
    """The three moments of a step, and what lies elsewhere."""

    passes: State  # forward and backward; gradients of an earlier micro-batch are there from the beginning
    exchange: State  # gradients are summed over workers, or changed to float32
    update: State  # the optimiser computes
    host: int  # bytes of host memory: a worker's share of what is offloaded
    checkpoint: int  # bytes on disk, all workers together
    result: int  # bytes on disk, and in host memory while the first worker writes it


def held(config: FinetuneConfig, sizes: Sizes, world_size: int, device_type: str, dtype: torch.dtype) -> Held:
    if not config.sharded:
        return _whole(config, sizes, world_size, device_type)
    zero = _Zero(sizes, world_size, dtype.itemsize, config.zero.stage == 3, device_type == "cuda")
    return zero.offloaded() if config.zero.offload == "cpu" else zero.on_device()


def _whole(config: FinetuneConfig, sizes: Sizes, world_size: int, device_type: str) -> Held:
    """Data-parallel: everything on every worker, trained weights in float32."""
    trained, optimizer = 4 * sum(sizes.trained), _adam(config, sizes.trained)
    flat = trained if world_size > 1 else 0  # one buffer for the exchange, see DataParallel._sum_gradients
    working = _adam_temporaries(config, sizes.trained, device_type)
    frozen = (sizes.weights, sizes.adapters)
    return Held(
        passes=State(*frozen, trained, optimizer),
        exchange=State(*frozen, trained + flat, optimizer),
        update=State(*frozen, trained, optimizer + working),
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
    """torch's AdamW takes all tensors at once on a GPU, one after the other on a CPU; bitsandbytes works in place."""
    if device_type == "cuda":
        return 0 if config.optimizer == "adamw_8bit" else 4 * sum(trained)
    return 2 * 4 * max(trained, default=0)


@dataclass(frozen=True)
class _Zero:
    """ZeRO 2 and 3 as DeepSpeed 0.19 does them: optimiser state and master weights are shared out, gradients too, at
    stage 3 weights as well.

    With offload these lie in host memory, and only what is being gathered or reduced is on the GPU.
    """

    sizes: Sizes
    world_size: int
    width: int  # bytes of a weight and of a gradient in training
    third: bool  # stage 3
    on_gpu: bool

    @property
    def total(self) -> int:
        return sum(self.sizes.trained)

    @property
    def share(self) -> int:
        return -(-self.total // self.world_size)

    @property
    def state(self) -> int:
        """Master weights and AdamW's two states, in float32."""
        return (4 + STATE_BYTES) * self.share

    @property
    def bucket(self) -> int:
        """On a CPU, what is never written to takes no memory."""
        return self.width * (REDUCE_BUCKET if self.on_gpu else min(REDUCE_BUCKET, self.total))

    @property
    def gathered(self) -> int:
        """Weights that are whole at a time."""
        return self.width * (min(self.total, LIVE_PARAMETERS + self.sizes.largest) if self.third else self.total)

    def on_device(self) -> Held:
        part = self.width * self.share
        moving = min(self.share, SUB_GROUP) if self.third else self.share
        stays = self.bucket + part if self.third else 0  # stage 2 gives both back before the update
        resting = part if self.third else self.gathered
        arriving = part + (self.width + 4) * moving if not self.third else stays + (self.width + 4) * moving
        working = (4 if self.on_gpu else 8) * moving
        return self._held(
            passes=State(self.gathered + (part if self.third else 0), 0, self.bucket + part, self.state),
            exchange=State(resting, 0, arriving, self.state),
            update=State(resting, 0, stays + 4 * moving, self.state + working),
            host=0,
        )

    def offloaded(self) -> Held:
        """Stage 2 stages gradients on both sides; the optimiser runs on the host, without a GPU with torch's copies."""
        staged = 0 if self.third else self.width * self.sizes.largest
        state = State(self.gathered, 0, self.bucket + staged, 0)
        working = 0 if self.on_gpu else 8 * self.share
        host = self.state + (4 + 2 * self.width) * self.share + staged + working
        return self._held(passes=state, exchange=state, update=state, host=host)

    def _held(self, passes: State, exchange: State, update: State, host: int) -> Held:
        checkpoint = (4 + STATE_BYTES) * self.total
        return Held(passes, exchange, update, host, checkpoint, result=self.width * self.total)
