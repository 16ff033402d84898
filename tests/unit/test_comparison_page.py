"""report.html of a comparison: every figure from comparison.json, what is missing left out, nothing smuggled in."""

import base64
import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from jmed.report.comparison import write_comparison_page
from jmed.report.figures import at, find
from jmed.report.sampling import RunAnswers
from jmed.report.sections import AFTER_EXAMS, BEFORE_EXAMS
from tests.comparison_kit import NAMES, N, make_comparison, make_rows
from tests.page_kit import Page, embedded, known, table
from tests.unit.test_page import FORMS, HARMLESS, HOSTILE

ROWS = {name: make_rows(name) for name in NAMES}
PARTS = [key for key, value in make_comparison(ROWS).items() if isinstance(value, list) and key != "runs"]
SECTIONS = (*BEFORE_EXAMS, *AFTER_EXAMS)


@pytest.fixture
def comparison() -> dict[str, Any]:
    return make_comparison(ROWS)


def make_page(comparison: dict[str, Any], folder: Path) -> str:
    runs = [RunAnswers(name, table(rows)) for name, rows in ROWS.items()]
    write_comparison_page(comparison, runs, folder / "report.html", known(ROWS[NAMES[0]]))
    return (folder / "report.html").read_text("utf-8")


def test_every_figure_is_one_of_comparison_json(comparison: dict[str, Any], tmp_path: Path) -> None:
    html = make_page(comparison, tmp_path)
    page = Page(html)
    assert embedded(html) == json.loads(json.dumps(comparison))
    for pointer, form, shown in page.figures:
        (value,) = find(comparison, pointer)
        assert shown == FORMS[form](value), pointer
    pointers = {pointer for pointer, _, _ in page.figures}
    for place, pair in enumerate(comparison["pairs"]):
        shown = {key for key, value in pair.items() if isinstance(value, float)} - {"first_value", "second_value"}
        assert {at("pairs", place, key) for key in shown} <= pointers
    for board, one in enumerate(comparison["leaderboards"]):
        for place in range(len(one["ranks"])):
            assert {at("leaderboards", board, "ranks", place, key) for key in ("value", "ci_low", "best")} <= pointers
    assert {f"/transfer/0/sentence/{language}" for language in ("ja", "en")} <= pointers


def test_the_made_up_comparison_is_one_that_the_job_could_write(comparison: dict[str, Any]) -> None:
    schema = pytest.importorskip("jmed.comparison.schema", reason="the job compare is not there")
    schema.Comparison.model_validate(comparison)


def test_every_section_and_chart_is_there(comparison: dict[str, Any], tmp_path: Path) -> None:
    tags = Page(make_page(comparison, tmp_path)).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {section.name for section in SECTIONS} | {"summary", "exams", "questions"} <= set(ids)
    kinds = {attributes["data-chart"] for tag, attributes in tags if tag == "figure"}
    assert kinds == {chart.kind for section in SECTIONS for chart in section.charts} | {"candidates"}
    values = [attributes["data-value"] for tag, attributes in tags if attributes.get("data-chart") == "position"]
    assert values == list(NAMES)
    assert all(attributes.get("scope") for tag, attributes in tags if tag == "th")


@pytest.mark.parametrize(
    "part", sorted(key for key, value in make_comparison(ROWS).items() if isinstance(value, list) and key != "runs")
)
def test_a_part_that_was_not_compared_is_left_out(part: str, comparison: dict[str, Any], tmp_path: Path) -> None:
    whole = Page(make_page(comparison, tmp_path))
    page = Page(make_page({**comparison, part: []}, tmp_path))
    assert not [pointer for pointer, _, _ in page.figures if pointer.startswith(f"/{part}/")]
    assert len(page.figures) < len(whole.figures)


def test_names_cannot_smuggle_anything_in(comparison: dict[str, Any], tmp_path: Path) -> None:
    tags = Page(make_page(comparison, tmp_path)).tags

    def poison(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: poison(member) for key, member in value.items()}
        if isinstance(value, list):
            return [poison(member) for member in value]
        return HOSTILE if isinstance(value, str) and value not in ("ja", "en") else value

    html = make_page(poison(comparison), tmp_path)
    page = Page(html)
    assert HARMLESS in page.text[None]
    assert "\u202e" not in html
    assert "\x07" not in html
    assert [tag for tag, _ in page.tags].count("script") == [tag for tag, _ in tags].count("script")
    assert {key for _, attributes in page.tags for key in attributes} == {key for _, attrs in tags for key in attrs}


def test_a_question_stands_once_whatever_name_its_benchmark_was_asked_by(
    comparison: dict[str, Any], tmp_path: Path
) -> None:
    whole = [{**row, "benchmark": "igakuqa"} for row in ROWS[NAMES[1]]]
    runs = [RunAnswers(NAMES[0], table(ROWS[NAMES[0]])), RunAnswers(NAMES[1], table(whole))]
    names = {"igakuqa-2018": "igakuqa"}
    write_comparison_page(comparison, runs, tmp_path / "report.html", known(ROWS[NAMES[0]]), names)
    packed = re.findall(r'id="index">([^<]*)<', (tmp_path / "report.html").read_text("utf-8"))
    index = json.loads(gzip.decompress(base64.b64decode(packed[0])))
    assert len(index["questions"]) == N
    assert index["values"]["benchmarks"] == ["igakuqa"]
    assert index["values"]["specialties"] == ["内科"]
    assert all("-" not in row[4] for row in index["questions"])


def test_the_same_comparison_gives_the_same_page(comparison: dict[str, Any], tmp_path: Path) -> None:
    assert make_page(comparison, tmp_path) == make_page(comparison, tmp_path)
