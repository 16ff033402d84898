"""The demo's texts: sourced facts, right answers, and an exam in wording that is never trained on."""

from pathlib import Path

import pytest

from jmed.data import demo
from jmed.data.contamination import ContaminationGate
from jmed.data.corpora import read_examples
from jmed.data.examples import Example
from jmed.data.question import LETTERS, Question
from jmed.data.readers import jsonl
from jmed.prompts.render import render_answered
from jmed.prompts.template import find_template

TEXTS = ("dictionary.jsonl", "base.jsonl", "quiz.jsonl", "pretrain_ja.jsonl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    demo.write(folder)
    return folder


def questions(file: Path, language: str) -> list[Question]:
    return [question for _, question in jsonl.read(file, "", language)]


def training(folder: Path) -> list[Example]:
    texts = [example for name in TEXTS for example in read_examples(folder / name, "text", None)]
    return texts + list(read_examples(folder / "instruct_ja.jsonl", "mcqa", None))


def test_facts_have_a_source_and_names_of_their_own() -> None:
    facts = demo.facts()
    assert len(facts) == 80
    assert all(fact.source for fact in facts)
    for kind in ("disease", "drug"):
        for language in ("ja", "en"):
            names = [getattr(fact, kind)[language] for fact in facts]
            assert len(set(names)) == len(names)


@pytest.mark.parametrize(("file", "languages"), [("exam.jsonl", ("ja", "en")), ("instruct_ja.jsonl", ("ja",))])
def test_one_choice_is_right_and_no_other_could_be(folder: Path, file: str, languages: tuple[str, ...]) -> None:
    for language in languages:
        drugs = {fact.drug[language]: fact for fact in demo.facts()}
        asked = questions(folder / file, language)
        assert len(asked) == (80 if file == "exam.jsonl" else 180)
        for question in asked:
            offered = [drugs[choice] for choice in question.choices]
            right = offered[LETTERS.index(question.gold)]
            assert len(set(question.choices)) == demo.CHOICES
            assert right.disease[language] in question.text
            assert not any(other.areas & right.areas for other in offered if other is not right)


def test_every_place_is_right_equally_often(folder: Path) -> None:
    golds = [question.gold for question in questions(folder / "exam.jsonl", "ja")]
    assert {letter: golds.count(letter) for letter in "abcde"} == dict.fromkeys("abcde", 16)


def test_both_languages_ask_the_same(folder: Path) -> None:
    japanese, english = (questions(folder / "exam.jsonl", language) for language in ("ja", "en"))
    assert [(q.question_id, q.gold) for q in japanese] == [(q.question_id, q.gold) for q in english]


def test_no_wording_of_the_exam_is_trained_on(folder: Path) -> None:
    seen = "\n".join(part for example in training(folder) for part in example.parts())
    for language in ("ja", "en"):
        for question in questions(folder / "exam.jsonl", language):
            assert question.text not in seen
    sets = {frozenset(question.choices) for question in questions(folder / "exam.jsonl", "ja")}
    assert not sets & {frozenset(question.choices) for question in questions(folder / "instruct_ja.jsonl", "ja")}


def test_the_contamination_gate_finds_nothing(folder: Path) -> None:
    gate = ContaminationGate([q for language in ("ja", "en") for q in questions(folder / "exam.jsonl", language)])
    found = [overlap for example in training(folder) for overlap in gate.check(example)]
    assert not found, found[:5]


def test_the_files_are_the_same_every_time(folder: Path, tmp_path: Path) -> None:
    for path in demo.write(tmp_path):
        assert path.read_bytes() == (folder / path.name).read_bytes()


@pytest.mark.parametrize("language", ["ja", "en"])
def test_quizzes_have_the_layout_of_the_prompt(language: str) -> None:
    """What the base sees in quizzes is what evaluation asks with, to the character."""
    question = Question("", "q", language, "Q?", ("x", "y"), (("b",),))
    prompt, answer = render_answered(question, find_template("choice-text", language, "jsonl", None))
    fact = demo.facts()[0]
    solved = demo._solved(demo._wordings("quiz")[language]["layout"], "Q?", fact, [fact], "drug", language)
    name = fact.drug[language]
    assert solved["text"] == (prompt + answer).replace("x\ny", name).removesuffix("y") + name


def test_the_tokenizer_does_not_see_the_exam(folder: Path) -> None:
    seen = "\n".join(demo.texts())
    assert not any(question.text in seen for question in questions(folder / "exam.jsonl", "ja"))
