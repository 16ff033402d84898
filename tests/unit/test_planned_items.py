"""What makes planning fast changes nothing: counted tokens, pickled questions, continuations."""

import pickle
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jmed.data import catalogue
from jmed.data.question import Question
from jmed.evaluation.batches import TokenCounter
from jmed.evaluation.items import Item, Items, to_rows
from jmed.inference.request import Request
from jmed.models.tiny import train_tokenizer
from jmed.prompts.render import render
from jmed.prompts.template import find_template

texts = st.text(max_size=40)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(question.text for question in catalogue.load("mini", "ja", None))


@settings(deadline=None)
@given(st.lists(texts, max_size=8))
def test_tokens_are_counted_as_the_tokenizer_gives_them(tokenizer: Any, given: list[str]) -> None:
    assert TokenCounter(tokenizer)(given) == [len(tokenizer(text)["input_ids"]) for text in given]


class Beginning:
    """A tokenizer that does more than its backend."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.backend_tokenizer = tokenizer, tokenizer.backend_tokenizer

    def __call__(self, given: list[str]) -> dict[str, list[list[int]]]:
        return {"input_ids": [[0, *ids] for ids in self.tokenizer(given)["input_ids"]]}


def test_a_tokenizer_that_does_more_than_its_backend_is_asked_itself(tokenizer: Any) -> None:
    given = ["fever", "a cough for three weeks"]
    counts = TokenCounter(Beginning(tokenizer))(given)
    assert counts == [1 + count for count in TokenCounter(tokenizer)(given)]


questions = st.builds(
    Question, benchmark=texts, question_id=texts, language=st.sampled_from(["ja", "en"]), text=texts,
    choices=st.lists(texts, max_size=5).map(tuple), accepted=st.just((("a",),)), n_answers=st.just(1), context=texts,
    subset=texts, withdrawn=st.booleans(),
)  # fmt: skip


@settings(deadline=None)
@given(questions, texts, st.integers(0, 4))
def test_what_was_on_disk_is_what_comes_back(question: Question, prompt: str, rotation: int) -> None:
    one = Item(question, Request("id", prompt, question.choices, 8, 1.2, "end"), "letters", "options", rotation)
    other = Item(question, Request("other", prompt + "?"), "paper", "generate")
    items = Items([question, question], pa.Table.from_batches([to_rows([one]), to_rows([other])]))
    assert pickle.loads(pickle.dumps(question)) == question
    assert list(items) == items[:] == [one, other]
    assert (items[0], items[-1], items[::-1]) == (one, other, [other, one])


@settings(deadline=None)
@given(questions, texts)
def test_under_a_benchmarks_name_only_the_name_changes(question: Question, name: str) -> None:
    named = question.of_benchmark(name)
    assert named.benchmark == name
    assert named.of_benchmark(question.benchmark) == question


@pytest.mark.parametrize(
    ("method", "name"), [("letters", "letters"), ("options", "letters"), ("options", "choice-text")]
)
def test_a_continuation_is_what_an_example_would_show(method: str, name: str) -> None:
    template = find_template(name, "en", "mini", None)
    for question in catalogue.load("mini", "en", None):
        prompt = render(question, template, method, (), None)
        labels = question.choices if method == "options" else [template.label(i) for i in range(len(question.choices))]
        gap = "" if prompt.text[-1:].isspace() else " "
        assert prompt.continuations == tuple(gap + label for label in labels)
