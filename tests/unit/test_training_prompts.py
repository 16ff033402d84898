"""What a question looks like in training is what it looks like in an examination."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from jmed.data import catalogue
from jmed.data.question import Question
from jmed.prompts.render import Message, render, render_answered
from jmed.prompts.template import find_template

QUESTION = Question(
    benchmark="mmlu-anatomy",
    question_id="1",
    language="en",
    text=" Which? ",
    choices=("iron", "zinc", "lead"),
    accepted=(("a", "c"),),
    subset="anatomy",
)


def answered(question: Question, name: str, family: str = "") -> tuple[str, str]:
    return render_answered(question, find_template(name, question.language, family, None))


def test_character_for_character() -> None:
    assert answered(QUESTION, "letters") == (" Which? \nA. iron\nB. zinc\nC. lead\nAnswer:", " A,C")
    prompt, answer = answered(QUESTION, "choice-text")
    assert prompt.endswith("iron\nzinc\nlead\n\n[Answer]\n")
    assert answer == "iron,lead"


def test_a_family_keeps_its_wording() -> None:
    prompt, answer = answered(QUESTION, "letters", "mmlu")
    assert prompt.startswith("The following are multiple choice questions (with answers) about anatomy.\n\nWhich?\n")
    assert answer == " A,C"
    pubmed = replace(QUESTION, context="Abstract.", accepted=(("b",),))
    assert answered(pubmed, "letters", "pubmedqa") == ("Abstract: Abstract.\nQuestion:  Which? \nAnswer:", " zinc")


def test_the_first_of_several_right_answers_is_taught() -> None:
    question = replace(QUESTION, accepted=(("b",), ("c",)))
    assert answered(question, "letters")[1] == " B"
    assert answered(question, "choice-text")[1] == "zinc"


def test_a_number_is_taught_as_it_is_written() -> None:
    question = replace(QUESTION, choices=(), accepted=(("7.20",),))
    assert answered(question, "choice-text")[1] == "7.20"
    assert answered(question, "letters")[1] == " 7.20"


def test_chat_gives_what_each_side_says() -> None:
    prompt, answer = answered(QUESTION, "chat")
    assert prompt.endswith(" Which? \n\na. iron\nb. zinc\nc. lead")
    assert answer == "a,c"

    seen: list[Message] = []

    def chat(messages: list[Message]) -> str:
        seen.extend(messages)
        return ""

    render(QUESTION, find_template("chat", "en", "", None), "generate", (), chat)
    assert seen == [{"role": "user", "content": prompt}]


BENCHMARKS = ["igakuqa-2018", "yakugakuqa-2015", "jmmlu-anatomy", "mmlu-anatomy", "medqa", "pubmedqa", "mini"]


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_the_prompt_is_that_of_the_examination(benchmark: str, data_root: Path, paper_prompts: Path) -> None:
    """Every plain template, those of the paper's file too: the same prompt, and an answer as few-shot shows it."""
    family = benchmark.split("-")[0]
    names = [("choice-text", None), ("letters", None)]
    names += [(name, str(paper_prompts)) for name in yaml.safe_load(paper_prompts.read_text("utf-8"))]
    for language in catalogue.languages_of(benchmark):
        questions = [q for q in catalogue.load(benchmark, language, data_root) if q.accepted][:25]
        for name, file in names:
            template = find_template(name, language, family, file)
            for question in questions:
                prompt, answer = render_answered(question, template)
                assert prompt == render(question, template, "generate", (), None).text
                shown = render(question, template, "generate", (question,), None).text
                header = len(template.header.replace("{subject}", question.subset.replace("_", " ")))
                assert shown == prompt + answer + "\n\n" + prompt[header:]
