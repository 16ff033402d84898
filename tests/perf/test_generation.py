"""Generated answers beside one `generate` call a question, which is what the paper's evaluator does."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from jmed.evaluation.items import Item
from jmed.inference.encoding import encode_prompt
from jmed.inference.engine import Engine
from jmed.inference.request import Answer
from jmed.models.loading import LoadedModel
from tests.perf.conftest import Row
from tests.perf.kit import PAIRS, THREADS, build_model, engine_of, loaded_of, seconds
from tests.perf.peer import Peer
from tests.perf.questions import first_items, jmed_runs, make_config

COUNT, COUNT_LONG = 60, 32
LONG = 64


@torch.inference_mode()
def generate_one(loaded: LoadedModel, prompt: str, new_tokens: int) -> str:
    """The plain way: one prompt, all new tokens."""
    model, tokenizer = loaded.model, loaded.tokenizer
    ids = torch.tensor([encode_prompt(tokenizer, prompt)], device=loaded.device)
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=new_tokens, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
    return tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).strip()


@pytest.fixture(autouse=True)
def _threads() -> None:
    torch.set_num_threads(THREADS)


def compare(
    engine: Engine, peer: Peer, items: Sequence[Item], config: Any, new_tokens: int, line: bool
) -> tuple[list[float], str]:
    """Seconds a question of one call each over ours, once a pair; the answers are compared.

    The plain way is slow: it answers another question in each pair.
    """
    ratios, own, found = [], [], dict[str, Answer]()
    for item in items[:: len(items) // PAIRS][:PAIRS]:
        said: list[str] = []
        theirs = seconds(lambda: said.append(peer.call(generate_one, item.request.prompt, new_tokens)))  # noqa: B023
        own.append(seconds(lambda: found.update(jmed_runs(engine, items, config))) / len(items))
        plain = said[0].split("\n")[0].strip() if line else said[0]
        assert found[item.request.item_id].response == plain
        ratios.append(theirs / own[-1])
    tokens = sum(answer.tokens_out for answer in found.values()) / len(found)
    return ratios, f"{1 / min(own):.1f} questions a second; {tokens:.0f} tokens an answer"


def test_an_answer_in_a_line(
    tmp_path: Path, data_root: Path, qwen2_tokenizer: Path, paper_prompts: Path, table: list[Row]
) -> None:
    folder = build_model(tmp_path, qwen2_tokenizer, talks_in_lines=True)
    engine = engine_of(folder)
    config = make_config(data_root, "generate", prompt="alpaca", prompt_file=str(paper_prompts))
    items = first_items(config, engine.loaded.tokenizer, COUNT)
    with Peer(loaded_of, folder) as peer:
        ratios, note = compare(engine, peer, items, config, config.max_new_tokens, line=True)
    table.append(Row("`generate`, a line", "one call a question, 256 tokens", tuple(ratios), 30, note=note))


@pytest.mark.parametrize("new_tokens", [LONG])
def test_answers_that_are_all_long(
    tmp_path: Path, data_root: Path, qwen2_tokenizer: Path, new_tokens: int, table: list[Row]
) -> None:
    folder = build_model(tmp_path, qwen2_tokenizer)
    engine = engine_of(folder)
    config = make_config(data_root, "generate", max_new_tokens=new_tokens)
    items = first_items(config, engine.loaded.tokenizer, COUNT_LONG)
    items = [replace(item, request=replace(item.request, stop="end")) for item in items]
    with Peer(loaded_of, folder) as peer:
        ratios, note = compare(engine, peer, items, config, new_tokens, line=False)
    work = f"`generate`, {new_tokens} tokens each"
    table.append(Row(work, "one call a question", tuple(ratios), 7, note=note))
