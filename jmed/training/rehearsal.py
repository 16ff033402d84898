"""A forward and backward pass of the real model code on tensors without data, to see how much memory it would take.

Every allocation of every operation is counted, so nothing here knows an architecture's formulae.
"""

import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from bitsandbytes.functional import QuantState
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from jmed.configuration.finetune import FinetuneConfig
from jmed.training.batch import Batch
from jmed.training.loss import SupervisedLoss
from jmed.training.skeleton import NF4_BLOCK, SCALE_BLOCK, build, layers_alike

FORWARD, LOSS, LOSS_BACKWARD, BACKWARD = "forward", "loss", "loss backward", "backward"
PHASES = (FORWARD, LOSS, LOSS_BACKWARD, BACKWARD)


@dataclass(frozen=True)
class Footprint:
    """Bytes beside weights, gradients and optimiser state: the peak of each phase."""

    forward: int  # of the layers
    loss: int  # vocabulary head and loss, both ways
    backward: int  # of the layers
    saved: int  # what the layers keep for the backward pass
    host: int  # kept in host memory

    def beyond(self, shorter: "Footprint", layers: int) -> "Footprint":
        """This one, of a layer more than `shorter`, with so many more layers of the same kind."""
        values = ((mine, mine - other) for mine, other in zip(vars(self).values(), vars(shorter).values(), strict=True))
        return Footprint(*(value + layers * layer for value, layer in values))


@dataclass(frozen=True)
class Pass:
    """What is to be run: a micro-batch of [rows, width] tokens, so many of them supervised."""

    rows: int
    width: int
    supervised: int
    whole_scores: bool  # attention holds all its scores at once, instead of a fused kernel that needs none
    autocast: bool
    on_gpu: bool


class Allocations(TorchDispatchMode):
    """Bytes of all storages that came to life under this mode and still live, with the peak of each phase."""

    def __init__(self, existing: list[torch.Tensor]) -> None:
        super().__init__()
        self.live, self.host, self.host_peak, self.saved = 0, 0, 0, 0
        self.peaks = dict.fromkeys(PHASES, 0)
        self.phase = FORWARD
        self.known = {tensor.untyped_storage()._cdata for tensor in existing}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor)
        if func is torch.ops.bitsandbytes.gemm_4bit.default:
            self._note(_unpacked(*args[:3]))
        return result

    def enter(self, phase: str) -> None:
        self.phase = phase
        self._note(0)

    def _see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.live += size
        weakref.finalize(storage, self._forget, key, size)
        self._note(0)

    def _forget(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size

    def _note(self, beyond: int) -> None:
        """The memory in use, with what one operation takes and gives back inside."""
        self.peaks[self.phase] = max(self.peaks[self.phase], self.live + beyond)


def _unpacked(values: torch.Tensor, packed: torch.Tensor, shape: Any) -> int:
    """What bitsandbytes' product with an NF4 weight takes inside: the weight in 16 or 32 bits, its scales twice."""
    elements = shape[0] * shape[1]
    return elements * values.element_size() + 2 * 4 * (elements // NF4_BLOCK)


class HostCopy:
    """What `save_on_cpu` makes of a tensor on a GPU: a copy in pinned memory, whose blocks are powers of two."""

    def __init__(self, tensor: torch.Tensor, allocations: Allocations) -> None:
        self.shape, self.dtype = tensor.shape, tensor.dtype
        size = max(1, tensor.numel() * tensor.element_size())
        self._count(allocations, 1 << (size - 1).bit_length())

    def _count(self, allocations: Allocations, size: int) -> None:
        allocations.host += size
        allocations.host_peak = max(allocations.host_peak, allocations.host)
        weakref.finalize(self, _give_back, allocations, size)

    def back(self) -> torch.Tensor:
        return torch.empty(self.shape, dtype=self.dtype)


def _give_back(allocations: Allocations, size: int) -> None:
    allocations.host -= size


class AllSupervised:
    """Stands for `Batch.supervised` where the loss asks which positions count: their number is known, not their place."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __getitem__(self, _: Any) -> "AllSupervised":
        return self

    def nonzero(self, as_tuple: bool) -> tuple[torch.Tensor, torch.Tensor]:
        assert as_tuple
        return torch.zeros(self.count, dtype=torch.long), torch.zeros(self.count, dtype=torch.long)


def footprint(config: FinetuneConfig, shape: Any, dtype: torch.dtype, work: Pass) -> Footprint:
    """The memory of `work` with a model of this shape; two depths are run where all layers are alike."""
    layers = shape.num_hidden_layers
    if layers <= 2 or not layers_alike(build(config, shape, dtype), shape):
        return _rehearse(config, build(config, shape, dtype), dtype, work)
    one, two = (_rehearse(config, build(config, shape, dtype, depth), dtype, work) for depth in (1, 2))
    return two.beyond(one, layers - 2)


def _rehearse(config: FinetuneConfig, model: Any, dtype: torch.dtype, work: Pass) -> Footprint:
    with FakeTensorMode():
        existing = _materialise(model, dtype)
        for weight in model.parameters():
            if weight.requires_grad:  # held gradients are counted elsewhere
                weight.register_post_accumulate_grad_hook(_drop_gradient)
        allocations = Allocations(existing)
        loss = SupervisedLoss(model)
        with allocations:
            batch = _batch(work)
            with _attention(work):
                with _autocast(dtype, work), _offloading(config, work, allocations), _phases(model, allocations):
                    total = loss(batch)
                allocations.enter(LOSS_BACKWARD)
                total.backward()
    peaks = allocations.peaks
    return Footprint(
        peaks[FORWARD], max(peaks[LOSS], peaks[LOSS_BACKWARD]), peaks[BACKWARD], allocations.saved, allocations.host_peak
    )


def _drop_gradient(weight: torch.Tensor) -> None:
    weight.grad = None


def _autocast(dtype: torch.dtype, work: Pass) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype) if work.autocast else nullcontext()


def _attention(work: Pass) -> AbstractContextManager[Any]:
    return sdpa_kernel(SDPBackend.MATH) if work.whole_scores else nullcontext()


def _batch(work: Pass) -> Batch:
    """With the mask that the model would make of padding or packing: whether it needs one depends on data."""
    ids = torch.zeros(work.rows, work.width, dtype=torch.long)
    mask = torch.ones(work.rows, 1, work.width, work.width, dtype=torch.bool)
    supervised: Any = AllSupervised(work.supervised)
    return Batch(ids, supervised, mask, None)


@contextmanager
def _phases(model: Any, allocations: Allocations) -> Iterator[None]:
    """Note where the layers end and the loss begins, on the way there and on the way back."""

    def end(_module: nn.Module, _arguments: Any, output: Any) -> None:
        allocations.saved = allocations.live
        allocations.enter(LOSS)
        output.last_hidden_state.register_hook(lambda _gradient: allocations.enter(BACKWARD))

    whole = model.get_base_model() if hasattr(model, "peft_config") else model
    handle = whole.base_model.register_forward_hook(end)
    try:
        yield
    finally:
        handle.remove()


def _offloading(config: FinetuneConfig, work: Pass, allocations: Allocations) -> AbstractContextManager[Any]:
    """On a GPU, saved tensors go to the host; on a CPU they are there."""
    if not (config.memory.offload_activations and work.on_gpu):
        return nullcontext()
    return torch.autograd.graph.saved_tensors_hooks(lambda tensor: HostCopy(tensor, allocations), HostCopy.back)


def _materialise(model: Any, dtype: torch.dtype) -> list[torch.Tensor]:
    """Replace the tensors of the meta device by fake ones on a CPU, which autocast works on; all of them."""
    made = {weight: _nf4(weight, dtype) if hasattr(weight, "quant_type") else _plain(weight) for weight in model.parameters()}
    existing: list[torch.Tensor] = list(made.values())
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = made[weight]
        if state := getattr(getattr(module, "weight", None), "quant_state", None):
            module.quant_state, module.support_avx512bf16_for_cpu = state, False
            existing += [state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
                existing.append(module._buffers[name])
    return existing


def _plain(weight: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(torch.empty(weight.shape, dtype=weight.dtype), requires_grad=weight.requires_grad)


def _nf4(weight: torch.Tensor, dtype: torch.dtype) -> nn.Parameter:
    """A packed weight as bitsandbytes holds it; a plain tensor, because its own class cannot be fake."""
    blocks = -(-weight.numel() // NF4_BLOCK)
    scales = QuantState(
        absmax=torch.empty(-(-blocks // SCALE_BLOCK)), blocksize=SCALE_BLOCK, code=torch.empty(256), dtype=torch.float32
    )
    state = QuantState(
        absmax=torch.empty(blocks, dtype=torch.uint8),
        shape=weight.shape,
        dtype=dtype,
        blocksize=NF4_BLOCK,
        code=torch.empty(16),
        quant_type="nf4",
        offset=torch.empty(()),
        state2=scales,
    )
    packed: Any = nn.Parameter(torch.empty(-(-weight.numel() // 2), 1, dtype=torch.uint8), requires_grad=False)
    packed.quant_state = state
    return packed
