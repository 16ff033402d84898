"""The page of a comparison in a real browser."""

from pathlib import Path

import pytest

from jmed.report.comparison import write_comparison_page
from jmed.report.sampling import RunAnswers
from tests.browser.conftest import Browser
from tests.browser.test_access import CONTRAST
from tests.comparison_kit import NAMES, N, make_comparison, make_rows
from tests.page_kit import known, table

ROWS = {name: make_rows(name) for name in NAMES}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("comparison") / "report.html"
    runs = [RunAnswers(name, table(rows)) for name, rows in ROWS.items()]
    write_comparison_page(make_comparison(ROWS), runs, file, known(ROWS[NAMES[0]]))
    return file


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    browser.resize(1200)
    browser.open(page)
    browser.run("document.getElementById('en').click()")
    return browser


def test_every_chart_is_drawn_without_an_error(opened: Browser, page: Path) -> None:
    undrawn = opened.run(
        "const drawn = one => !one.hidden && one.querySelector('svg[role=img]');"
        "return [...document.querySelectorAll('figure')].filter(one => !drawn(one)).map(one => one.dataset.chart)"
    )
    assert undrawn == []
    counts = opened.run(
        "const n = (kind, mark) => document.querySelectorAll(`[data-chart=${kind}] [aria-label=${mark}] > *`).length;"
        "return [n('differences', 'dot'), n('both_languages', 'dot'), n('loss', 'line')]"
    )
    assert counts == [6, 3, 1]
    opened.run("document.getElementById('ja').click()")
    assert opened.requests() == [page.as_uri()]
    assert opened.console() == []


def test_runs_that_disagree_are_found(opened: Browser) -> None:
    by_question: dict[tuple[str, str], set[bool]] = {}
    for rows in ROWS.values():
        for row in rows:
            by_question.setdefault((row["question_id"], row["language"]), set()).add(row["correct"])
    differing = {name for (name, _), marks in by_question.items() if len(marks) == 2}
    opened.run(
        "const node = document.querySelector('select[name=disagreement]');"
        "node.value = 'runs_disagree'; node.dispatchEvent(new Event('change'))"
    )
    assert opened.run("return document.querySelector('.bar output').innerText") == f"1–25 of {len(differing)} questions"
    assert 0 < len(differing) < N
    opened.run("document.querySelector('.question summary').click()")
    opened.wait("document.querySelector('.detail')")
    cards = opened.run(
        "return [...document.querySelectorAll('.side')].map(one => one.querySelectorAll('.answer').length)"
    )
    assert cards == [3, 3]
    shown = opened.run("return document.querySelector('.side').innerText")
    assert all(name in shown for name in NAMES)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast(opened: Browser, theme: str) -> None:
    opened.run("document.getElementById(given[0]).click()", theme)
    opened.run("for (const one of document.querySelectorAll('main > section > details')) one.open = true")
    pairs, poor = opened.run(CONTRAST)
    assert pairs > 8
    assert poor == []


def test_nothing_is_wider_than_a_sheet(opened: Browser) -> None:
    opened.resize(718)  # pixels between the margins of a letter sheet
    opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        opened.run("dispatchEvent(new Event('beforeprint'))")
        wide = "[...document.querySelectorAll('main *')].filter(one => one.scrollWidth > 718)"
        assert opened.run(f"return {wide}.map(one => one.className)") == []
        assert opened.run("return document.querySelector('.plot svg').clientWidth") == 680
    finally:
        opened.run("dispatchEvent(new Event('afterprint'))")
        opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_phone_shows_it(opened: Browser) -> None:
    opened.resize(360)
    opened.run("await new Promise(done => setTimeout(done, 250))")
    assert opened.run("return document.documentElement.scrollWidth") <= 360
