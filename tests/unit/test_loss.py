"""The chunked loss and its gradients are those of the whole logits; packed sequences do not see each other."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from jmed.models.source import find_model
from jmed.training import loss as loss_module
from jmed.training.batch import Batch, make_batch
from jmed.training.loss import SupervisedLoss, summed_loss
from jmed.training.model import load_learner
from tests.unit.training_kit import Sequences, configured, sequences, tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("model"))


def learner(model_folder: Path, **keys: Any) -> Any:
    config = configured(model_folder, **{"lora": {"r": 4, "dropout": 0.0}, **keys})
    loaded = load_learner(find_model(config.model, True), config, CPU)
    generator = torch.Generator().manual_seed(0)
    for name, weight in loaded.model.named_parameters():
        if "lora_B" in name:  # an adapter starts as zero: nothing could be told from it
            weight.data.normal_(0, 0.1, generator=generator)
    return loaded.model.train()


def naive(model: Any, batch: Batch) -> torch.Tensor:
    """All logits at once."""
    logits = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits.float()
    wanted = batch.supervised[:, 1:]
    return cross_entropy(logits[:, :-1][wanted], batch.ids[:, 1:][wanted], reduction="sum")


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("chunk", [1, 7, 10_000])
@pytest.mark.parametrize("keys", [{}, {"tuning": "qlora"}, {"tuning": "full", "zero": {"stage": 0}}])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_loss_and_gradients_are_the_naive_ones(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, keys: dict[str, Any], checkpointing: bool
) -> None:
    monkeypatch.setattr(loss_module, "CHUNK", chunk)
    model = learner(model_folder, memory={"checkpointing": checkpointing}, **keys)
    batch = make_batch(sequences(6), [(i,) for i in range(6)], 0, CPU)  # type: ignore[arg-type]
    ours, plain = SupervisedLoss(model)(batch), naive(model, batch)
    assert float(ours.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)
    mine, theirs = gradients(model, ours), gradients(model, plain)
    assert mine.keys() == theirs.keys()
    for name, gradient in mine.items():
        torch.testing.assert_close(
            gradient, theirs[name], rtol=1e-3, atol=1e-5 * float(theirs[name].abs().max()) + 1e-6
        )


@pytest.mark.parametrize("tuning", ["lora", "qlora"])
def test_packed_equals_unpacked(model_folder: Path, tuning: str) -> None:
    model = learner(model_folder, tuning=tuning)
    table = sequences(7)
    padded = make_batch(table, [(i,) for i in range(7)], 0, CPU)  # type: ignore[arg-type]
    packed = make_batch(table, [(3, 0, 6), (1, 2), (5, 4)], 0, CPU)  # type: ignore[arg-type]
    alone, together = SupervisedLoss(model)(padded), SupervisedLoss(model)(packed)
    assert float(together.detach()) == pytest.approx(float(alone.detach()), rel=1e-6)
    one, other = gradients(model, alone), gradients(model, together)
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], rtol=1e-3, atol=1e-5 * float(gradient.abs().max()) + 1e-6)


def test_a_mask_of_ones_would_leak(model_folder: Path) -> None:
    """What the packed layout guards against: the test above would notice."""
    model = learner(model_folder)
    packed = make_batch(sequences(3), [(0, 1, 2)], 0, CPU)  # type: ignore[arg-type]
    right = float(SupervisedLoss(model)(packed).detach())
    leaking = replace(packed, mask=torch.ones_like(packed.ids), positions=None)
    assert abs(float(SupervisedLoss(model)(leaking).detach()) - right) > 1e-2


def test_what_stands_in_the_padding_does_not_matter(model_folder: Path) -> None:
    model = learner(model_folder)
    values = {
        float(SupervisedLoss(model)(make_batch(sequences(5), [(i,) for i in range(5)], pad, CPU)).detach())  # type: ignore[arg-type]
        for pad in (0, 1, 77)
    }
    assert max(values) - min(values) < 1e-3


def test_a_batch_without_supervised_tokens_has_no_loss_and_no_gradient(model_folder: Path) -> None:
    model = learner(model_folder)
    batch = make_batch(sequences(3), [(0,), (1,)], 0, CPU)  # type: ignore[arg-type]
    loss = SupervisedLoss(model)(replace(batch, supervised=torch.zeros_like(batch.supervised)))
    assert float(loss.detach()) == 0
    assert all(float(gradient.abs().max()) == 0 for gradient in gradients(model, loss).values())


def test_the_first_token_of_a_packed_sequence_is_not_predicted_from_the_one_before() -> None:
    row = (np.arange(5, dtype=np.int32), np.ones(5, dtype=bool))
    batch = make_batch(Sequences([row, row]), [(0, 1)], 0, CPU)  # type: ignore[arg-type]
    assert batch.supervised.tolist() == [[False, True, True, True, True, False, True, True, True, True]]
    assert batch.positions is not None
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 3, 4]]


@pytest.mark.parametrize("trained", [True, False])
def test_only_chunks_of_logits_exist(trained: bool) -> None:
    """2,048 supervised positions, a vocabulary of 50,000: whole logits are 410 MB, the largest tensor here 51 MB.

    A frozen head runs once over each, a trained one again in the backward pass.
    """
    head, seen = torch.nn.Linear(8, 50_000, bias=False).requires_grad_(trained), []
    head.register_forward_hook(lambda module, inputs, output: seen.append(output.numel() * output.element_size()))
    hidden = torch.randn(2048, 8, requires_grad=True)
    targets = torch.randint(0, 50_000, (2048,))
    loss = summed_loss(hidden, targets, head)
    loss.backward()
    assert max(seen) == loss_module.CHUNK * 50_000 * 4
    assert len(seen) == (2 if trained else 1) * 2048 // loss_module.CHUNK
    plain = cross_entropy(head(hidden), targets, reduction="sum")
    assert float(loss.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)


def test_small_gradients_survive_in_float16() -> None:
    """Of a frozen head under a loss scaler: most rest on probabilities of one in 50,000, near float16's least."""
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 50_000, bias=False).requires_grad_(False)
    hidden, targets = torch.randn(64, 8) / 100, torch.randint(0, 50_000, (64,))
    found = []
    for dtype in (torch.float16, torch.float32):
        own = hidden.to(dtype).requires_grad_()
        (summed_loss(own, targets, head.to(dtype)) * 512).backward()
        assert own.grad is not None
        found.append(own.grad.float())
    torch.testing.assert_close(found[0], found[1], rtol=5e-3, atol=5e-3 * float(found[1].abs().max()))
