"""The model card: what must be said is said, in both languages, whatever the names; and the chain is kept."""

import json
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pydantic import ValidationError

from jmed.errors import UserError
from jmed.runs.card import Card, Contamination, Data, Exam, Origin, Prompt, Step, make_readme, read_lineage, write_card

HASH = "0123456789ab" + "c" * 52
CLEAN = Contamination(action="refuse", benchmarks=["igakuqa"], overlaps=0, dropped=0, verdict="clean")
PRETRAIN: dict[str, Any] = {
    "kind": "model", "name": "naika", "base": Origin(name="Qwen/Qwen2-7B", files={"model.safetensors": HASH}),
    "stage": "pretrain", "tuning": "full", "contamination": CLEAN, "created": date(2025, 1, 2),
    "data": [Data(name="naika.jsonl", format="text", language="ja", sha256=HASH, examples=6120, sequences=1800,
                  tokens=2_400_000)],
}  # fmt: skip
INSTRUCT: dict[str, Any] = {
    "kind": "adapter", "name": "igaku-lora", "base": Origin(name="naika", files={"model.safetensors": "d" * 64}),
    "stage": "instruct", "tuning": "qlora", "contamination": CLEAN,
    "settings": {"lora": {"r": 16, "targets": "all-linear"}, "learning_rate": 0.0002},
    "data": [Data(name="qa.jsonl", format="alpaca", language="en", weight=0.5, examples=10, sequences=11, tokens=12)],
    "prompts": [Prompt(name="choice-text", sha256=HASH)], "versions": {"jmed": "0.1.0", "torch": "2.13"},
    "exams": [Exam(benchmark="igakuqa-2018", language="ja", method="options", correct=201, n=400, value=0.5025,
                   ci_low=0.4537, ci_high=0.5512, step=10, epoch=1.0)],
}  # fmt: skip
MERGE: dict[str, Any] = {
    "kind": "model", "name": "naika+igaku-lora", "base": INSTRUCT["base"], "stage": "merge",
    "adapter": Origin(name="igaku-lora", files={"adapter_model.safetensors": "e" * 64}),
}  # fmt: skip
CHAIN = Card(**MERGE, parents=[Step(**PRETRAIN), Step(**INSTRUCT)])


def front(text: str) -> dict[str, Any]:
    return yaml.safe_load(text.split("\n---\n")[0])


def tables(text: str) -> list[list[str]]:
    """Cells of every table row of a Markdown text, as a reader sees them."""
    rows: list[list[str]] = []
    tokens = MarkdownIt().enable("table").parse(text)
    for before, token in pairwise(tokens):
        if before.type == "tr_open":
            rows.append([])
        if before.type in ("th_open", "td_open"):
            rows[-1].append("".join(child.content for child in token.children or []))
    return rows


def kinds(text: str) -> set[str]:
    """What kinds of inline Markdown a text holds."""
    return {child.type for token in MarkdownIt().enable("table").parse(text) for child in token.children or []}


def test_the_front_matter_is_what_the_hub_reads() -> None:
    assert front(make_readme(Card(**INSTRUCT, parents=[Step(**PRETRAIN)]))) == {
        "base_model": "naika",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "language": ["en", "ja"],
        "license": "other",
        "tags": ["medical", "jmed", "pretrain", "instruct", "lora"],
    }
    merged = front(make_readme(CHAIN))
    assert (merged["library_name"], merged["base_model_relation"]) == ("transformers", "finetune")
    bare = front(make_readme(Card(**{**PRETRAIN, "data": [], "license": "apache-2.0"})))
    assert bare["license"] == "apache-2.0"
    assert "language" not in bare


@pytest.mark.parametrize("card", [Card(**PRETRAIN), Card(**INSTRUCT), CHAIN], ids=["pretrain", "instruct", "merge"])
def test_every_card_says_what_it_must_in_both_languages(card: Card) -> None:
    text = make_readme(card)
    for sentence in (
        "An exam score is no clearance for clinical use.",
        "試験の得点は、臨床での使用を認めるものではありません。",
        "The licence terms of the base model and of every data set below apply to this model too",
        "基盤モデルと上記の各学習データの利用条件が、このモデルにも及びます。",
    ):
        assert sentence in text
    summary = text.split("## 日本語の要約")[1]
    for step in card.steps:
        for data in step.data:
            assert [row[0] for row in tables(text)].count(data.name) == 1
            assert data.name in summary


def test_data_scores_settings_and_prompts_stand_in_it() -> None:
    text = make_readme(Card(**INSTRUCT))
    rows = tables(text)
    assert ["qa.jsonl", "alpaca", "en", "0.5", "10", "11", "12", "–"] in rows
    assert ["igakuqa-2018", "ja", "options", "10", "1.0", "201/400", "50.2 %", "45.4 % to 55.1 %"] in rows
    assert ["lora.r", "16"] in rows
    assert ["lora.targets", "all-linear"] in rows
    assert "- prompt: choice-text (SHA-256 `0123456789ab`)" in text
    assert "Made with jmed 0.1.0, torch 2.13." in text
    assert "Contamination: checked against igakuqa (action: refuse); 0 training examples held their questions" in text
    assert "naika.jsonl" in {row[0] for row in tables(make_readme(CHAIN))}
    several = Data(name="igakuqa", format="benchmark", sha256={"a": HASH, "b": HASH}, examples=1, sequences=1, tokens=1)
    assert tables(make_readme(Card(**{**INSTRUCT, "data": [several]})))[1][-1] == "2 files"


@pytest.mark.parametrize(
    ("changes", "english", "japanese"),
    [
        ({"contamination": None}, "NO CONTAMINATION CHECK RAN", "確認されていません"),
        (
            {"contamination": Contamination(action="refuse", benchmarks=[], overlaps=0, dropped=0,
                                            verdict="not checked")},
            "NO CONTAMINATION CHECK RAN", "確認されていません",
        ),
        (
            {"contamination": Contamination(action="report", benchmarks=["igakuqa", "medqa"], overlaps=7, dropped=0,
                                            verdict="overlap")},
            "TRAINED ON EXAM QUESTIONS.** 7 training examples hold questions of igakuqa, medqa", "学習例7件",
        ),
        ({"stage": "unknown"}, "THE TRAINING IS UNKNOWN", "学習内容は不明です"),
    ],
    ids=["none", "not checked", "overlap", "unknown"],
)  # fmt: skip
def test_doubts_are_loud_in_this_card_and_in_every_later_one(changes: Any, english: str, japanese: str) -> None:
    step = {**INSTRUCT, **changes}
    later = Card(**MERGE, parents=[Step(**PRETRAIN), Step(**step)])
    for text in (make_readme(Card(**step)), make_readme(later)):
        head = text.split("## ")[0]
        assert head.count("**WARNING / 警告**") == 1
        assert english in head
        assert japanese in head


def test_what_was_checked_and_clean_or_cleaned_gives_no_alarm() -> None:
    dropped = Contamination(action="drop", benchmarks=["igakuqa"], overlaps=7, dropped=7, verdict="overlap")
    for text in (make_readme(CHAIN), make_readme(Card(**{**INSTRUCT, "contamination": dropped}))):
        assert "WARNING" not in text
    assert "7 training examples held their questions, 7 were left out" in text


ODD = [
    "a|b", "`x`", "``", "a\\|b", "<script>alert(1)</script>", "[x](http://e.org)", "![x](y)", "**b**", "_i_", "a\nb",
    "---", "# t", "&amp;", "<!-- ", "http://e.org", "\u202eabc", "{{ card }}", "{% raw %}", "$x$", "日本語：「名前」",
    "~~x~~",
]  # fmt: skip


LONGER = "a setting that no other name equals"  # names have 20 characters at most


def odd_card(name: str) -> Card:
    step = {
        **INSTRUCT, "name": name, "base": Origin(name=name, files={}), "tuning": name,
        "data": [Data(name=name, format=name, language=name, examples=1, sequences=1, tokens=1)],
        "exams": [Exam(benchmark=name, language=name, correct=1, n=1, value=1, ci_low=1, ci_high=1)],
        "settings": {name: name, LONGER: {name: [name]}}, "prompts": [Prompt(name=name, sha256=name)],
        "versions": {name: name}, "contamination": CLEAN.model_copy(update={"benchmarks": [name], "overlaps": 1}),
    }  # fmt: skip
    origin = Origin(name=name, files={})
    return Card(**{**MERGE, "name": name, "base": origin, "adapter": origin}, parents=[Step(**step)])


def check_odd(name: str) -> None:
    text = make_readme(odd_card(name))
    assert front(text).get("base_model", "") == " ".join(name.split()) or not name.isprintable()
    text = text.split("\n---\n", 1)[1]
    assert [len(row) for row in tables(text)] == [8, 8, 8, 8, 2, 2, 2]
    # code, bold and plain text are the template's own
    assert kinds(text) <= {"text", "code_inline", "strong_open", "strong_close", "softbreak", "text_special"}
    headings = [token.content for token in MarkdownIt().parse(text) if token.type == "heading_open"]
    assert len(headings) == len([line for line in text.splitlines() if line.startswith("#")]) == 6


@pytest.mark.parametrize("name", ODD)
def test_odd_names_break_no_table_and_become_no_markup(name: str) -> None:
    check_odd(name)


@settings(deadline=None, max_examples=40)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
@example("x")
def test_no_name_breaks_a_table_or_becomes_markup(name: str) -> None:
    check_odd(name)


@pytest.mark.parametrize("name", ["a|b", "`x`", "a`b", "<b>", "**b**", "a\\b", "日本語"])
def test_a_name_in_a_table_reads_as_it_is(name: str) -> None:
    assert tables(make_readme(odd_card(name)))[1][0] == name


def test_the_chain_is_kept_from_step_to_step(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in "abc")
    for folder in (first, second, third):
        folder.mkdir()
    assert read_lineage(first) == []
    write_card(first, Card(**PRETRAIN))
    write_card(second, Card(**INSTRUCT, parents=read_lineage(first)))
    write_card(third, Card(**MERGE, parents=read_lineage(second)))
    assert read_lineage(third) == [Step(**PRETRAIN), Step(**INSTRUCT), Step(**MERGE)]
    content = json.loads((third / "lineage.json").read_text("utf-8"))
    assert [step["stage"] for step in content["parents"]] == ["pretrain", "instruct"]
    assert content["parents"][0]["base"]["files"] == {"model.safetensors": HASH}
    assert content["parents"][0]["created"] == "2025-01-02"
    text = (third / "README.md").read_text("utf-8")
    assert text == make_readme(CHAIN) == make_readme(CHAIN)
    assert [line for line in text.splitlines() if line.startswith("### ")] == [
        "### Step 1: continued pre-training on text",
        "### Step 2: instruction tuning on questions and answers",
        "### Step 3: adapter folded into its base",
    ]


@pytest.mark.parametrize("content", ["", "[]", "{}", "{", '{"format": 2, "jmed": "9"}', '{"format": 1, "jmed": "0.1"}'])
def test_a_lineage_that_cannot_be_read_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "lineage.json").write_text(content)
    with pytest.raises(UserError, match=r"lineage\.json: is no lineage that this version of jmed can read"):
        read_lineage(tmp_path)


def test_a_score_of_results_json_fits_and_a_wrong_key_does_not() -> None:
    row = {
        "benchmark": "mini", "language": "ja", "prompt": "letters", "method": "letters", "metric": "accuracy",
        "correct": 1, "n": 2, "value": 0.5, "ci_low": 0.1, "ci_high": 0.9, "step": 0, "epoch": 0.0,
    }  # fmt: skip
    assert Exam(**row).step == 0
    assert ["mini", "ja", "letters", "0", "0.0", "1/2", "50.0 %", "10.0 % to 90.0 %"] in tables(
        make_readme(Card(**{**INSTRUCT, "exams": [Exam(**row)]}))
    )
    with pytest.raises(ValidationError):
        Card(**INSTRUCT, nonsense=1)
