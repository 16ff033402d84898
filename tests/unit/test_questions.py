"""The questions of a page: all of them, or a sample that does not look at the answers; every text as it was."""

import base64
import gzip
import json
import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jmed.report.questions import GROUP, Questions, cut, mark, pack
from jmed.report.sampling import LONGEST, RunAnswers, draw
from jmed.rows import gather
from tests.page_kit import answer, known, table


def unpack(packed: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def details(questions: Questions) -> list[dict[str, Any]]:
    return [detail for group in questions.groups() for detail in unpack(group)]


def test_index_and_details_hold_what_the_runs_answered() -> None:
    first = [answer("112A10", "ja"), answer("112A2", "en", "b"), answer("112A2", "ja", "")]
    second = [answer("112A10", "ja", "c"), answer("112A2", "ja", error="it failed", correct=False, prediction="")]
    runs = [RunAnswers("one", table(first)), RunAnswers("two", table(second))]
    questions = Questions(runs, known(first))
    index = unpack(questions.index())
    assert index["runs"] == ["one", "two"]
    assert index["values"] == {"benchmarks": ["igakuqa-2018"], "parts": ["2018"], "specialties": ["内科"]}
    assert [row[3:5] for row in index["questions"]] == [["112A2", "u0e-"], ["112A10", "1-0-"]]
    assert index["questions"][0][5:] == ["痛みの原因はどれか。", "What is the cause of the pain?"]
    two, ten = details(questions)
    assert [(one["run"], one["language"], one["mark"]) for one in two["answers"]] == [
        (0, "en", "0"), (0, "ja", "u"), (1, "ja", "e")
    ]  # fmt: skip
    assert two["texts"]["ja"]["text"] == "痛みの原因はどれか。"
    assert [two["prompts"][one["prompt_text"]] for one in two["answers"]] == [
        first[1]["prompt_text"], first[2]["prompt_text"], first[2]["prompt_text"]
    ]  # fmt: skip
    assert len(ten["prompts"]) == 1  # the same for both runs
    assert [one["response"] for one in ten["answers"]] == ["It is a.", "It is c."]


def test_variants_of_a_question_stand_together_and_the_first_gives_the_mark() -> None:
    rows = [answer("q1", "ja", "a"), answer("q1", "ja", "b")]
    rows[1]["item_id"] += "/rotation-1"
    questions = Questions([RunAnswers("one", table(rows))], {})
    assert [row[4] for row in unpack(questions.index())["questions"]] == ["1-"]
    (detail,) = details(questions)
    assert [(one["variant"], one["mark"]) for one in detail["answers"]] == [("", "1"), ("rotation-1", "0")]


def test_groups_follow_the_index() -> None:
    rows = [answer(f"q{n}", language) for n in range(2 * GROUP + 7) for language in ("en", "ja")]
    random.Random(3).shuffle(rows)
    questions = Questions([RunAnswers("one", table(rows))], {})
    ids = [row[3] for row in unpack(questions.index())["questions"]]
    assert ids == [f"q{n}" for n in range(2 * GROUP + 7)]
    assert [len(unpack(group)) for group in questions.groups()] == [GROUP, GROUP, 7]
    assert all(len(detail["answers"]) == 2 for detail in details(questions))
    assert questions.count == questions.total == len(ids)


def test_of_very_many_a_sample_is_shown_that_does_not_look_at_the_answers() -> None:
    rows = [answer(f"q{n}", "ja", "ab"[n % 2]) for n in range(900)]
    turned = [{**row, "correct": not row["correct"], "response": "other"} for row in reversed(rows)]
    one, other = (Questions([RunAnswers("m", table(some))], {}, limit=200) for some in (rows, turned))
    ids, again = ([row[3] for row in unpack(questions.index())["questions"]] for questions in (one, other))
    assert ids == again
    assert (one.count, one.total) == (200, 900)
    shares = sum(row["answers"][0]["mark"] == "1" for row in details(one)) / 200
    assert 0.35 < shares < 0.65


def test_texts_beyond_the_budget_are_left_out_by_whole_questions() -> None:
    rows = [answer(f"q{n}", "ja", response="x" * 1000) for n in range(50)]
    questions = Questions([RunAnswers("m", table(rows))], {}, budget=10_500)
    assert questions.count == 10
    assert Questions([RunAnswers("m", table(rows))], {}, budget=1).count == 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 60).map(str))), st.integers(1, 20))
def test_the_draw_is_a_set_whatever_the_order(names: list[tuple[str, str]], limit: int) -> None:
    drawn, total = draw(names, limit)
    assert total == len(set(names))
    assert len(drawn) == min(limit, total)
    assert draw(sorted(names), limit) == (drawn, total)
    assert draw(names, limit + 1)[0][:limit] == drawn  # a larger sample holds the smaller


@given(st.lists(st.integers(0, 29)))
def test_rows_are_taken_in_their_order(rows: list[int]) -> None:
    pieces = [table([answer(f"q{n}", "ja") for n in range(start, start + 10)]) for start in (0, 10, 20)]
    whole = pa.concat_tables(pieces)
    assert gather(whole.to_batches(), rows)["question_id"].to_pylist() == [f"q{n}" for n in rows]


@given(st.recursive(st.text() | st.integers() | st.booleans() | st.none(), st.lists, max_leaves=20))
def test_what_is_packed_is_what_was_given(value: Any) -> None:
    packed = pack(value)
    assert unpack(packed) == value
    assert set(packed) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")


def test_half_of_a_sign_survives_packing() -> None:
    assert unpack(pack("a\ud800b")) == "a\ud800b"


def test_a_long_text_keeps_both_ends_and_says_how_much_is_missing() -> None:
    text = "s" + "x" * (LONGEST + 41) + "e"
    start, left_out, end = cut(text)
    assert (start[0], end[-1], len(start) + left_out + len(end)) == ("s", "e", len(text))
    assert cut("x" * LONGEST) == "x" * LONGEST


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"error": "broken", "correct": False, "prediction": ""}, "e"),
        ({"error": None, "correct": True, "prediction": "a"}, "1"),
        ({"error": None, "correct": True, "prediction": ""}, "1"),  # every answer counts
        ({"error": None, "correct": False, "prediction": "b"}, "0"),
        ({"error": None, "correct": False, "prediction": ""}, "u"),
    ],
)
def test_marks(row: dict[str, Any], expected: str) -> None:
    assert mark(row) == expected
