"""Templates: where they come from, what they must hold, and how they show a question."""

import re
from dataclasses import fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from jmed.data.question import LETTERS, Question
from jmed.errors import UserError, nearest
from jmed.untrusted import MAX_YAML, PlainLoader, read_whole

ChoiceStyle = Literal["lines", "comma", "letters", "small_letters", "parentheses"]
DEFAULT_NAMES = {"generate": "choice-text", "options": "choice-text", "letters": "letters"}

# The paper's evaluator shows lettered choices for this template only and joins all others' by commas, also those of
# "meditron_four_choice" (its assignment is overwritten two lines later).
PAPER_LETTERED = "meditron_five_choice"

_QUESTION = ("question", "instruction")
_CHOICES = ("choices", "input")
_PLACEHOLDER = re.compile(r"\{(question|instruction|choices|input|context)\}")


@dataclass(frozen=True, config=ConfigDict(strict=True))
class Template:
    """One template in one language; the keys are explained at the top of templates.yaml."""

    name: str
    text: str
    choices: ChoiceStyle = "comma"
    answer: Literal["text", "letter"] = "text"
    stop: Literal["line", "end"] = "line"
    chat: bool = False
    header: str = ""
    strip: bool = False  # blanks around the question are cut
    no_choices: str = ""

    @property
    def lettered(self) -> bool:
        return self.choices in ("letters", "small_letters", "parentheses")

    @property
    def labels(self) -> str:
        """The letters of the choices as this template writes them."""
        return LETTERS if self.choices == "small_letters" else LETTERS.upper()

    def label(self, index: int) -> str:
        """The letter of a choice."""
        return self.labels[index]

    def fill(self, question: Question) -> str:
        """The template with the question in it; one pass, so braces inside a question stay what they are."""
        stem = question.text.strip() if self.strip else question.text
        if question.context and "{context}" not in self.text:
            stem = f"{question.context}\n\n{stem}"
        shown = self._show(question.choices) if question.choices else self.no_choices
        values = dict.fromkeys(_QUESTION, stem) | dict.fromkeys(_CHOICES, shown) | {"context": question.context}
        return _PLACEHOLDER.sub(lambda found: values[found[1]], self.text)

    def _show(self, choices: tuple[str, ...]) -> str:
        if self.choices == "comma":
            return ",".join(choices)
        if self.choices == "lines":
            return "\n".join(choices)
        mark = "({}){}" if self.choices == "parentheses" else "{}. {}"
        return "\n".join(map(mark.format, self.labels, choices))


def find_template(name: str, language: str, family: str, prompt_file: str | None) -> Template:
    """The template `name` for a language and a benchmark family; from `prompt_file` if one is given."""
    if prompt_file is None:
        entries = yaml.safe_load(resources.files("jmed.prompts").joinpath("templates.yaml").read_text("utf-8"))
        place = "prompt"
    else:
        entries = _read_file(Path(prompt_file))
        place = prompt_file
    if name not in entries:
        known = ", ".join(str(entry) for entry in entries)
        raise UserError(f"{place}: no template named {name!r}{nearest(name, map(str, entries))}; it has: {known}")
    entry = entries[name]
    if prompt_file is None:
        options = dict(entry.get(language) or entry["any"])
        options |= options.pop("families", {}).get(family, {})
        return Template(name=name, **options)
    own = f"{name}_ja" if language == "ja" and f"{name}_ja" in entries else name
    return replace(_own_template(own, entries[own], prompt_file), name=name)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        entries = yaml.load(read_whole(path, MAX_YAML).decode(), Loader=PlainLoader)
    except OSError as error:
        raise UserError(
            f"prompt_file: {path} cannot be read ({error.strerror}); give the path of a YAML file"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"prompt_file: {path} is not UTF-8 YAML: {error}") from None
    if not isinstance(entries, dict) or not entries:
        raise UserError(
            f'prompt_file: {path} holds no templates; expected lines such as `my-prompt: "… {{question}} …"`'
        )
    return entries


def _own_template(name: str, entry: Any, place: str) -> Template:
    """A template of the user's: a text in the paper's style, or a mapping with the keys of templates.yaml."""
    style = "parentheses" if name == PAPER_LETTERED else "comma"
    options = {"text": entry, "choices": style} if isinstance(entry, str) else entry
    if not isinstance(options, dict) or "text" not in options:
        raise UserError(
            f"{place}: template {name!r}: found {entry!r}; expected a text, or a mapping with the key `text`"
        )
    known = {field.name for field in fields(Template)} - {"name"}
    for key in options:
        if key not in known:
            raise UserError(f"{place}: template {name!r}: unknown key {key!r}{nearest(str(key), known)}")
    try:
        template = Template(name=name, **options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        found = f"{first['loc'][-1]} is {first['input']!r}; expected: {first['msg']}"
        raise UserError(f"{place}: template {name!r}: {found}") from None
    _check_placeholders(template, place)
    if template.lettered and "answer" not in options:
        template = replace(template, answer="letter")
    return template


def _check_placeholders(template: Template, place: str) -> None:
    present = set(_PLACEHOLDER.findall(template.text))
    for names, what in ((_QUESTION, "the question"), (_CHOICES, "the choices")):
        if not present & set(names):
            wanted = " or ".join(f"{{{name}}}" for name in names)
            raise UserError(
                f"{place}: template {template.name!r} lacks the placeholder {wanted}, where {what} would stand"
            )
