"""Choices in other orders: what is asked, how it is read back, and that no score knows of it."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from jmed.data import catalogue
from jmed.data.question import LETTERS, Question
from jmed.data.rotation import published_letters, rotate
from jmed.evaluation.marks import Piece, mark_answers
from jmed.evaluation.plan import Plan
from jmed.evaluation.results import make_results
from jmed.evaluation.table import RAW_ANSWERS
from jmed.inference.request import Answer
from jmed.models.tiny import train_tokenizer
from jmed.scoring.reading import is_correct, read_answer
from tests.run_kit import answered, question
from tests.unit.test_plan import ids, plan_of

CHOICES = ("肺炎", "心不全", "喘息", "肺塞栓", "気胸")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(one.text for one in catalogue.load("mini", "ja", None))


@st.composite
def questions(draw: st.DrawFn) -> Question:
    count = draw(st.integers(2, 8))
    letters = st.sampled_from(LETTERS[:count])
    answer = tuple(sorted(draw(st.sets(letters, min_size=1, max_size=3))))
    choices = tuple(f"choice {number}" for number in range(count))
    return question("q", choices=choices, accepted=(answer,), n_answers=len(answer), prohibited=(draw(letters),))


@given(questions(), st.data())
def test_an_answer_is_as_right_in_any_order(one: Question, data: st.DataObject) -> None:
    by = data.draw(st.integers(0, len(one.choices) - 1))
    shown = rotate(one, by)
    picked = tuple(sorted(data.draw(st.sets(st.sampled_from(LETTERS[: len(one.choices)]), min_size=1))))
    back = published_letters(picked, by, len(one.choices))
    assert {shown.choices[LETTERS.index(x)] for x in picked} == {one.choices[LETTERS.index(x)] for x in back}
    assert is_correct(picked, shown) == is_correct(back, one)
    assert (picked == shown.prohibited) == (back == one.prohibited)


@given(questions())
def test_over_all_rotations_each_choice_stands_at_each_place_once(one: Question) -> None:
    orders = [rotate(one, by).choices for by in range(len(one.choices))]
    assert orders[0] == one.choices
    assert all(len(set(place)) == len(one.choices) for place in zip(*orders, strict=True))


def test_no_choices_nothing_to_rotate() -> None:
    number = question("n", choices=(), accepted=(("7.20",),))
    assert rotate(number, 0) == number


# --- what is asked


@pytest.mark.parametrize("method", ["letters", "options", "generate"])
def test_the_drawn_questions_are_asked_in_all_orders(tokenizer: Any, method: str) -> None:
    plain = plan_of(tokenizer, "mini", method=method, languages=["ja", "en"], limit=30)
    plan = plan_of(tokenizer, "mini", method=method, languages=["ja", "en"], limit=30, rotations=4)
    assert set(ids(plain)) < set(ids(plan))
    assert ids(plan) == sorted(ids(plan))
    more = [item for item in plan.items if item.rotation]
    assert len(plan.items) == len(plain.items) + len(more)
    by_language = {(item.question.language, item.question.question_id) for item in more}
    assert Counter(language for language, _ in by_language) == {"ja": 4, "en": 4}
    assert {one for language, one in by_language if language == "ja"} == {
        one for language, one in by_language if language == "en"
    }
    for item in more:
        assert item.request.item_id.endswith(f"/{method}/rotation-{item.rotation}")
        assert 0 < item.rotation < len(item.question.choices)
        if method == "options":
            shown = [text.strip() for text in item.request.continuations]
            assert shown == list(rotate(item.question, item.rotation).choices)


def test_the_draw_is_by_seed(tokenizer: Any) -> None:
    def drawn(**keys: Any) -> set[str]:
        plan = plan_of(tokenizer, "mini", languages=["ja"], rotations=5, **keys)
        return {item.question.question_id for item in plan.items if item.rotation}

    assert drawn() == drawn() != drawn(seed=1)


# --- how it is marked


def test_answers_are_read_in_the_order_shown_and_written_in_the_published_one() -> None:
    one = question("q", choices=CHOICES, accepted=(("d",),))
    (row,) = answered(one, "d", rotation=2).rows("m").to_pylist()
    assert row["choices"] == ["喘息", "肺塞栓", "気胸", "肺炎", "心不全"]
    assert (row["prediction"], row["gold"], row["correct"]) == ("d", "d", True)
    assert row["option_logprobs"][1] == max(row["option_logprobs"])


def marked_all(plan: Plan, scoring: str, **answer: Any) -> list[Piece]:
    """The plan's items, each with this answer."""
    item_ids = plan.batches.items.rows["item_id"].to_pylist()
    answers = pa.Table.from_pylist([vars(Answer(item_id, **answer)) for item_id in item_ids], RAW_ANSWERS)
    return list(mark_answers(plan, answers, scoring))


def test_generated_text_is_read_against_the_order_shown(tokenizer: Any) -> None:
    plan = plan_of(tokenizer, "mini", method="generate", prompt="chat", languages=["ja"], rotations=3)
    for piece in marked_all(plan, "paper", response="b"):
        for one, row in zip(piece.marked, piece.rows("m").to_pylist(), strict=True):
            shown = rotate(one.question, one.rotation)
            assert row["correct"] == is_correct(read_answer("b", shown), shown)
            assert (row["exact_match"] is None) == bool(one.rotation)  # the paper's evaluator asks in one order only


def test_no_score_knows_of_other_orders(tokenizer: Any) -> None:
    def results(plan: Plan) -> dict[str, Any]:
        pieces = marked_all(plan, "strict", logprobs=(0.0, -1.0, -2.0, -3.0, -4.0))
        marked = [one for piece in pieces for one in piece.marked]
        return make_results("m", marked, plan.exam_questions, plan.left_out, {})

    plain, more = (results(plan_of(tokenizer, "mini", rotations=n)) for n in (0, 9))
    assert plain == more
