"""Counting the memory of operations on tensors, with or without data."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from jmed.training.skeleton import NF4_BLOCK

FORWARD, LOSS, BACKWARD = "forward", "loss", "backward"  # loss: vocabulary head and loss, both ways


class Allocations(TorchDispatchMode):
    """Bytes of all storages that came to life under this mode and still live, with the peak of each phase."""

    def __init__(self, existing: list[torch.Tensor]) -> None:
        super().__init__()
        self.live = 0
        self.saved = 0  # live at the end of the layers' forward pass
        self.host = self.host_peak = 0
        self.peaks = dict.fromkeys((FORWARD, LOSS, BACKWARD), 0)
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

    def move(self, tensor: torch.Tensor) -> "HostCopy":
        """Count a copy in host memory."""
        copied = HostCopy(tensor)
        self.host += copied.size
        self.host_peak = max(self.host_peak, self.host)
        weakref.finalize(copied, self._drop, copied.size)
        return copied

    def _drop(self, size: int) -> None:
        self.host -= size

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


class HostCopy:
    """What `save_on_cpu` makes of a tensor on a GPU: a copy in pinned memory, whose blocks are powers of two."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.shape, self.dtype = tensor.shape, tensor.dtype
        size = max(1, tensor.numel() * tensor.element_size())
        self.size = 1 << (size - 1).bit_length()

    def back(self) -> torch.Tensor:
        return torch.empty(self.shape, dtype=self.dtype)


def _unpacked(values: torch.Tensor, packed: torch.Tensor, shape: Any) -> int:
    """What bitsandbytes' product with an NF4 weight takes inside: the weight in 16 or 32 bits, its scales twice."""
    elements = shape[0] * shape[1]
    return elements * values.element_size() + 2 * 4 * (elements // NF4_BLOCK)
