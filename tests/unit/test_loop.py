"""One worker or two, packed or not, accumulated or not, interrupted or not: the same training."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from jmed.errors import GaveUp, UserError
from jmed.training.checkpoints import Checkpoints
from jmed.training.loop import STARTS
from jmed.training.parallel import STATE, WEIGHTS
from tests.unit.training_kit import configured, logged, sequences, tiny, together, train

WAYS: dict[str, dict[str, Any]] = {
    "lora": {"tuning": "lora"},
    "qlora": {"tuning": "qlora"},
    "full": {"tuning": "full", "zero": {"stage": 0}, "learning_rate": 1e-3},
    "8bit": {"tuning": "lora", "optimizer": "adamw_8bit"},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("model"))


def losses(output: Path) -> list[float]:
    return [row["loss"] for row in logged(output)]


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name].float() - other[name].float()).abs().max()) for name in one)


def in_group(model: Path, folder: Path) -> None:
    """A worker of a group trains in each way; the first one leaves the weights."""
    for way, keys in WAYS.items():
        output = folder / way
        (output / "unfinished").mkdir(parents=True, exist_ok=True)
        (output / "unfinished" / "attempt").write_text("both")
        weights = train(configured(model, **keys), sequences(), output, mark="both")
        if torch.distributed.get_rank() == 0:
            torch.save(weights, output / "weights.pt")


@pytest.fixture(scope="module")
def by_two(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two workers make, a folder a way."""
    folder = tmp_path_factory.mktemp("two")
    together(2, in_group, model, folder, folder=folder)
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_two_workers_do_what_one_does(model: Path, by_two: Path, tmp_path: Path, way: str) -> None:
    alone = train(configured(model, **WAYS[way]), sequences(), tmp_path)
    assert losses(by_two / way) == pytest.approx(losses(tmp_path), rel=1e-4)
    assert distance(alone, torch.load(by_two / way / "weights.pt")) < 1e-4
    assert {row["world_size"] for row in logged(by_two / way)} == {2}


def test_accumulation_changes_nothing(model: Path, tmp_path: Path) -> None:
    """The same steps in one micro-batch each, and in one a sequence (without dropout, which each draws anew)."""
    weights = {}
    for budget in (1, 10_000):
        config = configured(model, batch_tokens=budget, lora={"r": 4, "dropout": 0})
        weights[budget] = train(config, sequences(), tmp_path / str(budget))
    assert losses(tmp_path / "1") == pytest.approx(losses(tmp_path / "10000"), rel=1e-5)
    assert distance(weights[1], weights[10_000]) < 1e-4


def test_packing_and_memory_settings_change_nothing(model: Path, tmp_path: Path) -> None:
    plain = train(configured(model, lora={"r": 4, "dropout": 0}), sequences(), tmp_path / "plain")
    ways = {
        "packed": {"packing": True},
        "offloaded": {"memory": {"offload_activations": True}},
        "kept": {"memory": {"checkpointing": False}},
    }
    for name, keys in ways.items():
        weights = train(configured(model, lora={"r": 4, "dropout": 0}, **keys), sequences(), tmp_path / name)
        assert losses(tmp_path / name) == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)
        assert distance(plain, weights) < 1e-4


@pytest.mark.parametrize("way", WAYS)
def test_an_interrupted_run_ends_with_the_same_weights(
    model: Path, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped one step after a checkpoint; that step is done again, and stands in the log once."""
    config = configured(model, **WAYS[way])
    whole = train(config, sequences(), tmp_path / "whole")
    original = Checkpoints.save

    def stop_later(self: Checkpoints, step: int) -> None:
        if step == 4:
            raise KeyboardInterrupt
        original(self, step)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", stop_later)
        with pytest.raises(KeyboardInterrupt):
            train(config, sequences(), tmp_path / "torn")
    assert [row["step"] for row in logged(tmp_path / "torn")] == [1, 2, 3, 4]
    continued = train(config, sequences(), tmp_path / "torn")
    assert [row["step"] for row in logged(tmp_path / "torn")] == [1, 2, 3, 4, 5, 6]
    assert losses(tmp_path / "torn") == losses(tmp_path / "whole")
    assert distance(whole, continued) < 1e-6


def test_a_run_goes_on_with_another_number_of_workers(model: Path, by_two: Path, tmp_path: Path) -> None:
    alone = train(configured(model), sequences(), tmp_path / "one")
    output = shutil.copytree(by_two / "lora", tmp_path / "mixed")
    shutil.rmtree(output / "unfinished" / "checkpoints" / "step-00000006")
    assert distance(alone, train(configured(model), sequences(), output)) < 1e-4
    assert [row["world_size"] for row in logged(output)] == [2, 2, 2, 2, 1, 1]


@pytest.mark.parametrize(("dtype", "tuning"), [("bfloat16", "qlora"), ("float16", "lora"), ("bfloat16", "full")])
def test_sixteen_bits_learn_with_trained_weights_in_float32(
    model: Path, tmp_path: Path, dtype: str, tuning: str
) -> None:
    rate = 1e-3 if tuning == "full" else 1e-2
    config = configured(model, dtype=dtype, tuning=tuning, zero={"stage": 0}, epochs=8, learning_rate=rate)
    weights = train(config, sequences(), tmp_path)
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    curve = losses(tmp_path)
    assert sum(curve[-3:]) < 0.97 * sum(curve[:3])


def test_a_step_that_overflows_is_skipped_in_float16_and_stops_nothing(model: Path, tmp_path: Path) -> None:
    config = configured(model, dtype="float16", epochs=3)
    train(config, sequences(), tmp_path)
    rows = logged(tmp_path)
    assert all(math.isfinite(row["loss"]) for row in rows)  # the scaler starts at 65536 and may have to come down
    assert any(row["grad_norm"] is not None for row in rows)


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(model: Path, tmp_path: Path) -> None:
    config = configured(model, tuning="full", zero={"stage": 0}, learning_rate=1e30, warmup=0, max_grad_norm=1e30)
    with pytest.raises(UserError, match=r"step \d+: loss nan.*learning_rate"):
        train(config, sequences(), tmp_path)
    for checkpoint in (tmp_path / "unfinished" / "checkpoints").glob("step-*"):
        assert (checkpoint / WEIGHTS).stat().st_size
        assert torch.load(checkpoint / STATE, weights_only=True)
    assert all(math.isfinite(row["loss"]) for row in logged(tmp_path))


def test_workers_that_die_again_and_again_give_up(model: Path, tmp_path: Path) -> None:
    config = configured(model)
    train(config, sequences(), tmp_path, mark="")
    mark = (tmp_path / "unfinished" / "attempt").read_text("utf-8")
    for _ in range(STARTS):
        train(config, sequences(), tmp_path, mark=mark)
    with pytest.raises(GaveUp, match="5 times after step 6"):
        train(config, sequences(), tmp_path, mark=mark)


def test_workers_of_an_older_attempt_stop(model: Path, tmp_path: Path) -> None:
    train(configured(model), sequences(), tmp_path)
    before = (tmp_path / "train_log.jsonl").read_bytes()
    with pytest.raises(RuntimeError, match="another start of this job"):
        train(configured(model), sequences(), tmp_path, mark="an older one")
    assert (tmp_path / "train_log.jsonl").read_bytes() == before


def test_every_line_of_the_log_has_the_keys_of_the_contract(model: Path, tmp_path: Path) -> None:
    train(configured(model), sequences(), tmp_path)
    row = json.loads((tmp_path / "train_log.jsonl").read_text().splitlines()[0])
    assert list(row) == [
        "step", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "supervised_tokens", "seconds", "world_size",
    ]  # fmt: skip
