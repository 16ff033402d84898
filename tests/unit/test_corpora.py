"""Training files of every format, real and wrong, and benchmarks as training data."""

import json
from pathlib import Path
from typing import Any

import pytest

from jmed.data import catalogue
from jmed.data.corpora import benchmark_examples, read_examples
from jmed.data.examples import Example
from jmed.errors import UserError

QUESTION = {"question_id": "1", "language": "ja", "question": "どれか。", "choices": ["甲", "乙"], "answer": "b"}


def write(folder: Path, *rows: object) -> Path:
    """A JSON-lines file; a row that is text stands there as it is."""
    path = folder / "data.jsonl"
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def examples(folder: Path, format: str, *rows: object, language: str | None = None) -> list[Example]:
    return list(read_examples(write(folder, *rows), format, language))


def refused(folder: Path, format: str, *rows: object, language: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        examples(folder, format, *rows, language=language)
    return str(caught.value)


# --- What is right


@pytest.mark.parametrize(("name", "count"), [("case_reports_ja", 253), ("pharmacy_explanations_ja", 3494)])
def test_real_corpora(data_root: Path, name: str, count: int) -> None:
    path = data_root / "corpora" / f"{name}.jsonl"
    found = list(read_examples(path, "text", "ja"))
    assert len(found) == count
    published = [json.loads(line)["text"] for line in path.read_text("utf-8").splitlines()]
    assert [example.text for example in found] == published
    assert found[1].place == f"{path}:2"
    assert {example.language for example in found} == {"ja"}
    assert {(example.messages, example.question) for example in found} == {((), None)}


def test_alpaca_becomes_one_turn(tmp_path: Path) -> None:
    found = examples(
        tmp_path, "alpaca",
        {"instruction": "要約せよ。\n", "input": " 症例 ", "output": " 肺炎\n", "id": 7},
        {"instruction": "何か。", "output": "薬"},
        {"instruction": "何か。", "input": "", "output": "薬"},
        {"instruction": "何か。", "input": None, "output": "薬"},
        {"instruction": "何か。", "input": " \n", "output": "薬"},
    )  # fmt: skip
    assert found[0].messages == (("user", "要約せよ。\n\n\n 症例 "), ("assistant", " 肺炎\n"))
    assert {example.messages for example in found[1:]} == {(("user", "何か。"), ("assistant", "薬"))}
    assert [example.place.rpartition(":")[2] for example in found] == ["1", "2", "3", "4", "5"]
    assert found[0].language is None


def test_chat_keeps_its_turns(tmp_path: Path) -> None:
    turns = [("system", "医師"), ("user", "a"), ("assistant", " b "), ("user", "c"), ("assistant", "d")]
    row = {"messages": [{"role": role, "content": content, "name": "x"} for role, content in turns]}
    short = {"messages": row["messages"][1:3]}
    found = examples(tmp_path, "chat", row, short, language="ja")
    assert found[0].messages == tuple(turns)
    assert found[1].messages == tuple(turns[1:3])
    assert found[0].language == "ja"


def test_mcqa_leaves_out_other_languages(tmp_path: Path) -> None:
    rows = [QUESTION, {**QUESTION, "question_id": "2", "language": "en"}]
    found = examples(tmp_path, "mcqa", *rows)
    assert [(example.language, example.question.accepted) for example in found if example.question] == [
        ("ja", (("b",),)),
        ("en", (("b",),)),
    ]
    only = examples(tmp_path, "mcqa", *rows, language="en")
    assert [example.question.question_id for example in only if example.question] == ["2"]
    assert only[0].place == f"{tmp_path / 'data.jsonl'}:2"


def test_blank_lines_and_a_byte_order_mark_are_no_matter(tmp_path: Path) -> None:
    found = examples(tmp_path, "text", '\ufeff{"text": "a"}', "", "  ", '{"text": "b"}')
    assert [(example.text, example.place[-2:]) for example in found] == [("a", ":1"), ("b", ":4")]


def test_a_file_is_read_as_it_is_used(tmp_path: Path) -> None:
    stream = read_examples(write(tmp_path, {"text": "a"}, "not JSON"), "text", None)
    assert next(stream).text == "a"
    with pytest.raises(UserError, match=r":2: not JSON"):
        next(stream)


# --- What is wrong


def said(*turns: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


USER, ASSISTANT, SYSTEM = ("user", "a"), ("assistant", "b"), ("system", "c")


@pytest.mark.parametrize(
    ("format", "row", "message"),
    [
        ("text", "{", "not JSON: "),
        ("text", "[1]", "found a list; expected a JSON object"),
        ("text", {"txt": "a"}, "field 'text' is missing; fields found: txt"),
        ("text", {"text": None}, "field 'text' is null; expected text"),
        ("text", {"text": 3}, "field 'text' is a number; expected text"),
        ("text", {"text": ""}, "field 'text' is empty; expected text"),
        ("text", {"text": " \u3000\n"}, "field 'text' is empty; expected text"),
        ("text", '{"text": "\\ud83d"}', "field 'text' holds half of a surrogate pair; expected valid Unicode"),
        ("alpaca", {"instruction": "a"}, "field 'output' is missing; fields found: instruction"),
        ("alpaca", {"output": "a"}, "field 'instruction' is missing; fields found: output"),
        ("alpaca", {"instruction": "a", "output": " "}, "field 'output' is empty; expected text"),
        ("alpaca", {"instruction": " ", "output": "a"}, "field 'instruction' is empty; expected text"),
        ("alpaca", {"instruction": "a", "input": 1, "output": "a"}, "field 'input' is a number; expected text"),
        ("chat", {"text": "a"}, "field 'messages' is missing; expected a list of {role, content}"),
        ("chat", {"messages": []}, "field 'messages' is empty; expected a list of {role, content}"),
        ("chat", {"messages": "a"}, "field 'messages' is no list; expected a list of {role, content}"),
        ("chat", {"messages": ["a"]}, "message 1 is no object; expected {role, content}"),
        ("chat", {"messages": [{"role": "user"}]}, "field 'messages[0].content' is missing; fields found: role"),
        ("chat", said(("user", "")), "field 'messages[0].content' is empty; expected text"),
        ("chat", said(USER, ("assistant", " ")), "field 'messages[1].content' is empty; expected text"),
        ("chat", said(USER, ("model", "b")), "'messages[1].role' is 'model'; expected system, user or assistant"),
        ("chat", said(USER), "roles are user; expected user and assistant by turns"),
        ("chat", said(SYSTEM), "roles are system; expected user and assistant by turns"),
        ("chat", said(ASSISTANT), "roles are assistant; expected user and assistant by turns"),
        ("chat", said(USER, USER, ASSISTANT), "roles are user, user, assistant; expected"),
        ("chat", said(USER, ASSISTANT, USER), "roles are user, assistant, user; expected"),
        ("chat", said(USER, SYSTEM, ASSISTANT), "roles are user, system, assistant; expected"),
        ("chat", said(SYSTEM, SYSTEM, USER, ASSISTANT), "system only in front"),
        ("mcqa", {**QUESTION, "answer": "c"}, "the answer 'c' of question '1' is none of its 2 choices"),
        ("mcqa", {**QUESTION, "language": "de"}, "field 'language' is 'de'; expected ja or en"),
        ("mcqa", {"question_id": "1"}, "field 'choices' is missing"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(tmp_path: Path, format: str, row: object, message: str) -> None:
    right = {"text": {"text": "a"}, "mcqa": QUESTION, "chat": said(USER, ASSISTANT)}
    first = right.get(format, {"instruction": "a", "output": "b"})
    said_so = refused(tmp_path, format, first, row)
    assert said_so.startswith(f"{tmp_path / 'data.jsonl'}:2: ")
    assert message in said_so


def test_a_source_without_examples_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, "text").endswith("data.jsonl: holds no training examples: it has no lines")
    assert refused(tmp_path, "text", "", " ").endswith("it has no lines")
    assert refused(tmp_path, "mcqa", QUESTION, language="en").endswith("none of its 1 questions is in en")
    with pytest.raises(UserError, match="there is no such file"):
        list(read_examples(tmp_path / "missing.jsonl", "text", None))
    with pytest.raises(UserError, match="cannot be read"):
        list(read_examples(tmp_path, "text", None))


# --- Benchmarks


def test_a_benchmark_gives_what_can_be_learnt(data_root: Path) -> None:
    found = list(benchmark_examples("yakugakuqa-2015", "ja", data_root))
    questions = catalogue.load("yakugakuqa-2015", "ja", data_root)
    kept = [q for q in questions if not q.needs_image and not q.withdrawn and q.accepted]
    assert [example.question for example in found] == kept
    assert 0 < len(kept) < len(questions)
    assert found[0].place == f"yakugakuqa-2015/{kept[0].question_id}"
    assert {example.language for example in found} == {"ja"}


def test_withdrawn_questions_are_never_taught(data_root: Path) -> None:
    assert any(q.withdrawn and q.accepted and not q.needs_image for q in catalogue.load("igakuqa", "ja", data_root))
    for name in ("igakuqa", "yakugakuqa"):
        for example in benchmark_examples(name, None, data_root):
            question = example.question
            assert question is not None
            assert question.accepted
            assert not question.needs_image
            assert not question.withdrawn


def test_a_benchmark_comes_in_its_languages() -> None:
    found = list(benchmark_examples("mini", None, Path()))
    assert {example.language for example in found} == {"ja", "en"}
    only = list(benchmark_examples("mini", "en", Path()))
    assert only == [example for example in found if example.language == "en"]


def test_a_language_that_a_benchmark_lacks_is_refused(data_root: Path) -> None:
    with pytest.raises(UserError, match="has no questions in 'ja'; it has en"):
        list(benchmark_examples("medqa", "ja", data_root))


def test_a_benchmark_of_which_nothing_is_left_is_refused(tmp_path: Path, data_root: Path) -> None:
    folder = tmp_path / "yakugakuqa" / "data" / "2015"
    folder.mkdir(parents=True)
    published = data_root / "yakugakuqa" / "data" / "2015" / "100-A.jsonl"
    rows = [{**json.loads(line), "text_only": False} for line in published.read_text("utf-8").splitlines()]
    write(folder, *rows).rename(folder / "100-A.jsonl")
    with pytest.raises(UserError, match="'yakugakuqa-2015': holds no question that can be learnt from"):
        list(benchmark_examples("yakugakuqa-2015", None, tmp_path))
