"""Logits read a block at a time are the whole logits; the last layer runs only where it is read."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from jmed.configuration.schema import ModelConfig
from jmed.data import catalogue
from jmed.inference import head as head_module
from jmed.inference.engine import Engine
from jmed.inference.head import Vocabulary
from jmed.inference.request import Request
from jmed.models.loading import load_model
from jmed.models.source import find_model
from jmed.models.tiny import build_tiny_model, train_tokenizer

WIDTH, TOKENS = 8, 37


class Called(nn.Linear):
    """A head that is no plain linear layer, as one with an adapter: it must be called."""


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "BLOCK", 10)
    monkeypatch.setattr(head_module, "ROWS", 3)


@pytest.fixture(params=[(nn.Linear, False), (nn.Linear, True), (Called, True)], ids=["plain", "bias", "called"])
def head(request: pytest.FixtureRequest) -> nn.Linear:
    kind, bias = request.param
    torch.manual_seed(0)
    return kind(WIDTH, TOKENS, bias=bias).requires_grad_(False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_log_probabilities_are_those_of_whole_logits(head: nn.Linear, dtype: torch.dtype) -> None:
    hidden = torch.randn(7, WIDTH, dtype=dtype)
    wanted = torch.tensor([(row, token) for row in (6, 0, 3) for token in (0, 9, 10, 36)])
    found = Vocabulary(head.to(dtype)).logprobs(hidden, wanted)
    expected = head(hidden).double().log_softmax(-1)[wanted[:, 0], wanted[:, 1]]
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 if dtype == torch.float32 else 2e-2)


def test_the_likeliest_token_is_that_of_whole_logits(head: nn.Linear) -> None:
    hidden = torch.randn(40, WIDTH)
    values, tokens = Vocabulary(head).likeliest(hidden)
    expected = head(hidden).max(-1)
    assert tokens.tolist() == expected.indices.tolist()
    torch.testing.assert_close(values, expected.values)


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, float("nan")]), min_size=1, max_size=45))
def test_of_equals_the_first_and_what_is_no_number_is_not_lost(logits: list[float]) -> None:
    head = nn.Linear(1, len(logits), bias=False).requires_grad_(False)
    head.weight.data[:, 0] = torch.tensor(logits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_module, "BLOCK", 10)
        (value,), (token,) = Vocabulary(head).likeliest(torch.ones(1, 1))
    if any(one != one for one in logits):
        assert value.isnan()
    else:
        assert token == logits.index(max(logits))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    texts = [question.text for question in catalogue.load("mini", "en", None)]
    folder = build_tiny_model(tmp_path_factory.mktemp("model"), train_tokenizer(texts, vocabulary=600))
    return Engine(load_model(find_model(ModelConfig(path=str(folder)), offline=True)))


def test_the_last_layer_runs_only_where_it_is_read(engine: Engine) -> None:
    assert engine.fast is not None
    seen: dict[str, int] = {}
    layers = engine.fast.backbone.layers
    parts = ("self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj")
    for name, layer in (("first", layers[0]), ("last", layers[-1])):
        for part in parts:
            layer.get_submodule(part).register_forward_hook(
                lambda module, given, output, key=name + part: seen.__setitem__(key, output.shape[:-1].numel())
            )
    (answer,) = engine.answer([Request("q", "Which drug treats fever and a sore throat?", (" aspirin", " insulin"))])
    assert not answer.error
    for part in parts:
        assert seen["last" + part] < seen["first" + part]
        assert seen["last" + part] <= answer.tokens_out  # each place once, and there is one a scored token at most
    assert len(engine.fast.last) == len(parts)
    assert not engine.fast.last[-1]._forward_hooks  # none is left
