"""The page of a run in a real browser."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Browser
from tests.page_kit import answer, make_identity, make_results, make_run_page

LETTERS = "abc"


def rows() -> list[dict[str, Any]]:
    """120 questions in both languages; Japanese right in two of three, English in one of two; q7 fails in Japanese."""
    many = []
    for n in range(120):
        many.append(answer(f"q{n}", "ja", "aab"[n % 3]))
        many.append(answer(f"q{n}", "en", "ab"[n % 2], response=f"needle{n}" if n == 77 else "It is b."))
    many[14] |= {"error": "it failed", "correct": False, "prediction": "", "response": ""}
    return many


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    make_run_page(folder, make_results(), make_identity(), rows())
    return folder / "report.html"


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    browser.resize(1200)
    browser.open(page)
    browser.run("document.getElementById('en').click()")
    return browser


def found(browser: Browser) -> str:
    return browser.run("return document.querySelector('.bar output').innerText")


def choose(browser: Browser, name: str, value: str) -> None:
    browser.run(
        "const node = document.querySelector(`select[name=${given[0]}]`);"
        "if (![...node.options].some(one => one.value === given[1])) throw new Error(given[1]);"
        "node.value = given[1]; node.dispatchEvent(new Event('change'))", name, value
    )  # fmt: skip


def search(browser: Browser, words: str) -> None:
    browser.run(
        "const node = document.querySelector('input[type=search]'); node.value = given[0];"
        "node.dispatchEvent(new Event('input'))", words
    )  # fmt: skip


def test_no_error_and_no_request_leaves_the_file(opened: Browser, page: Path) -> None:
    opened.run("for (const one of document.querySelectorAll('summary')) one.click()")
    opened.wait("document.querySelectorAll('.detail').length === 25")
    assert opened.requests() == [page.as_uri()]
    assert opened.console() == []


def test_the_policy_stops_what_would_leave(opened: Browser) -> None:
    sent = opened.run(
        "const image = new Image(); const failed = new Promise(done => { image.onerror = () => done(true); });"
        "image.src = 'http://127.0.0.1:9/x.png';"
        "const fetched = await fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'stopped');"
        "return [await failed, fetched]"
    )
    assert sent == [True, "stopped"]
    messages = [message for message in opened.console() if "Content Security Policy" in message]
    assert len(messages) >= 2


def test_charts_are_drawn_and_named(opened: Browser) -> None:
    labels = opened.run(
        "return [...document.querySelectorAll('figure:not([hidden]) svg[role=img]')].map(one => one.ariaLabel)"
    )
    assert len(labels) == 4
    assert labels[0].startswith("Accuracy and its 95 % interval.")
    marks = "return document.querySelectorAll('[data-chart=scores] [aria-label=dot] > *').length"
    assert opened.run(marks) == 3  # one an accuracy
    opened.run("document.getElementById('ja').click()")
    assert opened.run("return document.querySelector('svg[role=img]').getAttribute('aria-label')").startswith("正答率")


def test_the_language_switch_changes_all_that_is_seen(opened: Browser) -> None:
    opened.run("document.querySelectorAll('.question summary')[0].click()")
    opened.wait("document.querySelector('.detail')")
    seen = (
        "return [document.documentElement.lang, document.querySelector('h2').innerText,"
        "document.querySelector('.bar output').innerText, document.querySelector('select option').textContent,"
        "document.querySelector('input[type=search]').placeholder, document.querySelector('.stem').innerText]"
    )
    assert opened.run(seen) == [
        *("en", "Summary", "1–25 of 120 questions", "all", "words in questions, choices, answers; or an id"),
        "What is the cause of the pain?",
    ]
    opened.run("document.getElementById('ja').click()")
    assert opened.run(seen) == [
        *("ja", "要約", "120問中 1–25問目", "すべて", "問題文・選択肢・回答・問題番号", "痛みの原因はどれか。"),
    ]
    hidden = "[...document.querySelectorAll('main span[lang=en]:not(.stem)')].filter(one => one.checkVisibility())"
    assert opened.run(f"return {hidden}.length") == 0


def test_filters_and_search(opened: Browser) -> None:
    assert found(opened) == "1–25 of 120 questions"
    choose(opened, "language", "ja")
    choose(opened, "mark", "1")
    assert found(opened) == "1–25 of 79 questions"  # 80 right, one of them failed
    choose(opened, "mark", "e")
    assert found(opened) == "1–1 of 1 questions"
    choose(opened, "language", "")
    choose(opened, "mark", "")
    choose(opened, "disagreement", "languages_disagree")
    both = sum((n % 3 < 2 and n != 7) != (n % 2 == 0) for n in range(120))
    assert found(opened) == f"1–25 of {both} questions"
    choose(opened, "disagreement", "all_wrong")
    assert found(opened) == "1–21 of 21 questions"  # q7 and every sixth
    choose(opened, "disagreement", "")
    search(opened, "NEEDLE77")
    opened.wait("document.querySelector('.bar output').innerText.includes('of 1 ')")
    assert opened.run("return document.querySelector('.question .id').innerText").startswith("q77")
    search(opened, "no such words")
    opened.wait("document.querySelector('.bar output').innerText.includes('No question')")
    search(opened, "")
    opened.wait("document.querySelector('.bar output').innerText.includes('of 120')")


def test_a_question_shows_both_languages_answers_and_the_exact_prompt(opened: Browser) -> None:
    search(opened, "q7 ")
    search(opened, "q7")
    opened.wait("document.querySelector('.bar output').innerText.includes('of 11 ')")  # q7, q70 to q79
    opened.run("document.querySelector('.question summary').click()")
    opened.wait("document.querySelector('.detail')")
    sides = opened.run("return [...document.querySelectorAll('.side')].map(one => one.innerText)")
    assert [side.split("\n")[0] for side in sides] == ["Japanese", "English"]
    assert "it failed" in sides[0]
    assert "痛みの原因はどれか。" in sides[0]
    assert "It is b." in sides[1]
    assert "right answer" in sides[1].split("b\ntwo")[0]
    opened.run("[...document.querySelectorAll('.side')][1].querySelector('.answer details summary').click()")
    opened.wait("document.querySelectorAll('.side')[1].querySelectorAll('pre').length === 2")
    prompt = opened.run("return document.querySelectorAll('.side')[1].querySelectorAll('pre')[1].textContent")
    assert prompt == "What is the cause of the pain?\nA. one\nB. two\nAnswer:"


def test_pages_turn(opened: Browser) -> None:
    ids = "return [...document.querySelectorAll('.question .id')].map(one => one.firstChild.textContent)"
    first = opened.run(ids)
    opened.run("[...document.querySelectorAll('.bar button')].at(-1).click()")
    assert opened.run(ids) != first
    assert found(opened) == "26–50 of 120 questions"
    assert first[:3] == ["q0", "q1", "q2"]


def test_exports(opened: Browser) -> None:
    tools = "[data-export=scores]"
    opened.run("document.querySelector(given[0]).parentNode.nextElementSibling.id = 'tools'", tools)
    lines = opened.saved("#tools button", "scores.csv").split("\n")
    one = make_results()["scores"][0]
    assert lines[1].startswith(f"igakuqa-2018,English,accuracy,1187,2287,{json.dumps(one['value'])},")  # unrounded
    assert lines[2].startswith("igakuqa-2018,Japanese,accuracy,151,287,")  # the spanned cell stands in each row
    markdown = opened.saved("#tools button + button", "scores.md").split("\n")
    assert markdown[1] == "| :-- | :-- | :-- | --: | --: | --: | --: |"
    assert markdown[2] == "| igakuqa-2018 | English | accuracy | 1,187 | 2,287 | 51.9 | 49.9–53.9 |"
    svg = opened.saved("[data-chart=scores] .tools button", "scores.svg")
    assert svg.startswith("<svg ")
    assert not re.search(r"var\(--|currentColor|light-dark", svg)
    assert "igakuqa-2018" in svg
    search(opened, "q77")
    opened.wait("document.querySelector('.bar output').innerText.includes('of 1 ')")
    answers = opened.saved(".bar button", "questions.csv").strip().split("\r\n")
    assert [line.split(",")[1:9] for line in answers[1:]] == [
        ["q77", "内科", "tiny-model", "ja", "choice-text", "generate", "a", "b"],
        ["q77", "内科", "tiny-model", "en", "choice-text", "generate", "a", "b"],
    ]
