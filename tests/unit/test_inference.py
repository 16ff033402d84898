"""Batched answers equal those of one question at a time: plain, with an adapter, in NF4, for every method."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from jmed.configuration.schema import ModelConfig
from jmed.data import catalogue
from jmed.inference.encoding import encode_options, encode_prompt
from jmed.inference.engine import Engine
from jmed.inference.request import Answer, Request
from jmed.inference.tree import area
from jmed.models.loading import load_model
from jmed.models.source import find_model
from jmed.models.tiny import build_tiny_model, train_tokenizer
from jmed.prompts.render import render
from jmed.prompts.template import find_template

BATCH_SIZES = (2, 7)
KINDS = ("plain", "adapter", "nf4", "nf4+adapter")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, qwen2_tokenizer: Path) -> Path:
    """Qwen2's shape and real tokenizer, random weights."""
    tokenizer = AutoTokenizer.from_pretrained(qwen2_tokenizer, local_files_only=True)
    return build_tiny_model(tmp_path_factory.mktemp("base"), tokenizer, context=1024)


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Path:
    """A model of few tokens, which repeats itself: a penalty changes what it says."""
    texts = (question.text for question in catalogue.load("igakuqa-2018", "ja", data_root))
    folder = tmp_path_factory.mktemp("talkative")
    return build_tiny_model(folder, train_tokenizer(texts, vocabulary=400), hidden=32, layers=1)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A LoRA adapter that changes the answers: its B matrices are not zero."""
    return make_adapter(base, tmp_path_factory.mktemp("adapter"))


def make_adapter(base: Path, folder: Path) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False),
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def engines(base: Path, adapter: Path) -> dict[str, Engine]:
    def engine(kind: str) -> Engine:
        with_adapter = str(adapter) if "adapter" in kind else None
        quantization = "nf4" if "nf4" in kind else "none"
        config = ModelConfig(path=str(base), adapter=with_adapter, quantization=quantization)
        return Engine(load_model(find_model(config, offline=True)))

    return {kind: engine(kind) for kind in KINDS}


@pytest.fixture(scope="module")
def requests(data_root: Path) -> dict[str, list[Request]]:
    """Twelve real questions in each language, by method."""
    found: dict[str, list[Request]] = {"letters": [], "options": [], "generate": []}
    for language in ("ja", "en"):
        questions = [q for q in catalogue.load("igakuqa-2018", language, data_root) if not q.needs_image and q.choices]
        for method, requests in found.items():
            template = find_template("letters" if method == "letters" else "choice-text", language, "igakuqa", None)
            for question in questions[:12]:
                prompt = render(question, template, method, [], None)
                item_id = f"{question.question_id}/{language}"
                requests.append(Request(item_id, prompt.text, prompt.continuations, max_new_tokens=16))
    return found


def in_batches(engine: Engine, requests: list[Request], size: int) -> list[Answer]:
    return [answer for i in range(0, len(requests), size) for answer in engine.answer(requests[i : i + size])]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["letters", "options"])
def test_batched_log_probabilities_equal_single_ones(
    engines: dict[str, Engine], requests: dict[str, list[Request]], kind: str, method: str
) -> None:
    single = in_batches(engines[kind], requests[method], 1)
    assert not any(answer.error for answer in single)
    for size in BATCH_SIZES:
        batched = in_batches(engines[kind], requests[method], size)
        assert [answer.item_id for answer in batched] == [request.item_id for request in requests[method]]
        for one, other in zip(single, batched, strict=True):
            assert other.logprobs == pytest.approx(one.logprobs, abs=1e-4, rel=0)
            assert (other.tokens_in, other.tokens_out) == (one.tokens_in, one.tokens_out)


@pytest.mark.parametrize(("kind", "penalty"), [*((kind, 1.0) for kind in KINDS), ("plain", 1.3)])
def test_batched_texts_equal_single_ones(
    engines: dict[str, Engine], requests: dict[str, list[Request]], kind: str, penalty: float
) -> None:
    asked = [replace(request, repetition_penalty=penalty) for request in requests["generate"]]
    single = in_batches(engines[kind], asked, 1)
    assert any(answer.response for answer in single)
    for size in BATCH_SIZES:
        assert in_batches(engines[kind], asked, size) == single


@pytest.mark.parametrize("method", ["letters", "options", "generate"])
def test_a_machine_with_little_memory_computes_a_batch_in_parts(
    engines: dict[str, Engine], requests: dict[str, list[Request]], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget of its node's label: no pass is larger, and the answers are those of the whole batch."""
    asked = requests[method][:12]
    loaded = engines["plain"].loaded
    longest = max(area(loaded.tokenizer, [request], loaded.max_length) for request in asked)
    budget = 2 * longest
    engine = Engine(loaded, batch_tokens=budget)
    sizes: list[int] = []
    original = Engine._run

    def run(self: Engine, batch: Sequence[Request]) -> list[Answer]:
        sizes.append(area(self.loaded.tokenizer, batch, self.loaded.max_length))
        return original(self, batch)

    whole = engines["plain"].answer(asked)
    monkeypatch.setattr(Engine, "_run", run)
    parts = engine.answer(asked)
    assert len(sizes) > 1
    assert max(sizes) <= budget
    for one, other in zip(whole, parts, strict=True):
        assert (one.item_id, one.response, one.error) == (other.item_id, other.response, other.error)
        assert other.logprobs == pytest.approx(one.logprobs, abs=1e-4, rel=0)


def test_adapter_and_quantisation_change_the_answers(
    engines: dict[str, Engine], requests: dict[str, list[Request]]
) -> None:
    """Otherwise the comparisons above would compare the base with itself."""
    answers = {kind: engines[kind].answer(requests["letters"][:1])[0].logprobs for kind in KINDS}
    for kind in KINDS[1:]:
        assert answers[kind] != pytest.approx(answers["plain"], abs=1e-2)


def test_log_probabilities_equal_the_textbook_way(
    engines: dict[str, Engine], requests: dict[str, list[Request]]
) -> None:
    """One option at a time, full logits, log-softmax, sum over the continuation's tokens."""
    loaded = engines["plain"].loaded
    for request in [*requests["letters"][:3], *requests["options"][:3], *requests["options"][-3:]]:
        encoded = encode_options(loaded.tokenizer, request, loaded.max_length)
        expected = []
        for sequence in encoded.sequences:
            with torch.inference_mode():
                logits = loaded.model(torch.tensor([sequence[:-1]])).logits[0].double()
            steps = [logits[i - 1].log_softmax(-1)[sequence[i]] for i in range(encoded.start, len(sequence))]
            expected.append(float(sum(steps)))
        assert engines["plain"].answer([request])[0].logprobs == pytest.approx(expected, abs=1e-4)


def test_penalty_equals_that_of_transformers(talkative: Path, requests: dict[str, list[Request]]) -> None:
    loaded = load_model(find_model(ModelConfig(path=str(talkative)), offline=True))
    engine = Engine(loaded)
    changed = 0
    for request in requests["generate"][:6]:
        ids = loaded.tokenizer(request.prompt, return_tensors="pt")
        output = loaded.model.generate(
            **ids, do_sample=False, max_new_tokens=16, repetition_penalty=1.3, pad_token_id=loaded.pad_id
        )
        text = loaded.tokenizer.decode(output[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        penalised, plain = (replace(request, repetition_penalty=p, stop="end") for p in (1.3, 1.0))
        assert engine.answer([penalised])[0].response == text.strip()
        changed += engine.answer([plain])[0].response != text.strip()
    assert changed, "the penalty must matter here"


@pytest.mark.parametrize("with_adapter", [False, True])
def test_the_generation_settings_of_a_folder_are_not_applied_by_themselves(
    tmp_path: Path, talkative: Path, requests: dict[str, list[Request]], with_adapter: bool
) -> None:
    """A folder that asks for a penalty, beams and stop strings answers as the same model without these."""
    folder = tmp_path / "model"
    shutil.copytree(talkative, folder)
    settings = json.loads((folder / "generation_config.json").read_text("utf-8"))
    settings |= {"repetition_penalty": 1.5, "num_beams": 3, "stop_strings": ["の"], "min_new_tokens": 9}
    (folder / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    adapter = str(make_adapter(talkative, tmp_path / "adapter")) if with_adapter else None
    plain, penalised = ([replace(r, repetition_penalty=p) for r in requests["generate"]] for p in (1.0, 1.5))
    answers = []
    for path in (talkative, folder):
        engine = Engine(load_model(find_model(ModelConfig(path=str(path), adapter=adapter), offline=True)))
        answers.append([engine.answer(plain), engine.answer(penalised)])
        assert in_batches(engine, penalised, 1) == in_batches(engine, penalised, 5)
    assert answers[0] == answers[1]
    assert answers[0][0] != answers[0][1]


def test_rows_of_a_batch_stop_by_their_own_rule(engines: dict[str, Engine], requests: dict[str, list[Request]]) -> None:
    asked = [
        replace(request, max_new_tokens=64, stop=("line", "end")[number % 2])
        for number, request in enumerate(requests["generate"][:10])
    ]
    assert engines["plain"].answer(asked) == in_batches(engines["plain"], asked, 1)


def test_a_tokenizer_that_ends_every_text_does_not_end_the_prompt(qwen2_tokenizer: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = AutoTokenizer.from_pretrained(qwen2_tokenizer, local_files_only=True)
    plain = encode_prompt(tokenizer, "Answer:")
    end = (tokenizer.eos_token, tokenizer.eos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"$A {end[0]}", special_tokens=[end])
    assert tokenizer("Answer:")["input_ids"] == [*plain, tokenizer.eos_token_id]
    assert encode_prompt(tokenizer, "Answer:") == plain
    assert encode_prompt(tokenizer, f"Answer:{end[0]}")[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("method", ["letters", "generate"])
def test_a_model_without_numbers_gives_errors_not_answers(
    base: Path, requests: dict[str, list[Request]], method: str
) -> None:
    engine = Engine(load_model(find_model(ModelConfig(path=str(base)), offline=True)))
    engine.loaded.model.get_output_embeddings().weight.data[5] = float("nan")
    for answer in engine.answer(requests[method][:3]):
        assert answer.error is not None
        assert "NaN" in answer.error


def test_padding_needs_no_padding_token(tmp_path: Path, base: Path, requests: dict[str, list[Request]]) -> None:
    """A tokenizer without one, or with one that the model has no row for, answers in batches all the same."""
    expected = None
    for pad in ("<|endoftext|>", None, "[PAD]"):
        folder = tmp_path / str(pad)
        shutil.copytree(base, folder)
        settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8")) | {"pad_token": pad}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
        engine = Engine(load_model(find_model(ModelConfig(path=str(folder)), offline=True)))
        answers = engine.answer(requests["letters"][:5]) + engine.answer(requests["generate"][:5])
        expected = expected or answers
        assert answers == expected
        assert not any(answer.error for answer in answers)


@pytest.mark.parametrize("method", ["letters", "options", "generate"])
def test_too_long_a_prompt_is_an_error_on_its_row_alone(
    engines: dict[str, Engine], requests: dict[str, list[Request]], method: str
) -> None:
    first, second = requests[method][:2]
    long = replace(second, item_id="long", prompt=second.prompt * 40)
    answers = engines["plain"].answer([first, long, second])
    assert [answer.item_id for answer in answers] == [first.item_id, "long", second.item_id]
    assert answers[1].error is not None
    assert "the model takes 1,024" in answers[1].error
    assert answers[0].error is None
    assert answers[2].error is None


def test_an_empty_continuation_is_an_error_not_a_probability_of_one(engines: dict[str, Engine]) -> None:
    answer = engines["plain"].answer([Request("x", "答え：", ("a", ""))])[0]
    assert answer.error is not None
    assert "adds no token" in answer.error


@pytest.mark.parametrize("options", [("a", "b"), ("\n癌", "炎"), ("応", "答")])
def test_a_merge_across_the_border_leaves_options_comparable(
    engines: dict[str, Engine], options: tuple[str, str]
) -> None:
    """All options of a question are scored from the same token on, and the tokens are those of the whole text."""
    loaded = engines["plain"].loaded
    encoded = encode_options(loaded.tokenizer, Request("x", "### 応答：", options), loaded.max_length)
    for sequence, option in zip(encoded.sequences, options, strict=True):
        assert list(sequence) == loaded.tokenizer("### 応答：" + option)["input_ids"]
        assert len(sequence) > encoded.start


def test_generation_stops_at_the_first_line_and_at_the_end_token(
    tmp_path: Path, engines: dict[str, Engine], requests: dict[str, list[Request]]
) -> None:
    """What is generated further on is never seen: the same prompt with more room gives the same first line."""
    engine = engines["plain"]
    asked = [replace(request, max_new_tokens=200) for request in requests["generate"]]
    lines = in_batches(engine, asked, 8)
    whole = in_batches(engine, [replace(request, stop="end") for request in asked], 8)
    stopped = [one for one, all_ in zip(lines, whole, strict=True) if one.tokens_out < all_.tokens_out]
    assert stopped, "no answer of this model has a line break; the test needs one that has"
    for one, all_ in zip(lines, whole, strict=True):
        assert one.response == all_.response.split("\n")[0].strip()


def test_a_request_that_fails_does_not_take_its_batch_with_it(engines: dict[str, Engine]) -> None:
    good = [Request(str(i), f"question {i}\nAnswer:", (" A", " B")) for i in range(5)]
    answers = engines["plain"].answer([*good[:2], Request("bad", "x", ("", "")), *good[2:]])
    assert [answer.error is None for answer in answers] == [True, True, False, True, True, True]


def test_the_tiny_tokenizer_gives_every_text_back(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["高血圧の治療", "the treatment of hypertension"])
    for text in ("高血圧は？ α遮断薬🙂\n\tx", "plain", "  two  blanks "):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    folder = build_tiny_model(tmp_path / "tiny", tokenizer)
    twice = build_tiny_model(tmp_path / "again", tokenizer)
    assert (folder / "model.safetensors").read_bytes() == (twice / "model.safetensors").read_bytes()
    shutil.rmtree(folder)
