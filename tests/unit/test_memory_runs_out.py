"""A worker whose memory runs out: the batch is halved until it fits, and a prompt that never fits is an error."""

import multiprocessing
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from jmed.configuration.schema import ModelConfig
from jmed.inference.request import Answer, Request
from jmed.models.source import find_model
from jmed.models.tiny import build_tiny_model, train_tokenizer

ROOM = 400 * 1024**2  # bytes that the process may still take
WORD = "aspirin "


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = train_tokenizer(["What does aspirin treat? A B"])
    return build_tiny_model(tmp_path_factory.mktemp("model"), tokenizer, hidden=256, layers=1, context=200_000)


def request(name: str, words: int) -> Request:
    return Request(name, WORD * words + "? Answer:", (" A", " B"))


def answer(model: Path, requests: Sequence[Request], room: int | None, sender: Any) -> None:
    """In a process of its own, which may take `room` bytes more than the loaded model."""
    import torch

    from jmed.inference.engine import Engine
    from jmed.models.loading import load_model

    torch.set_num_threads(1)
    engine = Engine(load_model(find_model(ModelConfig(path=str(model)), offline=True)))
    engine.answer([request("warm", 3)])
    if room is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + room
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    runs: list[int] = []
    original = engine._run
    engine._run = lambda batch: (runs.append(len(batch)), original(batch))[1]  # type: ignore[method-assign]
    sender.send((engine.answer(requests), runs))


def answers(model: Path, requests: Sequence[Request], room: int | None) -> tuple[dict[str, Answer], list[int]]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(model, requests, room, sender))
    process.start()
    sender.close()
    found, runs = receiver.recv()
    process.join()
    return {one.item_id: one for one in found}, runs


def test_a_batch_is_halved_until_it_fits_and_a_prompt_that_never_fits_is_an_error(model: Path) -> None:
    requests = [*(request(f"r{number}", 1000 + number) for number in range(48)), request("endless", 150_000)]
    free, whole = answers(model, requests[:-1], None)
    assert whole == [48]
    tight, halved = answers(model, requests, ROOM)
    assert len(halved) > 2, "the batch did not fit at once"
    assert "memory" in str(tight["endless"].error)
    for one in requests[:-1]:
        assert tight[one.item_id].error is None
        assert tight[one.item_id].logprobs == pytest.approx(free[one.item_id].logprobs, abs=1e-4)
