"""The plan of an evaluation: which questions are asked, which are left out and why, and in what batches."""

import csv
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from jmed.configuration.schema import EvaluateConfig
from jmed.data import catalogue
from jmed.data.item_id import make_item_id
from jmed.data.question import Question
from jmed.errors import UserError
from jmed.evaluation.batches import FILLED, make_batches
from jmed.evaluation.items import Item
from jmed.evaluation.plan import Plan, plan_evaluation
from jmed.inference.request import Request
from jmed.models.tiny import train_tokenizer
from jmed.spool import Spool

CONTEXT = 4096
IMAGE, NO_CHOICES = "needs an image", "no choices, which method letters needs"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """A real byte-level BPE tokenizer with a chat template, trained on a few questions."""
    questions = [question for language in ("ja", "en") for question in catalogue.load("mini", language, None)]
    return train_tokenizer(question.text for question in questions)


def plan_of(tokenizer: Any, *benchmarks: str, max_length: int = CONTEXT, **keys: Any) -> Plan:
    return plan_evaluation(configuration(*benchmarks, **keys), tokenizer, max_length)


def configuration(*benchmarks: str, **keys: Any) -> EvaluateConfig:
    given = {"model": {"path": "m"}, "output_dir": "o", "benchmarks": list(benchmarks), "method": "letters", **keys}
    return EvaluateConfig.model_validate(given)


def refused(tokenizer: Any, *benchmarks: str, **keys: Any) -> str:
    with pytest.raises(UserError) as caught:
        plan_of(tokenizer, *benchmarks, **keys)
    return str(caught.value)


def ids(plan: Plan) -> list[str]:
    return [item.request.item_id for item in plan.items]


def batched_ids(plan: Plan) -> list[list[str]]:
    return [[item.request.item_id for item in batch] for batch in plan.batches]


def row(question_id: str, language: str = "en", **fields: Any) -> dict[str, Any]:
    return {
        "question_id": question_id,
        "language": language,
        "question": f"stem of {question_id}",
        "choices": ["x", "y"],
        "answer": "a",
        **fields,
    }


def jsonl(file: Path, *rows: dict[str, Any]) -> str:
    """Write rows; the name of the benchmark that they make."""
    file.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows), encoding="utf-8")
    return f"jsonl:{file}"


# --- what is asked


@pytest.mark.parametrize(
    ("method", "prompt"), [("letters", "letters"), ("generate", "choice-text"), ("options", "choice-text")]
)
def test_every_question_of_mini_is_asked_in_both_languages(tokenizer: Any, method: str, prompt: str) -> None:
    plan = plan_of(tokenizer, "mini", method=method)
    questions = {(q.question_id, lang): q for lang in ("ja", "en") for q in catalogue.load("mini", lang, None)}
    assert len(plan.items) == len(questions) == 136
    assert ids(plan) == sorted(set(ids(plan)))
    assert ids(plan) == sorted(f"mini/{key}/{language}/{prompt}/{method}" for key, language in questions)
    for item in plan.items:
        assert item.question == questions[item.question.question_id, item.question.language]
        assert item.question.text in item.request.prompt
        assert (item.prompt, item.method) == (prompt, method)
        assert len(item.request.continuations) == (0 if method == "generate" else len(item.question.choices))
    assert not plan.left_out
    assert len(plan.exam_questions) == 136


def test_the_request_carries_the_keys_that_decide_its_answer(tokenizer: Any) -> None:
    config = configuration("mini", method="generate", prompt="chat", max_new_tokens=7)
    request = plan_evaluation(config, tokenizer, CONTEXT, 1.05).items[0].request
    assert (request.max_new_tokens, request.repetition_penalty, request.stop) == (7, 1.05, "end")
    assert plan_of(tokenizer, "mini", method="generate").items[0].request.stop == "line"


def test_a_slash_inside_a_name_is_escaped_so_that_ids_stay_unique(tokenizer: Any, tmp_path: Path) -> None:
    name = jsonl(tmp_path / "q.jsonl", row("a/b"), row("a%2Fb"), row("a"), row("b", "ja"))
    plan = plan_of(tokenizer, name)
    benchmark = name.replace("/", "%2F")
    assert ids(plan) == sorted(
        [
            f"{benchmark}/a%2Fb/en/letters/letters",
            f"{benchmark}/a%252Fb/en/letters/letters",
            f"{benchmark}/a/en/letters/letters",
            f"{benchmark}/b/ja/letters/letters",
        ]
    )


parts = st.tuples(*[st.text(alphabet="a/%2F日", max_size=5)] * 4)


@settings(deadline=None)
@given(parts, parts)
def test_different_questions_never_share_an_id(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    made = [
        make_item_id(Question(benchmark, key, "en", "?", ("x", "y"), (("a",),)), prompt, method)
        for benchmark, key, prompt, method in (one, other)
    ]
    assert (made[0] == made[1]) == (one == other)
    assert all(item_id.count("/") == 4 for item_id in made)


def test_the_digest_is_that_of_what_is_asked(tokenizer: Any, tmp_path: Path) -> None:
    """Of every request, and of nothing else."""
    plans = {
        (text, answer): plan_of(
            tokenizer, jsonl(tmp_path / "q.jsonl", row("1"), row("2", question=text, answer=answer))
        )
        for text in ("this", "that")
        for answer in "ab"
    }
    digests = {key: plan.digest for key, plan in plans.items()}
    assert digests["this", "a"] == digests["this", "b"] != digests["that", "a"] == digests["that", "b"]


def test_a_plan_that_is_mostly_on_disk_is_the_same(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    held = plan_of(tokenizer, "mini", rotations=3)
    monkeypatch.setattr(Spool.__init__, "__defaults__", ((), 5))
    spooled = plan_of(tokenizer, "mini", rotations=3)
    assert list(spooled.items) == list(held.items)
    assert list(spooled.batches) == list(held.batches)
    assert [spooled.batches.size(number) for number in range(len(spooled.batches))] == list(map(len, held.batches))
    assert spooled.digest == held.digest
    asked = [item for batch in spooled.batches for item in batch]
    assert [asked[place] for place in spooled.items.order] == list(held.items)
    assert [spooled.items[place] for place in range(len(asked))] == spooled.items[:] == list(held.items)


def test_a_benchmark_named_twice_is_asked_once(tokenizer: Any) -> None:
    assert ids(plan_of(tokenizer, "mini", "mini", languages=["ja", "ja"])) == ids(
        plan_of(tokenizer, "mini", languages=["ja"])
    )


def test_languages_that_a_benchmark_lacks_are_passed_over_but_one_must_be_left(
    tokenizer: Any, data_root: Path, tmp_path: Path
) -> None:
    root = str(data_root)
    plan = plan_of(tokenizer, "jmmlu-anatomy", "mmlu-anatomy", data_root=root)
    assert {(item.question.benchmark, item.question.language) for item in plan.items} == {
        ("jmmlu-anatomy", "ja"),
        ("mmlu-anatomy", "en"),
    }
    message = refused(tokenizer, "mini", "jmmlu-anatomy", languages=["en"], data_root=root)
    assert message == "languages: jmmlu-anatomy has only ja, not en"
    name = jsonl(tmp_path / "q.jsonl", row("a", "ja"))
    assert refused(tokenizer, name, languages=["en"]) == f"languages: {name} has only ja, not en"


def test_an_empty_file_holds_no_questions(tokenizer: Any, tmp_path: Path) -> None:
    name = jsonl(tmp_path / "q.jsonl")
    assert f"{name!r} holds no questions" in refused(tokenizer, name)


def test_a_limit_counts_in_each_benchmark_and_language_and_takes_the_same_questions(
    tokenizer: Any, data_root: Path
) -> None:
    names = ["igakuqa-2018", "igakuqa-2019", "mini", "jmmlu-anatomy"]
    plan = plan_of(tokenizer, *names, limit=20, data_root=str(data_root))
    asked: dict[tuple[str, str], set[str]] = {}
    for item in plan.items:
        asked.setdefault((item.question.benchmark, item.question.language), set()).add(item.question.question_id)
    assert {key: len(found) for key, found in asked.items()} == dict.fromkeys(
        [(name, "ja") for name in names] + [(name, "en") for name in names[:3]], 20
    )
    for name in names[:3]:
        assert asked[name, "ja"] == asked[name, "en"]
        whole = [
            q for q in catalogue.load(name, "ja", data_root) if not q.needs_image and not q.withdrawn and q.choices
        ]
        assert asked[name, "ja"] == {question.question_id for question in whole[:20]}
    all_of = plan_of(tokenizer, *names, data_root=str(data_root))
    assert plan.left_out == all_of.left_out
    assert plan.exam_questions == all_of.exam_questions


# --- what is left out


def test_what_igakuqa_2018_leaves_out_is_counted_by_reason(tokenizer: Any, data_root: Path) -> None:
    letters = plan_of(tokenizer, "igakuqa-2018", data_root=str(data_root))
    generate = plan_of(tokenizer, "igakuqa-2018", method="generate", data_root=str(data_root))
    for language in ("ja", "en"):
        of_letters = {reason: n for (_, lang, reason), n in letters.left_out.items() if lang == language}
        of_generate = {reason: n for (_, lang, reason), n in generate.left_out.items() if lang == language}
        assert of_letters == {IMAGE: 114, NO_CHOICES: 2}
        assert of_generate == {IMAGE: 114}
    assert len(letters.items) == 2 * 284
    assert len(generate.items) == 2 * 286
    for plan in (letters, generate):
        assert len(plan.items) + plan.left_out.total() == len(plan.exam_questions) == 800
        assert {name for name, _, _ in plan.left_out} == {"igakuqa-2018"}


def test_only_the_papers_scoring_asks_what_was_withdrawn(tokenizer: Any, data_root: Path) -> None:
    """Three questions of 2019 and two of 2020 were taken out of the marking and need no image."""
    names, root = ("igakuqa-2019", "igakuqa-2020"), str(data_root)
    strict = plan_of(tokenizer, *names, languages=["ja"], method="generate", data_root=root)
    paper = plan_of(tokenizer, *names, languages=["ja"], method="generate", scoring="paper", data_root=root)
    assert {key[2] for key in paper.left_out} == {IMAGE}
    reason = "withdrawn from the marking"
    assert strict.left_out - paper.left_out == Counter(
        {("igakuqa-2019", "ja", reason): 3, ("igakuqa-2020", "ja", reason): 2}
    )
    more = set(ids(paper)) - set(ids(strict))
    assert {item_id.split("/")[1] for item_id in more} == {"113A5", "113F42", "113F81", "114E29", "114F63"}
    assert set(ids(strict)) < set(ids(paper))


@pytest.mark.parametrize("scoring", ["strict", "paper"])
def test_what_has_no_right_answer_is_never_asked(tokenizer: Any, data_root: Path, scoring: str) -> None:
    plan = plan_of(tokenizer, "yakugakuqa-2015", scoring=scoring, data_root=str(data_root))
    assert plan.left_out == Counter(
        {
            ("yakugakuqa-2015", "ja", IMAGE): 111,
            ("yakugakuqa-2015", "ja", "withdrawn, no right answer"): 1,
        }
    )
    assert len(plan.items) == 345 - 112
    assert plan.exam_questions == []


def test_nothing_left_to_ask_is_an_error_that_says_why(tokenizer: Any, tmp_path: Path) -> None:
    name = jsonl(tmp_path / "q.jsonl", row("a", choices=[], answer="7.20"), row("b", choices=[], answer="3"))
    message = refused(tokenizer, name)
    assert message.startswith(f"benchmarks: no question is left to ask (2 {NO_CHOICES})")
    assert len(plan_of(tokenizer, name, method="generate").items) == 2


# --- the same plan


def test_the_order_of_the_benchmarks_changes_nothing_but_the_order(tokenizer: Any, data_root: Path) -> None:
    names = ["mini", "igakuqa-2018", "mmlu-anatomy", "jmmlu-anatomy", "pubmedqa"]
    plans = [
        plan_of(tokenizer, *order, languages=languages, shots=2, limit=40, data_root=str(data_root))
        for order, languages in ((names, ["ja", "en"]), (random.Random(3).sample(names, 5), ["en", "ja"]))
    ]
    assert list(plans[0].items) == list(plans[1].items)
    assert list(plans[0].batches) == list(plans[1].batches)
    assert plans[0].left_out == plans[1].left_out
    assert sorted(plans[0].files) == sorted(plans[1].files)


def test_the_plan_is_the_same_every_time_and_for_any_number_of_workers(tokenizer: Any) -> None:
    plans = [plan_of(tokenizer, "mini", shots=3, workers={"count": count}) for count in (1, 7)]
    assert plans[0].digest == plans[1].digest
    assert list(plans[0].items) == list(plans[1].items)
    assert list(plans[0].batches) == list(plans[1].batches)


def test_the_files_that_were_read_are_listed(tokenizer: Any, data_root: Path, tmp_path: Path) -> None:
    name = jsonl(tmp_path / "q.jsonl", row("a"))
    plan = plan_of(tokenizer, name, "mmlu-anatomy", "medqa", data_root=str(data_root), limit=1)
    assert sorted(plan.files) == sorted(
        [
            tmp_path / "q.jsonl",
            data_root / "mmlu/test/anatomy_test.csv",
            data_root / "mmlu/dev/anatomy_dev.csv",
            data_root / "medqa/phrases_no_exclude_test.jsonl",
        ]
    )


# --- batches


def size(item: Item, tokenizer: Any) -> int:
    """Tokens of its row, computed one text at a time."""
    added = [len(tokenizer(option)["input_ids"]) for option in item.request.continuations]
    behind = sum(added) if item.method == "options" else max(added or [item.request.max_new_tokens])
    return len(tokenizer(item.request.prompt)["input_ids"]) + behind


def check_batches(
    items: Sequence[Item], batches: Sequence[Sequence[Item]], tokenizer: Any, budget: int, max_length: int
) -> None:
    """Every item once, the budget kept, the longest first, little padding, items too long for the model alone."""
    asked = [item.request.item_id for batch in batches for item in batch]
    assert sorted(asked) == sorted(item.request.item_id for item in items)
    lengths = []
    for batch in batches:
        sizes = [size(item, tokenizer) for item in batch]
        lengths += sizes
        if len(batch) > 1:
            assert max(sizes) * len(batch) <= budget
            assert max(sizes) <= max_length
            assert min(sizes) >= FILLED * max(sizes)
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("method", ["letters", "options", "generate"])
@pytest.mark.parametrize("budget", [1, 600, 8192])
def test_batches_hold_every_question_once_within_the_budget(
    tokenizer: Any, data_root: Path, method: str, budget: int
) -> None:
    plan = plan_of(
        tokenizer, "mini", "igakuqa-2018", method=method, limit=60, max_new_tokens=16, batch_tokens=budget,
        data_root=str(data_root),
    )  # fmt: skip
    check_batches(plan.items, plan.batches, tokenizer, budget, CONTEXT)
    assert all(batch for batch in plan.batches)
    if budget == 1:
        assert all(len(batch) == 1 for batch in plan.batches)
    if budget == 8192:
        assert max(len(batch) for batch in plan.batches) > 5


def test_what_is_too_long_for_the_model_stands_alone(tokenizer: Any) -> None:
    plan = plan_of(tokenizer, "mini", max_length=120, batch_tokens=100_000)
    long = [item for item in plan.items if size(item, tokenizer) > 120]
    assert 10 < len(long) < len(plan.items) - 10
    alone, shared = plan.batches[: len(long)], plan.batches[len(long) :]
    assert [len(batch) for batch in alone] == [1] * len(long)
    assert sum(len(batch) for batch in shared) == len(plan.items) - len(long)
    assert max(len(batch) for batch in shared) > 20
    check_batches(plan.items, plan.batches, tokenizer, 100_000, 120)


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=25),
    method=st.sampled_from(["generate", "letters", "options"]),
    budget=st.integers(1, 400),
    max_length=st.integers(1, 80),
    order=st.randoms(use_true_random=False),
)
def test_batches_are_right_for_any_lengths_and_any_order(
    tokenizer: Any, lengths: list[int], method: str, budget: int, max_length: int, order: random.Random
) -> None:
    question = Question("b", "q", "en", "?", ("x", "y z"), (("a",),))
    options = () if method == "generate" else (" x", " y z")
    items = [
        Item(question, Request(f"{i:02d}", "熱" * length, options, max_new_tokens=9), "p", method)
        for i, length in enumerate(lengths)
    ]
    batches = make_batches(items, tokenizer, budget, max_length)
    check_batches(items, batches, tokenizer, budget, max_length)
    assert list(make_batches(order.sample(items, len(items)), tokenizer, budget, max_length)) == list(batches)


# --- few-shot examples


def test_mmlu_shows_the_publishers_examples_in_their_order(tokenizer: Any, data_root: Path) -> None:
    with (data_root / "mmlu/dev/anatomy_dev.csv").open(encoding="utf-8", newline="") as stream:
        dev = list(csv.reader(stream))
    examples = [
        f"{stem.strip()}\nA. {a}\nB. {b}\nC. {c}\nD. {d}\nAnswer: {answer}\n\n" for stem, a, b, c, d, answer in dev
    ]
    for count in (1, 3, 5):
        plan = plan_of(tokenizer, "mmlu-anatomy", shots=count, data_root=str(data_root))
        header = "The following are multiple choice questions (with answers) about anatomy.\n\n"
        assert len(plan.items) == 135
        for item in plan.items:
            start = header + "".join(examples[:count]) + item.question.text.strip() + "\nA. "
            assert item.request.prompt.startswith(start)
            assert item.request.prompt.endswith("\nAnswer:")
    message = refused(tokenizer, "mmlu-anatomy", shots=6, data_root=str(data_root))
    assert message == "shots: mmlu-anatomy publishes 5 examples, 6 asked for; ask for fewer"


def test_each_subject_of_mmlu_has_its_own_examples(tokenizer: Any, data_root: Path) -> None:
    plan = plan_of(tokenizer, "mmlu", shots=1, data_root=str(data_root))
    seen: dict[str, set[str]] = {}
    for item in plan.items:
        header, example, _ = item.request.prompt.split("\n\n", 2)
        assert item.question.subset.replace("_", " ") in header
        seen.setdefault(item.question.subset, set()).add(example)
    assert len(seen) == 11
    assert all(len(found) == 1 for found in seen.values())
    assert len({example for found in seen.values() for example in found}) == 11


def test_examples_from_the_benchmark_itself_never_show_the_question(tokenizer: Any, tmp_path: Path) -> None:
    name = jsonl(tmp_path / "q.jsonl", *(row(f"q{i:02d}") for i in range(12)))
    plan = plan_of(tokenizer, name, shots=4)
    for item in plan.items:
        assert item.request.prompt.count(item.question.text) == 1
        assert item.request.prompt.count("stem of") == 5
    assert list(plan_of(tokenizer, name, shots=4, seed=1).items) != list(plan.items)
    message = refused(tokenizer, name, shots=12)
    assert message.startswith(f"shots: 12 examples asked for, but {name} has only 11 usable ones beside question q")


def test_the_same_examples_are_shown_whether_a_question_is_limited_away_or_not(tokenizer: Any, data_root: Path) -> None:
    """`limit` takes questions away, not the pool of examples: the first prompts stay what they are."""
    keys: dict[str, Any] = {"shots": 2, "languages": ["ja"], "data_root": str(data_root)}
    few = plan_of(tokenizer, "igakuqa-2018", limit=10, **keys)
    every = {item.request.item_id: item for item in plan_of(tokenizer, "igakuqa-2018", **keys).items}
    assert [every[item_id] for item_id in ids(few)] == list(few.items)


def test_three_examples_can_be_shown_when_igakuqa_is_answered_in_words(tokenizer: Any, data_root: Path) -> None:
    plan = plan_of(tokenizer, "igakuqa-2018", method="generate", shots=3, data_root=str(data_root))
    assert len(plan.items) == 2 * 286


# --- chat and prompt files


def test_chat_is_wrapped_in_the_models_own_template(tokenizer: Any, qwen2_tokenizer: Path) -> None:
    tiny = plan_of(tokenizer, "mini", prompt="chat", languages=["en"], limit=1).items[0].request
    body = tiny.prompt.removeprefix("<|im_start|>user\n").removesuffix("<|im_end|>\n<|im_start|>assistant\n")
    assert body.startswith("Answer the medical question below. Write only the letter")
    assert "<|im_" not in body
    assert tiny.continuations == ("a", "b", "c", "d", "e")
    real = AutoTokenizer.from_pretrained(qwen2_tokenizer, local_files_only=True)
    request = plan_of(real, "mini", prompt="chat", languages=["en"], limit=1).items[0].request
    assert request.prompt == f"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{tiny.prompt}"


def test_chat_with_examples_has_a_turn_for_each(tokenizer: Any) -> None:
    prompt = plan_of(tokenizer, "mini", prompt="chat", shots=3, limit=1, languages=["ja"]).items[0].request.prompt
    roles = [turn.split("\n")[0] for turn in prompt.split("<|im_start|>")[1:]]
    assert roles == ["user", "assistant"] * 4


def test_chat_needs_a_chat_template(tokenizer: Any) -> None:
    plain = train_tokenizer(["a few words"])
    plain.chat_template = None
    message = refused(plain, "mini", prompt="chat")
    assert message == "prompt: the tokenizer of m has no chat template; use another prompt than chat"
    assert len(plan_of(plain, "mini").items) == 136


def test_the_prompt_must_suit_the_method(tokenizer: Any, tmp_path: Path) -> None:
    message = refused(tokenizer, "mini", prompt="choice-text")
    assert message.startswith("prompt: template 'choice-text' shows the choices without letters, but method is letters")
    assert "no template named 'lettrs'; did you mean 'letters'?" in refused(tokenizer, "mini", prompt="lettrs")
    file = tmp_path / "p.yaml"
    file.write_text('x: "問 {question} {choices} 答"', encoding="utf-8")
    assert "no template named 'letters'" in refused(tokenizer, "mini", prompt_file=str(file))
    plan = plan_of(tokenizer, "mini", prompt="x", prompt_file=str(file), method="options")
    assert all(item_id.endswith("/x/options") for item_id in ids(plan))


def test_every_benchmark_of_the_contract_can_be_planned(qwen2_tokenizer: Path, data_root: Path) -> None:
    real = AutoTokenizer.from_pretrained(qwen2_tokenizer, local_files_only=True)
    names = ["igakuqa", "jmmlu", "mmlu", "medqa", "medmcqa", "pubmedqa", "yakugakuqa", "mini"]
    plan = plan_of(real, *names, data_root=str(data_root), limit=30)
    asked = Counter((item.question.benchmark, item.question.language) for item in plan.items)
    expected = {(name, language) for name in names for language in catalogue.languages_of(name)}
    assert asked == Counter(dict.fromkeys(expected, 30))
    assert ids(plan) == sorted(set(ids(plan)))
    check_batches(plan.items, plan.batches, real, 8192, CONTEXT)
