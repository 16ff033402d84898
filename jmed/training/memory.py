"""How much memory training would take, before anything is loaded."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from jmed.configuration.finetune import FinetuneConfig
from jmed.models.source import ModelSource
from jmed.training.checkpoints import KEPT
from jmed.training.held import Held, State, held
from jmed.training.rehearsal import Footprint, Pass, footprint
from jmed.training.skeleton import Sizes, build, layers_alike, model_config, sizes

GIB = 1 << 30

# Assumptions, not measurements: no GPU was at hand when they were chosen. On a CPU they are 0.
CUDA_LIBRARIES = GIB // 4  # kernels, cuBLAS workspace; not the context, which the survey's own process held too
NCCL_BUFFERS = GIB // 4  # with more than one worker
FRAGMENTATION = 0.1  # of activations and logits: what the caching allocator cannot use
GPU_PROCESS = 3 * GIB  # host memory of a worker's libraries and of loading, with CUDA

CPU_PROCESS = GIB * 3 // 4  # the same without CUDA: 0.6 GiB measured with Ray 2.60, torch 2.13, transformers 5.23


@dataclass(frozen=True)
class MemoryParts:
    """Bytes on the training device at the worst moment; of the moment, not each part's own highest."""

    weights: int
    adapters: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    overhead: int

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class Case:
    """What is asked: this configuration on so many workers, with this largest micro-batch."""

    config: FinetuneConfig
    source: ModelSource
    world_size: int
    widest: tuple[int, int]  # rows, width in tokens
    supervised: int  # tokens of it
    device_type: str  # cuda, cpu
    dtype: torch.dtype

    @property
    def work(self) -> Pass:
        rows, width = self.widest
        on_gpu = self.device_type == "cuda"
        autocast = self.dtype != torch.float32 and not self.config.sharded
        return Pass(rows, width, max(1, self.supervised), self._whole_scores(), autocast, on_gpu)

    def _whole_scores(self) -> bool:
        """Whether attention holds all its scores.

        Without a mask (one unpacked row) transformers leaves shared key heads to the kernel. On CUDA only flash
        attention can do that, and it needs bfloat16 hardware (or float16 there); else torch falls back to plain maths.
        """
        shape = model_config(self.source)
        shared = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
        alone = self.widest[0] == 1 and not self.config.packing
        fused = self.device_type == "cpu" or self.dtype == torch.bfloat16 or shared == shape.num_attention_heads
        return alone and not fused


@dataclass(frozen=True)
class MemoryPlan:
    """The prediction for one worker."""

    device: MemoryParts
    moment: str  # of the peak: forward, loss, backward, exchange, update
    host: int  # bytes of host memory of each worker: libraries, loading, what is offloaded
    host_shared: int  # bytes of host memory that one worker takes beside, to write the result
    disk: int  # bytes in output_dir at most: checkpoints, best and last result; all workers together
    case: Case

    @property
    def needed(self) -> int:
        """Bytes to compare with a GPU's memory, or on a CPU with the worker's share of the machine's."""
        return self.device.total + (self.host if self.case.device_type == "cpu" else 0)

    def fits(self, available: int, host: int | None = None) -> bool:
        """Whether it fits into `available` bytes, and into `host` bytes of host memory if that is known."""
        return self.needed <= available and (self.case.device_type == "cpu" or host is None or self.host <= host)


def predict(
    config: FinetuneConfig,
    source: ModelSource,
    world_size: int,
    widest: tuple[int, int],
    supervised: int,
    device_type: str,
    dtype: torch.dtype,
) -> MemoryPlan:
    """The peak of training with `widest` (rows, width) as the largest micro-batch, `supervised` of its tokens counted.

    Sizes come from the real module tree, activations from a rehearsal of the real code without data.
    """
    return plan(Case(config, source, world_size, widest, supervised, device_type, dtype))


def plan(case: Case) -> MemoryPlan:
    found = _learner(case)
    state = held(case.config, found.sizes, case.world_size, case.device_type, case.dtype)
    active = _activity(case)
    moment, parts = max(_moments(state, active, case), key=lambda pair: pair[1].total)
    return MemoryPlan(parts, moment, _host(case, state, active), state.result, _disk(case, state), case)


@dataclass(frozen=True)
class _Learner:
    shape: Any  # transformers PretrainedConfig
    sizes: Sizes
    alike: bool  # all layers


_learners: dict[tuple[object, ...], _Learner] = {}
_activities: dict[tuple[object, ...], Footprint] = {}


def _key(case: Case) -> tuple[object, ...]:
    """Everything that module tree and activations depend on, beside the batch."""
    chosen = case.config.model_dump_json(include={"tuning", "lora", "memory"})
    return (case.source.folder, chosen, case.config.sharded, case.dtype)


def _learner(case: Case) -> _Learner:
    key = _key(case)
    if key not in _learners:
        shape = model_config(case.source)
        model = build(case.config, shape, case.dtype)
        _learners[key] = _Learner(shape, sizes(model), layers_alike(model, shape))
    return _learners[key]


def _activity(case: Case) -> Footprint:
    key = (*_key(case), case.work)
    if key not in _activities:
        found = _learner(case)
        _activities[key] = footprint(case.config, found.shape, found.alike, case.dtype, case.work)
    return _activities[key]


def _moments(state: Held, active: Footprint, case: Case) -> list[tuple[str, MemoryParts]]:
    """The parts at the worst of each phase of a step."""
    saved = min(active.saved, active.loss)
    moments = [
        ("forward", _parts(state.passes, active.forward)),
        ("loss", _parts(state.passes, saved, active.loss - saved)),
        ("backward", _parts(state.passes, active.backward)),
        ("exchange", _parts(state.exchange)),
        ("update", _parts(state.update)),
    ]
    return [(name, replace(parts, overhead=_overhead(parts, case))) for name, parts in moments]


def _parts(state: State, activations: int = 0, logits: int = 0) -> MemoryParts:
    return MemoryParts(state.weights, state.adapters, state.gradients, state.optimizer, activations, logits, overhead=0)


def _overhead(parts: MemoryParts, case: Case) -> int:
    if case.device_type != "cuda":
        return 0
    exchange = NCCL_BUFFERS if case.world_size > 1 else 0
    return CUDA_LIBRARIES + exchange + int(FRAGMENTATION * (parts.activations + parts.logits))


def _host(case: Case, state: Held, active: Footprint) -> int:
    """The larger of loading and training.

    For ZeRO every worker loads the whole model on the host. In the dtype of its files that is the page cache, which is
    there once and gives way; in another one it is memory of its own.
    """
    found = _learner(case)
    process = GPU_PROCESS if case.device_type == "cuda" else CPU_PROCESS
    changed = case.config.sharded and getattr(found.shape, "dtype", None) != case.dtype
    loading = case.dtype.itemsize * sum(found.sizes.trained) if changed else 0
    return process + max(loading, state.host + active.host)


def _disk(case: Case, state: Held) -> int:
    """One checkpoint more than are kept, while the next is written; the result, and the best one so far."""
    results = 2 if case.config.checkpoint.keep == "best" else 1
    return (KEPT + 1) * state.checkpoint + results * state.result
