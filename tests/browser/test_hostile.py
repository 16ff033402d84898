"""Text of strangers stays text: markup, ends of scripts, handlers, control signs, signs that reverse the writing."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from jmed.report.comparison import write_comparison_page
from jmed.report.sampling import RunAnswers
from tests.browser.conftest import Browser
from tests.comparison_kit import NAMES, make_comparison, make_rows
from tests.page_kit import answer, make_identity, make_results, make_run_page, table

ATTACKS = (
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    '"><svg onload="window.hacked = 1">',
    "<!--<script>",
    "javascript:window.hacked=1//",
    "{{ 7*7 }} {% for %} ${7*7}",
    "\u202etxet desrever\u202c\u2066\u200b",
    "bell\x07 escape\x1b[31m nul\x00 delete\x7f next\x85",
    "<style>body{display:none}</style><base href='http://127.0.0.1:9/'><meta http-equiv=refresh content=0>",
    '=HYPERLINK("http://127.0.0.1:9/")',
)

HARM = "return [window.hacked ?? null, document.querySelectorAll('img, base, iframe').length]"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    results, identity = make_results(), make_identity()
    attack = "\n".join(ATTACKS)
    results["model"] = identity["dtype"] = attack
    for one in (*results["scores"], *results["counts"], *results["subsets"]):
        one["benchmark"] = attack
    results["exams"][0]["exam"] = attack
    same: dict[str, Any] = {"benchmark": attack, "prompt_text": attack, "response": attack, "choices": [attack, "b"]}
    rows = [
        answer(text if text[0] == "=" else f"{place}{text}", "en", "b", **same) for place, text in enumerate(ATTACKS)
    ]
    rows.append(answer("failed", "ja", "", **same, error=attack))
    make_run_page(folder, results, identity, rows)
    return folder / "report.html"


def test_nothing_of_it_runs_and_all_of_it_is_shown(browser: Browser, page: Path) -> None:
    browser.open(page)
    kinds = "return [...new Set([...document.querySelectorAll('*')].map(one => one.localName))]"
    before = set(browser.run(kinds))
    for one in ("summary", "summary", "details details summary"):
        browser.run("for (const one of document.querySelectorAll(given[0])) if (!one.parentNode.open) one.click()", one)
        browser.run("await new Promise(done => setTimeout(done, 300))")
    assert browser.run(HARM) == [None, 0]
    assert set(browser.run(kinds)) - before <= {
        "pre",
        "ol",
        "h4",
        "h5",
        "code",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    shown = browser.run("return document.body.innerText")
    for text in ATTACKS[:7]:
        assert text in shown, text
    assert "\u202e" not in shown
    assert "U+202E" in shown
    assert "U+001B" in shown
    assert browser.requests() == [page.as_uri()]
    assert browser.console() == []


def test_the_charts_show_names_as_text(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.run("return document.querySelectorAll('.plot script, .plot img, .plot foreignObject').length") == 0
    labels = browser.run("return document.querySelector('[data-chart=scores] svg').textContent")
    assert "<script>" in labels
    assert "\u202e" not in labels


def test_a_comparison_shows_it_as_text_too(browser: Browser, tmp_path: Path) -> None:
    names = ["\n".join(ATTACKS), *NAMES[1:]]
    rows = {name: make_rows(kind) for name, kind in zip(names, NAMES, strict=True)}
    runs = [RunAnswers(name, table(rows[name])) for name in names]
    write_comparison_page(make_comparison(rows), runs, tmp_path / "c.html")
    browser.open(tmp_path / "c.html")
    browser.run("document.querySelector('.question summary').click()")
    browser.wait("document.querySelector('.detail')")
    assert browser.run(HARM) == [None, 0]
    assert browser.run("return document.querySelectorAll('.plot script, .plot img, .plot foreignObject').length") == 0
    assert ATTACKS[0] in browser.run("return document.querySelector('.side').innerText")
    assert browser.requests() == [(tmp_path / "c.html").as_uri()]
    assert browser.console() == []


def test_no_spreadsheet_computes_an_id(browser: Browser, page: Path) -> None:
    browser.open(page)
    cells = list(csv.reader(io.StringIO(browser.saved(".bar button", "questions.csv"), newline="")))
    assert len(cells) == len(ATTACKS) + 2  # the head and another answer
    assert not [cell for row in cells for cell in row if cell[:1] in ("=", "@", "+")]
    assert [row[1] for row in cells if "HYPERLINK" in "".join(row[1:2])] == ["'" + ATTACKS[10]]
