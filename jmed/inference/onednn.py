"""Matrix products in float32 on a CPU by oneDNN.

torch gives them to MKL, which leaves AVX-512 unused on processors that are not Intel's; oneDNN, which is part of torch
too and computes bfloat16 already, does not.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn


def linear(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """[…, outputs] of inputs […, width] and weight [outputs, width]; without gradients."""
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")


class _Product(torch.autograd.Function):
    """The same with a gradient for the inputs; weight and bias are not trained."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.weight = weight
        return linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return linear(upstream[0], ctx.weight.t(), None), None, None


class OneDnnLinear(nn.Linear):
    """The same layer, computed by oneDNN; by torch itself where its weights are trained, or autocast narrows them."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        if not torch.is_grad_enabled():
            return linear(input, self.weight, self.bias)
        if any(weight.requires_grad for weight in self.parameters(recurse=False)):
            return super().forward(input)
        return _Product.apply(input, self.weight, self.bias)


def is_available() -> bool:
    """Whether this build of torch has it (not on every processor)."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def use_onednn(model: nn.Module) -> None:
    """Let the model's linear layers be computed by oneDNN; no weight is copied."""
    if is_available():
        for layer in _suited(model):
            layer.__class__ = OneDnnLinear


def _suited(model: nn.Module) -> Iterator[nn.Module]:
    for module in model.modules():
        if type(module) is nn.Linear and module.weight.dtype == torch.float32 and module.weight.device.type == "cpu":
            yield module
