"""The page for everybody: keyboard, contrast, small screens, names, paper."""

import base64
import re
from pathlib import Path

import pytest

from tests.browser.conftest import Browser
from tests.page_kit import answer, make_identity, make_results, make_run_page

CONTRAST = (Path(__file__).parent / "contrast.js").read_text("utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("access")
    rows = [answer(f"q{n}", language, "abc"[n % 3]) for n in range(40) for language in ("ja", "en")]
    rows[3] |= {"error": "it failed", "correct": False, "response": "\u202e"}
    rows[2] |= {"prediction": "", "correct": False, "response": "x" * 13_000}
    make_run_page(folder, make_results(), make_identity(), rows)
    return folder / "report.html"


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    browser.resize(1200)
    browser.open(page)
    browser.run("document.getElementById('en').click()")
    return browser


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast(opened: Browser, theme: str) -> None:
    opened.run("document.getElementById(given[0]).click()", theme)
    opened.run("for (const one of document.querySelectorAll('summary')) one.click()")
    opened.wait("document.querySelectorAll('.detail').length === 25")
    ground = opened.run("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 22, 27)"}[theme]
    pairs, poor = opened.run(CONTRAST)
    assert pairs > 8
    assert poor == []


def test_series_stand_out_from_the_page(opened: Browser) -> None:
    """3:1 at least, as graphics need (success criterion 1.4.11)."""
    for theme in ("light", "dark"):
        opened.run("document.getElementById(given[0]).click()", theme)
        colours = opened.run(
            "const style = document.body.style, of = name => { style.outlineColor = `var(${name})`;"
            " return getComputedStyle(document.body).outlineColor; };"
            "return ['--page', '--c0', '--c1', '--c2', '--c3', '--c4', '--c5'].map(of)"
        )
        page, *series = (luminance(one) for one in colours)
        ratios = [(max(one, page) + 0.05) / (min(one, page) + 0.05) for one in series]
        assert min(ratios) >= 3, (theme, ratios)


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)` (WCAG 2.2)."""
    channels = [int(one) / 255 for one in re.findall(r"\d+", colour)[:3]]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_everything_can_be_reached_and_used_by_keyboard(opened: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    opened.run("document.body.focus(); document.activeElement.blur()")
    reached = []
    for _ in range(60):
        opened.press(Keys.TAB)
        one = opened.run(
            "const one = document.activeElement, style = getComputedStyle(one.closest('.switch label') ?? one);"
            "const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;"
            "return [one.id || one.name || one.className, one.localName, ring || one.className === 'skip']"
        )
        reached.append(one)
        if one[1] == "summary" and opened.run("return document.activeElement.closest('.question') !== null"):
            break
    assert all(visible for *_, visible in reached), [one for one in reached if not one[2]]
    kinds = {kind for _, kind, _ in reached}
    assert {"a", "input", "button", "select", "summary", "div"} <= kinds  # div: tables that scroll
    assert reached[0][0] == "skip"
    opened.press(Keys.ENTER)
    opened.wait("document.querySelector('.question[open] .detail')")


def test_arrow_keys_switch_the_language(opened: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    opened.run("document.getElementById('en').focus()")
    opened.press(Keys.ARROW_LEFT)
    assert opened.run("return document.documentElement.lang") == "ja"


@pytest.mark.parametrize("width", [360, 768, 1200])
def test_nothing_is_wider_than_the_screen(opened: Browser, width: int) -> None:
    opened.resize(width)
    opened.run("document.querySelectorAll('.question summary')[0].click()")
    opened.wait("document.querySelector('.detail')")
    opened.run("await new Promise(done => setTimeout(done, 250))")  # charts are drawn anew
    assert opened.run("return document.documentElement.scrollWidth") <= width
    charts = (
        "return [...document.querySelectorAll('.plot')].filter(one => one.scrollWidth > one.clientWidth + 1).length"
    )
    assert opened.run(charts) == 0


def test_controls_have_names(opened: Browser) -> None:
    nameless = opened.run(
        "const named = one => one.textContent.trim() || one.ariaLabel || one.getAttribute('aria-labelledby');"
        "return [...document.querySelectorAll('button, select, input, a, [role=img], [role=region]')]"
        ".filter(one => !named(one) && !one.labels?.length).map(one => one.outerHTML)"
    )
    assert nameless == []


def test_paper_gets_the_report_without_its_controls(opened: Browser) -> None:
    opened.run("document.getElementById('dark').click()")
    opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        seen = opened.run(
            "const seen = one => document.querySelector(one).checkVisibility();"
            "return [...['.switches', '#browser', '.paper', '[data-chart] svg'].map(seen),"
            "getComputedStyle(document.body).backgroundColor]"
        )
    finally:
        opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert seen == [False, False, True, True, "rgb(255, 255, 255)"]
    pdf = base64.b64decode(opened.driver.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF")
