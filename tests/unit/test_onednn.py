"""Linear layers that oneDNN computes give what torch's own give."""

import platform

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from jmed.inference.onednn import OneDnnLinear, is_available, use_onednn

pytestmark = pytest.mark.skipif(not is_available(), reason="this build of torch has no oneDNN")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only there it is promised")
def test_it_is_there() -> None:
    assert is_available()


@settings(deadline=None)
@given(
    rows=st.lists(st.integers(0, 5), min_size=1, max_size=3), width=st.integers(1, 70), outputs=st.integers(1, 70),
    bias=st.booleans(), turned=st.booleans(),
)  # fmt: skip
def test_products_are_torch_own(rows: list[int], width: int, outputs: int, bias: bool, turned: bool) -> None:
    layer = nn.Linear(width, outputs, bias=bias).requires_grad_(False)
    inputs = torch.randn(width, *rows).movedim(0, -1) if turned else torch.randn(*rows, width)
    expected, gradient = output_and_gradient(layer, inputs)
    use_onednn(layer)
    assert type(layer) is OneDnnLinear
    with torch.inference_mode():
        torch.testing.assert_close(layer(inputs), expected, rtol=1e-5, atol=1e-5)
    ours = output_and_gradient(layer, inputs)
    torch.testing.assert_close(ours, (expected, gradient), rtol=1e-5, atol=1e-5)


def output_and_gradient(layer: nn.Module, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the inputs, where each output counts differently."""
    wanted = inputs.detach().requires_grad_()
    output = layer(wanted)
    weights = torch.linspace(-1, 1, output.numel()).view(output.shape)
    return output.detach(), torch.autograd.grad((output * weights).sum(), wanted)[0]


def test_a_model_in_training_still_learns() -> None:
    """It sits its exams as the same model."""
    layer, inputs = nn.Linear(4, 3), torch.randn(5, 4)
    use_onednn(layer)
    layer(inputs).sum().backward()
    torch.testing.assert_close(layer.weight.grad, inputs.sum(0).expand(3, 4))


def test_autocast_narrows_it_as_it_does_torch_own() -> None:
    layer, inputs = nn.Linear(4, 3).requires_grad_(False), torch.randn(5, 4)
    use_onednn(layer)
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients), torch.autocast("cpu", torch.bfloat16):
            assert layer(inputs).dtype == torch.bfloat16


class Adapted(nn.Linear):
    """A layer that computes something else."""


def test_only_plain_layers_in_float32_change() -> None:
    model = nn.ModuleDict({"plain": nn.Linear(2, 2), "narrow": nn.Linear(2, 2).bfloat16(), "adapted": Adapted(2, 2)})
    use_onednn(model)
    kinds = {name: type(layer) for name, layer in model.items()}
    assert kinds == {"plain": OneDnnLinear, "narrow": nn.Linear, "adapted": Adapted}
