"""The questions on a page: their texts and answers, packed so that a browser opens them a few at a time."""

import base64
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from heapq import merge
from itertools import groupby, islice
from typing import Any

import pyarrow as pa

from jmed.data.item_id import variant_of
from jmed.data.question import LANGUAGES, Question
from jmed.report.sampling import BUDGET, LIMIT, LONGEST, Name, RunAnswers, sample

GROUP = 100  # questions that are packed, and unpacked, together
STEM = 90  # characters of a question in the list
Key = tuple[str, str, str]  # benchmark, question_id, language
SHOWN = ("item_id", "language", "prompt", "method", "prompt_text", "choices", "continuations", "option_logprobs",
         "response", "prediction", "gold", "correct", "error", "tokens_in", "tokens_out")  # fmt: skip


class Questions:
    """The questions that a page shows. `known` holds what the answers tables do not: stems, specialties, prohibited
    choices; a question that is not in it is shown without them."""

    def __init__(
        self,
        runs: Sequence[RunAnswers],
        known: Mapping[Key, Question],
        limit: int = LIMIT,
        budget: int = BUDGET,
    ) -> None:
        self.runs, self._known = [run.name for run in runs], known
        self._sample = sample(runs, SHOWN, limit, budget)
        self._places = {name: place for place, name in enumerate(self._sample.names)}

    @property
    def total(self) -> int:
        """How many questions the runs answered."""
        return self._sample.total

    @property
    def count(self) -> int:
        """How many questions the page shows, of `total`."""
        return len(self._sample.names)

    def index(self) -> str:
        """What the list and the filters need of every question, packed."""
        values = _Values()
        rows = [self._index_row(name, answers, values) for name, answers in self._answers()]
        head = {"runs": self.runs, "languages": LANGUAGES, "group": GROUP}
        return pack({**head, "values": values.all, "questions": rows})

    def _answers(self) -> Iterator[tuple[Name, list[dict[str, Any]]]]:
        """Each question with its answers, rows of the tables with the number of the run; read a piece at a time."""
        streams = [_read(table, number) for number, table in enumerate(self._sample.tables)]
        rows = merge(*streams, key=lambda row: self._places[_name(row)])
        yield from ((name, list(answers)) for name, answers in groupby(rows, key=_name))

    def _index_row(self, name: Name, answers: list[dict[str, Any]], values: "_Values") -> list[Any]:
        marks = {(run, language): "-" for run in range(len(self.runs)) for language in LANGUAGES}
        shown = dict.fromkeys(LANGUAGES, "")
        for answer in answers:
            language = answer["language"]
            if marks.get((answer["run"], language)) == "-":  # the first of several answers of a run
                marks[answer["run"], language] = mark(answer)
            if language in shown and not shown[language]:
                shown[language] = self._stem((*name, language), answer)
        question = next((self._known[*name, one] for one in LANGUAGES if (*name, one) in self._known), None)
        part, specialty = (question.subset, question.specialty) if question else ("", "")
        places = [values.place(kind, value) for kind, value in zip(VALUES, (name[0], part, specialty), strict=True)]
        return [*places, name[1], "".join(marks.values()), *shown.values()]

    def _stem(self, key: Key, answer: dict[str, Any]) -> str:
        question = self._known.get(key)
        stem = question.text if question else answer["prompt_text"]
        return stem[:STEM] + "…" if len(stem) > STEM else stem

    def groups(self) -> Iterator[str]:
        """Texts and answers of `GROUP` questions at a time, packed, in the order of the index."""
        questions = self._answers()
        while group := list(islice(questions, GROUP)):
            yield pack([self._detail(name, answers) for name, answers in group])

    def _detail(self, name: Name, answers: list[dict[str, Any]]) -> dict[str, Any]:
        """A question with its texts by language, its prompts, each once, and its answers."""
        prompts: dict[str, int] = {}
        texts: dict[str, dict[str, Any]] = {}
        shown = []
        for answer in answers:
            key = (*name, answer["language"])
            texts.setdefault(answer["language"], self._text(key, answer["choices"], answer["gold"]))
            shown.append(
                {
                    **{column: answer[column] for column in PASSED_ON},
                    "mark": mark(answer),
                    "variant": variant_of(answer["item_id"]),
                    "response": cut(answer["response"]),
                    "prompt_text": prompts.setdefault(answer["prompt_text"], len(prompts)),
                    "option_logprobs": [round(one, 4) for one in answer["option_logprobs"]],
                }
            )
        return {"texts": texts, "prompts": list(map(cut, prompts)), "answers": shown}

    def _text(self, key: Key, choices: list[str], gold: str) -> dict[str, Any]:
        question = self._known.get(key)
        text: dict[str, Any] = {"choices": choices, "gold": gold}
        if question:
            text |= {"text": cut(question.text), "context": cut(question.context), "block": question.block}
            text |= {"prohibited": question.prohibited, "image": question.needs_image}
        return text


PASSED_ON = ("run", "language", "prompt", "method", "continuations", "prediction", "error", "tokens_in", "tokens_out")
VALUES = ("benchmarks", "parts", "specialties")


class _Values:
    """Each value of a column once; the rows hold its place."""

    def __init__(self) -> None:
        self._places: dict[str, dict[str, int]] = {kind: {} for kind in VALUES}

    def place(self, kind: str, value: str) -> int:
        places = self._places[kind]
        return places.setdefault(value, len(places))

    @property
    def all(self) -> dict[str, list[str]]:
        return {kind: list(places) for kind, places in self._places.items()}


def _name(answer: Mapping[str, Any]) -> Name:
    return answer["benchmark"], answer["question_id"]


def mark(answer: Mapping[str, Any]) -> str:
    """What became of an answer: `e` it failed, `1` right, `u` unread (and so wrong), `0` wrong."""
    if answer["error"] is not None:
        return "e"
    if answer["correct"]:
        return "1"
    return "0" if answer["prediction"] else "u"


def cut(text: str) -> str | list[Any]:
    """A text, or of one that is too long [its start, how many characters are left out, its end]."""
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return [text[:half], len(text) - 2 * half, text[-half:]]


def pack(value: Any) -> str:
    """JSON, compressed, as text that means nothing to a reader of HTML."""
    raw = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
    return base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode("ascii")


def _read(table: pa.Table, run: int) -> Iterator[dict[str, Any]]:
    """The rows of a table, with the number of their run."""
    for start in range(0, len(table), 1_000):
        for row in table.slice(start, 1_000).to_pylist():
            yield {**row, "run": run}
