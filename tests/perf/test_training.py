"""A QLoRA step beside TRL's SFTTrainer: the same losses, then tokens a second and memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.perf.conftest import Row
from tests.perf.kit import THREADS, build_model, time_pairs
from tests.perf.peer import Peer
from tests.perf.process import printed
from tests.perf.training import ROWS, WIDTH, Ours, Trl, make_batch, set_adapter, trained

pytest.importorskip("trl", reason="needs TRL, which the dev extra installs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, qwen2_tokenizer: Path) -> Path:
    return build_model(tmp_path_factory.mktemp("model") / "model", qwen2_tokenizer)


@pytest.fixture(scope="module")
def sides(folder: Path) -> Iterator[tuple[Ours, Peer]]:
    torch.set_num_threads(THREADS)
    with Peer(Trl, folder, folder.parent / "trl") as trl:
        yield Ours(folder), trl


@pytest.mark.parametrize(("work", "share"), [("answers supervised, 17 %", 0.17), ("all tokens supervised", 1.0)])
def test_a_step(sides: tuple[Ours, Peer], folder: Path, work: str, share: float, table: list[Row]) -> None:
    ours, trl = sides
    trl.call(set_adapter, {name: weight.detach().numpy() for name, weight in trained(ours.model).items()})
    batch = make_batch(ours.model.config.vocab_size, share)
    own, theirs = list[float](), list[float]()  # losses, step after step
    ratios, best = time_pairs(lambda: theirs.append(trl.call(Trl.step, batch)), lambda: own.append(ours.step(batch)))
    # Of the weights as they were given, and after an update; later AdamW has made more of differences in the last bits.
    assert own[:2] == pytest.approx(theirs[:2], rel=1e-4)
    note = f"{ROWS} x {WIDTH}: {ROWS * WIDTH / best:.0f} tokens/s; loss {own[0]:.4f} on both sides"
    table.append(Row(f"QLoRA step, {work}", "TRL's SFTTrainer", tuple(ratios), 1.5, note=note))
    peaks = [peak(side, folder, share) for side in ("jmed", "trl")]
    note = f"{peaks[0] / 2**30:.2f} and {peaks[1] / 2**30:.2f} GiB above the loaded model"
    row = Row(f"the same, memory, {work}", "TRL's SFTTrainer", (peaks[0] / peaks[1],), 0.6, below=True, note=note)
    table.append(row)


def peak(side: str, folder: Path, share: float) -> int:
    """Bytes."""
    return int(printed("tests.perf.training", side, folder, share))
