"""Training data: JSON lines in four formats, and benchmarks' questions, as examples one by one.

text    {"text": …}
alpaca  {"instruction": …, "input": … (may be missing), "output": …}
chat    {"messages": [{"role": "system" | "user" | "assistant", "content": …}, …]}
mcqa    {"question_id", "language", "question", "choices", "answer"}, as the benchmark `jsonl:PATH`

Other fields are ignored.
"""

from collections.abc import Iterator
from pathlib import Path

from jmed.data import catalogue
from jmed.data.examples import Example, Message
from jmed.data.lines import Record, read_jsonl
from jmed.data.readers.jsonl import question_of
from jmed.errors import UserError


def read_examples(path: Path, format: str, language: str | None) -> Iterator[Example]:
    """The examples of a file; an mcqa question of another language than `language` is left out."""
    read = {"text": _text, "alpaca": _alpaca, "chat": _chat, "mcqa": _mcqa}[format]
    lines = kept = 0
    for record in read_jsonl(path):
        lines += 1
        example = read(record, language)
        if language is None or example.language == language:
            kept += 1
            yield example
    if not kept:
        found = f"none of its {lines} questions is in {language}" if lines else "it has no lines"
        raise UserError(f"{path}: holds no training examples: {found}")


def benchmark_examples(name: str, language: str | None, data_root: Path) -> Iterator[Example]:
    """The questions of a benchmark that can be learnt from: with an answer, without an image, not withdrawn."""
    kept = 0
    for one in [language] if language else catalogue.languages_of(name):
        for question in catalogue.load(name, one, data_root):
            if question.accepted and not question.needs_image and not question.withdrawn:
                kept += 1
                yield Example(f"{name}/{question.question_id}", one, question=question)
    if not kept:
        raise UserError(f"benchmark {name!r}: holds no question that can be learnt from")


def _text(record: Record, language: str | None) -> Example:
    return Example(record.place, language, text=_filled(record, "text"))


def _alpaca(record: Record, language: str | None) -> Example:
    instruction, given = _filled(record, "instruction"), record.text("input", default="")
    asked = f"{instruction}\n\n{given}" if given.strip() else instruction
    return Example(record.place, language, messages=(("user", asked), ("assistant", _filled(record, "output"))))


def _chat(record: Record, language: str | None) -> Example:
    messages = record.fields.get("messages")
    if not isinstance(messages, list) or not messages:
        found = "is missing" if "messages" not in record.fields else "is empty" if messages == [] else "is no list"
        raise record.error(f"field 'messages' {found}; expected a list of {{role, content}}")
    turns = tuple(_message(record, number, message) for number, message in enumerate(messages))
    spoken = [role for role, _ in turns if role != "system"]
    expected = ["user", "assistant"] * (len(spoken) // 2)
    if not spoken or spoken != expected or "system" in [role for role, _ in turns[1:]]:
        raise record.error(
            f"roles are {', '.join(role for role, _ in turns)}; expected user and assistant by turns, ending with "
            "assistant, and system only in front"
        )
    return Example(record.place, language, messages=turns)


def _message(record: Record, number: int, message: object) -> Message:
    if not isinstance(message, dict):
        raise record.error(f"message {number + 1} is no object; expected {{role, content}}")
    inner = Record(record.path, record.line, message, f"messages[{number}].")
    role = inner.text("role")
    if role not in ("system", "user", "assistant"):
        raise record.error(f"field 'messages[{number}].role' is {role!r}; expected system, user or assistant")
    return role, _filled(inner, "content")


def _mcqa(record: Record, language: str | None) -> Example:
    question = question_of(record)
    return Example(record.place, question.language, question=question)


def _filled(record: Record, name: str) -> str:
    text = record.text(name)
    if not text.strip():
        raise record.error(f"field {record.inside + name!r} is empty; expected text")
    return text
