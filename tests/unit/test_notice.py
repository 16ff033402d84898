"""Checkpoints out of turn: what was learned is kept when a machine is about to go, or the job is asked to stop."""

import time
from pathlib import Path

import pytest
import torch

from jmed.training import notice
from jmed.training.notice import Notices, Stopped, Wish
from tests.unit.training_kit import Sequences, configured, logged, sequences, tiny, together, train


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("model"))


def checkpoints(output: Path) -> list[str]:
    return sorted(path.name for path in (output / "unfinished" / "checkpoints").iterdir())


def distance(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    return max(float((one[name] - two[name]).abs().max()) for name in one)


def test_a_run_that_is_asked_to_stop_saves_and_goes_on_later(model: Path, tmp_path: Path) -> None:
    config = configured(model, checkpoint={"every_steps": 100})
    whole = train(config, sequences(), tmp_path / "whole")
    asked = tmp_path / "stop"
    asked.touch()
    with pytest.raises(Stopped, match="stopped after step 1 of 6, as asked"):
        train(config, sequences(), tmp_path / "torn", notices=Notices(stop=asked))
    assert checkpoints(tmp_path / "torn") == ["step-00000001"]
    asked.unlink()
    assert distance(whole, train(config, sequences(), tmp_path / "torn", notices=Notices(stop=asked))) < 1e-6
    assert [row["step"] for row in logged(tmp_path / "torn")] == [1, 2, 3, 4, 5, 6]


def test_a_wish_to_stop_after_the_last_step_ends_the_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Notices, "wish", lambda self: Wish.STOP)
    config = configured(model, epochs=None, steps=1)
    train(config, sequences(), tmp_path)
    assert checkpoints(tmp_path) == ["step-00000001"]


def test_while_a_machine_is_about_to_go_checkpoints_come_out_of_turn(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notice, "LOOK_SECONDS", 0.0)
    looks = iter([False, False, True, False, False, False])
    config = configured(model, checkpoint={"every_steps": 100})
    train(config, sequences(), tmp_path, notices=Notices(leaving=lambda: next(looks)))
    assert checkpoints(tmp_path) == ["step-00000003", "step-00000006"]


def test_saving_again_takes_a_sixth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notice, "LOOK_SECONDS", 0.0)
    notices = Notices(leaving=lambda: True)
    assert notices.wish() == Wish.SAVE
    notices.has_saved(0.1)
    assert notices.wish() == Wish.NOTHING
    time.sleep(0.5)
    assert notices.wish() == Wish.SAVE


def test_a_look_is_taken_now_and_then(tmp_path: Path) -> None:
    notices = Notices(stop=tmp_path / "stop")
    assert notices.wish() == Wish.NOTHING
    (tmp_path / "stop").touch()
    assert notices.wish() == Wish.NOTHING, "the last look was just now"
    notices.looked -= notice.LOOK_SECONDS
    assert notices.wish() == Wish.STOP


def _two(model: Path, table: Sequences, output: Path) -> None:
    """Only the first worker sees the file: it lies on its disk."""
    rank = torch.distributed.get_rank()
    mine = Notices(stop=output / "stop" if rank == 0 else output / "elsewhere")
    if rank == 0:
        (output / "stop").touch()
    with pytest.raises(Stopped):
        train(configured(model, checkpoint={"every_steps": 100}), table, output, mark="m", notices=mine)


def test_workers_stop_together(model: Path, tmp_path: Path) -> None:
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "attempt").write_text("m")
    together(2, _two, model, sequences(), tmp_path, folder=tmp_path)
    assert checkpoints(tmp_path) == ["step-00000001"]
