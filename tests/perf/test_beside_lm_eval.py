"""Log-probabilities beside lm-evaluation-harness, as ratios of the same work; the scores are compared each time."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from jmed.configuration.schema import EvaluateConfig
from jmed.evaluation.items import Item
from jmed.inference.engine import Engine
from tests.perf.conftest import Row
from tests.perf.kit import PAIRS, THREADS, build_model, engine_of, matrix_rate, needed, seconds, time_pairs
from tests.perf.peer import Peer
from tests.perf.process import printed
from tests.perf.questions import first_items, jmed_runs, make_config
from tests.unit.test_lm_eval import assert_equal_scores, harness_scores, load_harness

COUNT = 60
SHOTS, COUNT_WITH_SHOTS = 5, 10
BEST_OF = 3  # times
FEW = 6  # questions from short to long, on which its best batch is looked for
GOALS = {"letters": 10, "options": 18}
PARTS = {"letters": 1, "options": PAIRS}  # with `options` the harness takes a minute and a half for all questions
Scores = dict[str, tuple[float, ...]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, qwen2_tokenizer: Path) -> Path:
    return build_model(tmp_path_factory.mktemp("model"), qwen2_tokenizer)


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    torch.set_num_threads(THREADS)
    return engine_of(folder)


@pytest.fixture(scope="module")
def harness(folder: Path) -> Iterator[Peer]:
    with Peer(load_harness, folder) as peer:
        yield peer


def harness_answers(harness: Any, items: Sequence[Item], batch: int) -> Scores:
    harness.batch_size_per_gpu = batch
    return harness_scores(harness, items)


def best_batch(harness: Peer, items: Sequence[Item]) -> int:
    """The harness's fastest batch size: doubled for as long as that is faster."""

    def taken(size: int) -> float:
        return seconds(partial(harness.call, harness_answers, items, size))

    harness.call(harness_answers, items[:1], 1)
    best, least = 1, taken(1)
    while best < len(items) and (doubled := taken(2 * best)) < least:
        best, least = 2 * best, doubled
    return best


def time_parts(
    engine: Engine, harness: Peer, batch: int, items: Sequence[Item], config: EvaluateConfig, parts: int
) -> list[float]:
    """The harness's time over jmed's, once a pair; each score is compared.

    `parts`: 1, both answer all questions in each pair; more, one of so many parts, each in turn.
    """
    ratios = []
    for number in range(PAIRS):
        part, scores = items[number % parts :: parts], dict[str, Scores]()

        def ours() -> None:
            scores["ours"] = jmed_scores(engine, part, config)  # noqa: B023 (called at once)

        def peer() -> None:
            scores["peer"] = harness.call(harness_answers, part, batch)  # noqa: B023

        times = {way: seconds(way) for way in ((ours, peer) if number % 2 else (peer, ours))}
        assert_equal_scores(scores["ours"], scores["peer"])
        ratios.append(times[peer] / times[ours])
    return ratios


def jmed_scores(engine: Engine, items: Sequence[Item], config: EvaluateConfig) -> Scores:
    return {item: answer.logprobs for item, answer in jmed_runs(engine, items, config).items()}


@pytest.mark.parametrize("method", ["letters", "options"])
def test_log_probabilities(
    data_root: Path, engine: Engine, harness: Peer, folder: Path, method: str, table: list[Row]
) -> None:
    config = make_config(data_root, method)
    items = first_items(config, engine.loaded.tokenizer, COUNT)
    batch = best_batch(harness, items[:: COUNT // FEW])
    jmed_scores(engine, items, config)
    ratios = time_parts(engine, harness, batch, items, config, PARTS[method])
    rate = matrix_rate()
    own = min(seconds(lambda: jmed_scores(engine, items, config)) for _ in range(BEST_OF))
    share = needed(engine, [item.request for item in items]) / own / rate
    note = f"{len(items)} questions, {len(items) / own:.1f} a second, {share:.0%} of {rate / 1e9:.0f} GFLOP/s"
    table.append(Row(f"`{method}`", f"lm-eval, batch {batch}", tuple(ratios), GOALS[method], note=note))
    ours, theirs = (peak(side, method, folder, data_root, batch) for side in ("jmed", "lm-eval"))
    for what, measure in (("whole processes", "whole"), ("above the loaded model", "above")):
        note = f"{theirs[measure] / 2**30:.2f} and {ours[measure] / 2**30:.2f} GiB, {what}"
        ratio = theirs[measure] / ours[measure]
        table.append(Row(f"`{method}`, peak memory", f"lm-eval, batch {batch}", (ratio,), 7, note=note))


def peak(side: str, method: str, folder: Path, data_root: Path, batch: int) -> dict[str, int]:
    """Bytes, of the whole process and above the loaded model."""
    return json.loads(printed("tests.perf.peak", side, method, folder, data_root, batch, 16))


def test_letters_behind_shared_shots(data_root: Path, engine: Engine, harness: Peer, table: list[Row]) -> None:
    """Five examples in front of every question, the same for all; the prompts are long: the harness takes one each."""
    config = make_config(data_root, "letters", shots=SHOTS)
    items = first_items(config, engine.loaded.tokenizer, COUNT + COUNT_WITH_SHOTS)[-COUNT_WITH_SHOTS:]
    assert engine.fast is not None

    def ours() -> Scores:
        engine.fast.beginning.tokens = ()  # read the examples anew, as for a first batch
        return jmed_scores(engine, items, config)

    found, scores, ratios = ours(), dict[str, tuple[float, ...]](), []
    for part in (items[number::PAIRS] for number in range(PAIRS)):
        theirs = seconds(lambda: scores.update(harness.call(harness_answers, part, 1))) / len(part)  # noqa: B023
        ratios.append(theirs * len(items) / seconds(ours))
    assert_equal_scores(found, scores)
    note = f"{len(items)} questions; the harness's time a question is that of a fifth of them"
    table.append(Row(f"`letters` behind {SHOTS} shots", "lm-eval, batch 1", tuple(ratios), 8, note=note))


def test_bfloat16_on_this_processor(data_root: Path, engine: Engine, folder: Path, table: list[Row]) -> None:
    """What `model.dtype: bfloat16` does to time and log-probabilities."""
    config = make_config(data_root, "letters")
    narrow = engine_of(folder, dtype="bfloat16")
    items = first_items(config, narrow.loaded.tokenizer, COUNT)
    exact, rounded = (jmed_runs(one, items, config) for one in (engine, narrow))
    gaps = [abs(a - b) for item in exact for a, b in zip(exact[item].logprobs, rounded[item].logprobs, strict=True)]
    ratios, _ = time_pairs(lambda: jmed_runs(engine, items, config), lambda: jmed_runs(narrow, items, config))
    rates = matrix_rate(torch.bfloat16) / matrix_rate()
    note = f"log-probabilities move by {max(gaps):.3f} at most; matrix rate {rates:.1f} times float32's; {PAIRS} pairs"
    table.append(Row("`letters` in bfloat16", "jmed in float32", tuple(ratios), 1, note=note))
