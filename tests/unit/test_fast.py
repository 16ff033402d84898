"""The fast ways are held to the plain ones: trees of options, shared beginnings, own generation."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoTokenizer,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from jmed.configuration.schema import ModelConfig
from jmed.data import catalogue
from jmed.inference.cache import LEAST, STEP, shared_length
from jmed.inference.encoding import EncodedOptions
from jmed.inference.engine import Engine
from jmed.inference.fast import unsuitable
from jmed.inference.plain import generate_rows, score_rows
from jmed.inference.request import Answer, Request
from jmed.inference.tree import ROOT, plant
from jmed.models.loading import LoadedModel, load_model
from jmed.models.source import find_model
from jmed.models.tiny import build_tiny_model, train_tokenizer
from jmed.prompts.render import render
from jmed.prompts.template import find_template


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [question.text for language in ("ja", "en") for question in catalogue.load("mini", language, Path())]
    return build_tiny_model(tmp_path_factory.mktemp("model"), train_tokenizer(texts, vocabulary=600))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return Engine(load_model(find_model(ModelConfig(path=str(folder)), offline=True)))


def requests(method: str, shots: int, count: int = 9, **keys: Any) -> list[Request]:
    template = find_template("letters" if method == "letters" else "choice-text", "en", "mini", None)
    questions = catalogue.load("mini", "en", Path())
    found = []
    for question in questions[shots : shots + count]:
        prompt = render(question, template, method, questions[:shots], None)
        found.append(Request(question.question_id, prompt.text, prompt.continuations, **keys))
    return found


def same_scores(ours: list[Answer], plain: list[Answer]) -> None:
    for one, other in zip(ours, plain, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4, rel=0)
        assert replace(one, logprobs=()) == replace(other, logprobs=())


def one_by_one(way: Any, engine: Engine, asked: list[Request]) -> list[Answer]:
    return [answer for request in asked for answer in way(engine.loaded, [request])]


@pytest.mark.parametrize("shots", [0, 3])
@pytest.mark.parametrize("method", ["letters", "options"])
def test_trees_give_the_log_probabilities_of_plain_rows(engine: Engine, method: str, shots: int) -> None:
    asked = requests(method, shots)
    plain = one_by_one(score_rows, engine, asked)
    for _ in range(2):  # the second time the shared beginning is at hand
        same_scores(engine.answer(asked), plain)


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("shots", [0, 3])
@pytest.mark.parametrize("stop", ["line", "end"])
def test_generation_gives_the_texts_of_transformers_own(engine: Engine, stop: str, shots: int, penalty: float) -> None:
    """Longer than the room that the cache adds at a time, and rows that end at different moments."""
    asked = requests("generate", shots, max_new_tokens=90, stop=stop, repetition_penalty=penalty)
    answers = engine.answer(asked)
    assert answers == one_by_one(generate_rows, engine, asked)
    if stop == "line" and penalty == 1.3:
        assert len({answer.tokens_out for answer in answers}) > 2


def test_shots_are_shared(engine: Engine) -> None:
    assert engine.fast is not None
    engine.fast.beginning.tokens = ()
    assert not any(answer.error for answer in engine.answer(requests("letters", 3)))
    assert len(engine.fast.beginning.tokens) >= LEAST


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=6))
def test_a_tree_holds_every_option_and_each_beginning_once(options: list[list[int]]) -> None:
    prompt = (7, 8)
    tree = plant(EncodedOptions(tuple((*prompt, *option) for option in options), len(prompt)))
    assert tree.prompt == prompt
    ancestors, positions = tree.ancestors(), tree.positions()
    assert positions[: len(prompt)] == [0, 1]
    depths = [position - 1 for position in positions[len(prompt) :]]
    for option, scored in zip(options, tree.scored, strict=True):
        assert [token for _, token in scored] == option
        places = [place for place, _ in scored]
        assert places[0] == ROOT
        assert [tree.tokens[place] for place in places[1:]] == option[:-1]
        assert [depths[place] for place in places[1:]] == list(range(1, len(option)))
        for place in places[1:]:
            assert sum(ancestors[place]) == depths[place]
    beginnings = {tuple(option[:end]) for option in options for end in range(1, len(option))}
    assert len(tree.tokens) == len(beginnings)


@given(st.lists(st.integers(0, 1), min_size=2 * LEAST, max_size=2 * LEAST), st.integers(0, 2 * LEAST))
def test_what_rows_share(begin: list[int], cut: int) -> None:
    length = shared_length([begin, [*begin[:cut], 2, 2], begin])
    assert length % STEP == 0
    assert length == 0 or (length >= LEAST and length <= cut)
    assert length + STEP > min(cut, len(begin) - 1) or cut < LEAST
    assert shared_length([begin]) == 0


SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 2048}  # fmt: skip
GROUPED = {**SMALL, "num_key_value_heads": 2, "head_dim": 16}
EXPERTS = {**SMALL, "num_key_value_heads": 4, "n_routed_experts": 4, "n_group": 1, "topk_group": 1,
           "num_experts_per_tok": 2, "moe_intermediate_size": 32, "q_lora_rank": 16, "kv_lora_rank": 16,
           "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 12}  # fmt: skip


def saved(kind: Any, config: Any, tokenizer_folder: Path, folder: Path) -> LoadedModel:
    """A random model of the kind."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    config.vocab_size = len(tokenizer)
    torch.manual_seed(0)
    kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_model(find_model(ModelConfig(path=str(folder)), offline=True))


@pytest.mark.parametrize("shots", [0, 3])
@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (LlamaForCausalLM, LlamaConfig(**GROUPED)),
        (Qwen3ForCausalLM, Qwen3Config(**GROUPED)),
        (GPTNeoXForCausalLM, GPTNeoXConfig(**SMALL)),  # a block of another layout
        (DeepseekV3ForCausalLM, DeepseekV3Config(**EXPERTS)),  # keys and values of different widths
    ],
)
def test_trees_suit_models_of_many_kinds(tmp_path: Path, folder: Path, kind: Any, config: Any, shots: int) -> None:
    loaded = saved(kind, config, folder, tmp_path)
    assert unsuitable(loaded) is None
    engine, asked = Engine(loaded), requests("options", shots, count=4)
    same_scores(engine.answer(asked), one_by_one(score_rows, engine, asked))


@pytest.mark.parametrize(
    ("kind", "config", "why"),
    [
        (MistralForCausalLM, MistralConfig(**GROUPED, sliding_window=16), "sliding"),
        (Gemma2ForCausalLM, Gemma2Config(**GROUPED, sliding_window=1024), "full attention"),
        (FalconForCausalLM, FalconConfig(**SMALL), "cannot be replaced"),
    ],
)
def test_a_model_that_they_do_not_suit_is_answered_the_plain_way(
    tmp_path: Path, folder: Path, kind: Any, config: Any, why: str
) -> None:
    loaded = saved(kind, config, folder, tmp_path)
    reason = unsuitable(loaded)
    assert reason
    assert why in reason
    with pytest.warns(UserWarning, match="the plain, slow way is used"):
        engine = Engine(loaded)
    asked = requests("options", 0, count=3)
    same_scores(engine.answer(asked), one_by_one(score_rows, engine, asked))
    assert not any(answer.error for answer in engine.answer(requests("generate", 0, count=3, max_new_tokens=4)))
