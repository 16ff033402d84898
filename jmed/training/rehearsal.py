"""A forward and backward pass of the real model code on tensors without data, to see how much memory it would take.

Every allocation of every operation is counted, so nothing here knows an architecture's formulae.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel

from jmed.configuration.finetune import FinetuneConfig
from jmed.models.loading import unwrapped
from jmed.training.allocations import BACKWARD, FORWARD, LOSS, Allocations, HostCopy
from jmed.training.batch import Batch
from jmed.training.loss import SupervisedLoss
from jmed.training.skeleton import Unpredictable, build, first_line, materialise, shortened


@dataclass(frozen=True)
class Pass:
    """What is to be run: a micro-batch of [rows, width] tokens, so many of them supervised."""

    rows: int
    width: int
    supervised: int
    whole_scores: bool  # attention holds all its scores at once, instead of a fused kernel that needs none
    autocast: bool
    on_gpu: bool


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


def footprint(config: FinetuneConfig, shape: Any, alike: bool, dtype: torch.dtype, work: Pass) -> Footprint:
    """The memory of `work` with a model of this shape; two depths are run where all layers are `alike`.

    Raises Unpredictable where the model's code needs data.
    """
    layers = shape.num_hidden_layers
    if layers <= 2 or not alike:
        return _rehearse(config, shape, dtype, work)
    one, two = (_rehearse(config, shortened(shape, depth), dtype, work) for depth in (1, 2))
    return two.beyond(one, layers - 2)


def _rehearse(config: FinetuneConfig, shape: Any, dtype: torch.dtype, work: Pass) -> Footprint:
    """With a mask of every row's own, as padding and packing need; a few models take only masks of a simpler form."""
    failures = []
    for masked in (True, False):
        model = build(config, shape, dtype)
        try:
            return _run(config, model, dtype, work, masked)
        except Exception as error:  # whatever a model's code does not find in tensors without data
            failures.append(error)
    raise Unpredictable(first_line(failures[0])) from failures[0]


def _run(config: FinetuneConfig, model: Any, dtype: torch.dtype, work: Pass, masked: bool) -> Footprint:
    with FakeTensorMode():
        existing = materialise(model, dtype)
        for weight in model.parameters():
            if weight.requires_grad:  # held gradients are counted elsewhere
                weight.register_post_accumulate_grad_hook(_drop_gradient)
        allocations, loss = Allocations(existing), SupervisedLoss(model)
        with allocations, _attention(work):
            batch = _batch(work, masked)
            with _autocast(dtype, work), _offloading(config, work, allocations), _phases(model, allocations):
                total = loss(batch)
            total.backward()
    peaks = allocations.peaks
    return Footprint(peaks[FORWARD], peaks[LOSS], peaks[BACKWARD], allocations.saved, allocations.host_peak)


def _drop_gradient(weight: torch.Tensor) -> None:
    weight.grad = None


def _autocast(dtype: torch.dtype, work: Pass) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype) if work.autocast else nullcontext()


def _attention(work: Pass) -> AbstractContextManager[Any]:
    return sdpa_kernel(SDPBackend.MATH) if work.whole_scores else nullcontext()


def _offloading(config: FinetuneConfig, work: Pass, allocations: Allocations) -> AbstractContextManager[Any]:
    """On a GPU, saved tensors go to the host (`parallel.saved_tensors`); on a CPU they are there."""
    if not (config.memory.offload_activations and work.on_gpu):
        return nullcontext()
    return torch.autograd.graph.saved_tensors_hooks(allocations.move, HostCopy.back)


@contextmanager
def _phases(model: Any, allocations: Allocations) -> Iterator[None]:
    """Note where the layers end and the loss begins, on the way there and on the way back."""

    def end(_module: nn.Module, _arguments: Any, output: Any) -> None:
        allocations.saved = allocations.live
        allocations.enter(LOSS)
        output.last_hidden_state.register_hook(lambda _gradient: allocations.enter(BACKWARD))

    whole = unwrapped(model)
    handle = whole.base_model.register_forward_hook(end)
    try:
        yield
    finally:
        handle.remove()


class AllSupervised:
    """In the place of `Batch.supervised`: how many positions count is known, but not which."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __getitem__(self, _: Any) -> "AllSupervised":
        return self

    def nonzero(self, as_tuple: bool) -> tuple[torch.Tensor, torch.Tensor]:
        assert as_tuple
        return torch.zeros(self.count, dtype=torch.long), torch.zeros(self.count, dtype=torch.long)


def _batch(work: Pass, masked: bool) -> Batch:
    """The mask is given as the model would make it: whether it needs one depends on data."""
    ids = torch.zeros(work.rows, work.width, dtype=torch.long)
    mask = torch.ones(work.rows, 1, work.width, work.width, dtype=torch.bool) if masked else None
    supervised: Any = AllSupervised(work.supervised)
    return Batch(ids, supervised, mask, None)
