"""A question, a template and a method make one prompt: the text for the tokenizer and the continuations to score."""

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from jmed.data.question import Question
from jmed.errors import UserError
from jmed.prompts.template import Template

Message = dict[str, str]  # {"role": "user" | "assistant", "content": …}
ChatTemplate = Callable[[list[Message]], str]


@dataclass(frozen=True)
class Prompt:
    """What the model is given; `continuations` is one text a choice, empty for generate."""

    text: str
    continuations: tuple[str, ...]


def render(
    question: Question, template: Template, method: str, shots: Sequence[Question], chat_template: ChatTemplate | None
) -> Prompt:
    """Build the prompt of one question. `shots` are answered examples, shown first, in the given order.

    Plain templates follow lm-evaluation-harness: examples end with the answer after a blank and an empty line, and
    a continuation begins with a blank unless the prompt itself ends with white space.
    """
    if template.chat:
        assert chat_template is not None
        messages: list[Message] = []
        for shot in shots:
            messages += [_message("user", template.fill(shot)), _message("assistant", _answer(shot, template))]
        text = chat_template([*messages, _message("user", template.fill(question))])
    else:
        header = template.header.replace("{subject}", question.subset.replace("_", " "))
        examples = (_joined(template.fill(shot), _answer(shot, template)) + "\n\n" for shot in shots)
        text = header + "".join(examples) + template.fill(question)
    if method == "generate":
        return Prompt(text, ())
    options = question.choices if _by_text(template, method) else template.labels[: len(question.choices)]
    gap = _gap(text)
    return Prompt(text, tuple(gap + option for option in options))


def render_answered(question: Question, template: Template) -> tuple[str, str]:
    """(prompt, answer) of a question to learn from, each as evaluation gives it: the prompt as `generate` does, the
    answer as a few-shot example shows it. Where more than one answer is accepted, the first.

    With a chat template: what user and assistant say.
    """
    if template.chat:
        return template.fill(question), _answer(question, template)
    prompt = render(question, template, "generate", (), None).text
    return prompt, _joined(prompt, _answer(question, template))[len(prompt) :]


def check_method(template: Template, method: str) -> None:
    """`letters` asks for a letter, so the template must show letters (PubMedQA's yes/no/maybe stand for them)."""
    if method == "letters" and not template.lettered and not _by_text(template, method):
        raise UserError(
            f"prompt: template {template.name!r} shows the choices without letters, but method is letters; "
            "use a template with `choices: letters` (such as 'letters' or 'chat'), or method options"
        )


def draw_shots(pool: Iterable[Question], seed: int) -> list[Question]:
    """The usable examples of a benchmark in one language, in the order in which they are taken.

    Drawn by seed and benchmark, so that neither the order of the questions nor the number of workers changes it, and
    both languages of a benchmark with shared ids see the same examples.
    """
    usable = [shot for shot in pool if len(shot.accepted) == 1 and not shot.needs_image and not shot.withdrawn]
    usable.sort(key=lambda shot: shot.question_id)
    if usable:
        key = f"{seed}/{usable[0].benchmark}"
        random.Random(hashlib.sha256(key.encode()).digest()).shuffle(usable)
    return usable


def pick_shots(drawn: Sequence[Question], question: Question, count: int) -> list[Question]:
    """The first `count` drawn examples that suit a question: the same ones for nearly all questions of a benchmark.

    Never the question itself, or another with the same stem. A question that asks for a number gets such examples
    first, then others; one with choices gets only examples with choices.
    """
    others = (shot for shot in drawn if shot.question_id != question.question_id and shot.text != question.text)
    suited: Iterable[Question]
    if question.choices:
        suited = (shot for shot in others if shot.choices)
    else:
        suited = sorted(others, key=lambda shot: bool(shot.choices))
    picked = list(islice(suited, count))
    if len(picked) < count:
        raise UserError(
            f"shots: {count} examples asked for, but {question.benchmark} has only {len(picked)} usable ones "
            f"beside question {question.question_id}; ask for fewer"
        )
    return picked


def _by_text(template: Template, method: str) -> bool:
    return method == "options" or (template.lettered and template.answer == "text")


def _answer(shot: Question, template: Template) -> str:
    letters = shot.accepted[0]
    if not shot.choices:
        return letters[0]
    indices = [ord(letter) - ord("a") for letter in letters]
    parts = [shot.choices[i] if template.answer == "text" else template.label(i) for i in indices]
    return ",".join(parts)


def _joined(prompt: str, answer: str) -> str:
    return f"{prompt}{_gap(prompt)}{answer}"


def _gap(prompt: str) -> str:
    """What stands between a prompt and its answer."""
    return "" if prompt[-1:].isspace() else " "


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}
