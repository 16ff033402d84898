"""report.html of a run: every figure from results.json, both languages, no network, nothing smuggled in."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jmed import __version__
from jmed.report.figures import at, find
from tests.page_kit import HASH, JSONL, Page, answer, embedded, exam, make_identity, make_results, make_run_page, score

HOSTILE = '<script>alert("x")</script>{0}{{ 7*7 }}&amp;\' onload=x \u202e\x07'
HARMLESS = HOSTILE.replace("\u202e", "\\u202e").replace("\x07", "\\x07")


@pytest.fixture
def results() -> dict[str, Any]:
    return make_results()


@pytest.fixture
def identity() -> dict[str, Any]:
    return make_identity()


def read(results: dict[str, Any], identity: dict[str, Any], folder: Path) -> Page:
    return Page(make_run_page(folder, results, identity))


FORMS = {  # how a figure is shown, said again here
    "number": lambda x: f"{x:,}",
    "percent": lambda x: f"{x * 100:.1f}",
    "signed": lambda x: ("+" if x >= 0 else "−") + f"{abs(x) * 100:.1f}",
    "p": lambda x: "<0.001" if x < 0.001 else f"{x:.3f}",
    "amount": lambda x: f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.1f}",
    "text": str,
    "decimal": lambda x: f"{x:.3f}",
    "duration": lambda x: f"{x:.1f} s" if x < 60 else f"{x // 3600:.0f}:{x // 60 % 60:02.0f}:{x % 60:02.0f}",
}


def test_every_figure_is_one_of_results_json(results: dict[str, Any], identity: dict[str, Any], tmp_path: Path) -> None:
    page = read(results, identity, tmp_path)
    for pointer, form, shown in page.figures:
        values = list(find(results, pointer))
        assert shown == FORMS[form](sum(values) if "*" in pointer else values[0]), pointer
    pointers = {pointer for pointer, _, _ in page.figures}
    for place, one in enumerate(results["scores"]):
        assert {at("scores", place, key) for key in ("correct", "n", "value", "ci_low", "ci_high")} <= pointers, one
    for place, one in enumerate(results["counts"]):
        assert {at("counts", place, key) for key in ("asked", "unread", "errors")} <= pointers
        assert {at("counts", place, "left_out", reason) for reason in one["left_out"]} <= pointers
    figures_of_exam = set(results["exams"][1]) - {"exam", "language", "pass_marks", "verdict"}
    assert {at("exams", 1, key) for key in figures_of_exam} | {"/exams/1/pass_marks/0"} <= pointers


def test_no_figure_stands_beside_those(results: dict[str, Any], identity: dict[str, Any], tmp_path: Path) -> None:
    """Whatever number is left is a name, a setting, a date of the rule, or the level of an interval."""
    loose = read(results, identity, tmp_path).loose
    for name in (
        "igakuqa/data/2018/112-A.jsonl",
        "igakuqa-2018",
        JSONL,
        "choice-text",
        HASH[1:12],
        "SHA-256",
        "95 %",
        f"jmed {__version__}",
    ):
        loose = loose.replace(name, " ")
    settings = {str(value) for value in identity.values()}
    allowed = settings | {"3", "113", "2,400"}  # prohibited choices allowed; unanswered, in a verdict's reason; limit
    assert set(re.findall(r"(?<![A-Za-z\d.,])(?:\d[\d.,]*\d|\d)", loose)) <= allowed


def test_the_charts_read_results_json(results: dict[str, Any], identity: dict[str, Any], tmp_path: Path) -> None:
    html = make_run_page(tmp_path, results, identity)
    assert embedded(html) == json.loads(json.dumps(results))
    kinds = {attrs["data-chart"] for tag, attrs in Page(html).tags if tag == "figure"}
    assert kinds == {"scores", "subsets", "languages", "exams"}


def test_every_text_stands_on_the_page(results: dict[str, Any], identity: dict[str, Any], tmp_path: Path) -> None:
    page = read(results, identity, tmp_path)
    shown = page.text[None]
    for text in ("tiny-model", "igakuqa-2018", JSONL, "jmmlu-anatomy", "1:02:03", "2,593", "0.697", "1,234,567"):
        assert text in shown, text
    for figure in ("choice-text", "nf4", "77", "41", "8192"):
        assert figure in shown.split("\n"), figure
    for letter, file in (("m", "model.safetensors"), ("d", "igakuqa/data/2018/112-A.jsonl"), ("t", "templates")):
        assert file in shown
        assert f"{letter}{HASH[1:12]}…" in shown
    assert HASH[1:] not in shown


def test_the_interface_speaks_both_languages(results: dict[str, Any], identity: dict[str, Any], tmp_path: Path) -> None:
    text = read(results, identity, tmp_path).text
    for english, japanese in (
        ("Evaluation report", "評価レポート"),
        ("the first 2,400 questions of each benchmark and language", "ベンチマークと言語ごとに最初の2,400問"),
        ("generate (greedy text)", "generate（貪欲法による文章生成）"),
        ("Japanese, English", "日本語、英語"),
        ("gestalt accuracy", "ゲシュタルト正答率"),
        ("publisher's file has misprints", "誤植があり"),
        ("needs an image", "画像が必要"),
        ("of a new kind", "of a new kind"),
        ("undetermined", "未確定"),
    ):
        assert english in text["en"]
        assert japanese in text["ja"]
    assert not re.search("[ぁ-ん]", text["en"])


def test_the_notice_stands_in_both_languages_whatever_is_chosen(
    results: dict[str, Any], identity: dict[str, Any], tmp_path: Path
) -> None:
    shown = read(results, identity, tmp_path).text[None]
    assert "An exam score is no clearance for clinical use." in shown
    assert "試験の得点は臨床使用の許可を意味しません。" in shown


@pytest.mark.parametrize(
    ("changes", "verdict", "why"),
    [
        ({"verdict": "pass"}, ("pass", "合格"), "Both pass marks are reached"),
        ({"verdict": "fail"}, ("fail", "不合格"), "Fails however the unanswered questions are marked."),
        ({"verdict": "fail", "unanswered": 0}, ("fail", "不合格"), "A pass mark is not reached."),
        (
            {"verdict": "fail", "prohibited_choices": 4, "prohibited_choices_folded": 5, "pass_marks": None},
            ("fail", "不合格"),
            "More than 3 prohibited choices were made.",
        ),
        ({}, ("undetermined", "未確定"), "It depends on the 113 unanswered questions."),
        ({"unanswered": 1}, ("undetermined", "未確定"), "It depends on the 1 unanswered question."),
        ({"pass_marks": None}, ("undetermined", "未確定"), "The pass marks of this examination are not known."),
        (
            {"prohibited_choices": 3, "prohibited_choices_folded": 4},
            ("undetermined", "未確定"),
            "It depends on how prohibited choices are counted.",
        ),
    ],
)
def test_a_verdict_is_a_word_with_its_reason(
    changes: dict[str, Any],
    verdict: tuple[str, str],
    why: str,
    results: dict[str, Any],
    identity: dict[str, Any],
    tmp_path: Path,
) -> None:
    results["exams"] = [exam("ja", **changes)]
    text = read(results, identity, tmp_path).text
    assert verdict[0] in text["en"].split("\n")
    assert verdict[1] in text["ja"].split("\n")
    assert why in text["en"]


def test_counts_of_prohibited_choices_that_agree_need_no_explanation(
    results: dict[str, Any], identity: dict[str, Any], tmp_path: Path
) -> None:
    assert "misprints" in read(results, identity, tmp_path).text["en"]
    results["exams"] = [exam("ja")]
    assert "misprints" not in read(results, identity, tmp_path).text["en"]


def test_many_accuracies_are_summed_up_by_the_lowest_and_the_highest(
    results: dict[str, Any], identity: dict[str, Any], tmp_path: Path
) -> None:
    results["scores"] = [score(f"mmlu-{n}", "en", "accuracy", n, 50) for n in (30, 10, 40, 20, 25)]
    html = make_run_page(tmp_path, results, identity)
    headline = html.split('<ul class="headline">')[1].split("</ul>")[0]
    assert re.findall(r'figure="([^"]*/value)"', headline) == ["/scores/1/value", "/scores/2/value"]
    assert headline.index("lowest") < headline.index("mmlu-10") < headline.index("highest") < headline.index("mmlu-40")


def test_names_cannot_smuggle_anything_in(results: dict[str, Any], identity: dict[str, Any], tmp_path: Path) -> None:
    tags = read(results, identity, tmp_path).tags
    results["model"] = results["exams"][0]["exam"] = results["subsets"][1]["benchmark"] = HOSTILE
    for one in (*results["scores"], *results["counts"]):
        one["benchmark"] = one["prompt"] = HOSTILE
    results["scores"][0]["metric"] = results["exams"][0]["verdict"] = HOSTILE
    results["counts"][1]["left_out"] = {"of a new kind": 1, HOSTILE: 2}
    identity["benchmarks"], identity["dtype"] = ["mini", HOSTILE], HOSTILE
    identity["data"] = identity["model"] = {HOSTILE: HOSTILE}
    rows = [
        answer(
            "112A1", "ja", response=HOSTILE, prompt_text=HOSTILE, error=HOSTILE, choices=[HOSTILE], benchmark=HOSTILE
        )
    ]
    html = make_run_page(tmp_path, results, identity, rows)
    page = Page(html)
    assert HARMLESS in page.text[None]
    assert "49" not in page.text[None].split("\n")
    shown = re.sub(r'data-figure="[^"]*"', "", html)  # names of places, which nobody sees
    assert "\u202e" not in shown
    assert "\x07" not in shown
    assert html.count("alert(") - html.count("&lt;script&gt;alert(") == html.count("\\u003cscript\\u003ealert(") > 0
    assert [tag for tag, _ in page.tags].count("script") == [tag for tag, _ in tags].count("script")
    assert {key for _, attributes in page.tags for key in attributes} == {key for _, attrs in tags for key in attrs}


def test_the_page_asks_nothing_of_a_network(results: dict[str, Any], identity: dict[str, Any], tmp_path: Path) -> None:
    html = make_run_page(tmp_path, results, identity)
    ours = re.sub(
        r"<script>// https://d3js.org.*?</script>|<script>// @observablehq.*?</script>", "", html, flags=re.DOTALL
    )
    ours = ours.replace('"http://www.w3.org/2000/svg"', "")  # the name of SVG, which nobody fetches
    assert not re.search(r"https?:|//[a-z]|src=|url\(|@import|<link|<img|<iframe|fetch\(", ours)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1].replace("style-src 'unsafe-inline'", "")
    assert policy[1].count("'sha256-") == html.count("<script>")


def test_tables_have_headers_and_regions_have_names(
    results: dict[str, Any], identity: dict[str, Any], tmp_path: Path
) -> None:
    tags = read(results, identity, tmp_path).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(attributes.get("scope") for tag, attributes in tags if tag == "th")
    assert {attributes["aria-labelledby"] for _, attributes in tags if "aria-labelledby" in attributes} <= set(ids)


def test_imported_answers_and_nothing_scored(results: dict[str, Any], tmp_path: Path) -> None:
    head = {"format": 1, "job": "score", "benchmark": "igakuqa-2018", "language": "ja", "name": "other"}
    files = {"predictions": {"answers.jsonl": "p" + HASH[1:]}, "data": {}}
    identity = {**head, "prompt": "none", "scoring": "strict", **files}
    timing = {"seconds": 0.21, "questions_asked": 0}
    empty = {**results, "scores": [], "subsets": [], "exams": [], "counts": [], "timing": timing}
    page = Page(make_run_page(tmp_path, empty, identity, []))
    assert "imported (answers produced elsewhere)" in page.text["en"]
    assert "No question was scored." in page.text["en"]
    assert "0.2 s" in page.text[None]
    assert "answers.jsonl" in page.text[None]
    assert "figure" not in [tag for tag, _ in page.tags]


def test_the_same_run_gives_the_same_page(results: dict[str, Any], identity: dict[str, Any], tmp_path: Path) -> None:
    assert make_run_page(tmp_path, results, identity) == make_run_page(tmp_path, results, identity)
