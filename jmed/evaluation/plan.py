"""What will be asked: questions become prompts, prompts become batches, and what is left out is counted by reason."""

import hashlib
import heapq
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jmed.configuration.schema import EvaluateConfig
from jmed.data import catalogue
from jmed.data.item_id import make_item_id
from jmed.data.question import Question
from jmed.data.rotation import rotate
from jmed.errors import UserError
from jmed.inference.request import Request
from jmed.prompts.render import ChatTemplate, Message, check_method, draw_shots, pick_shots, render
from jmed.prompts.template import DEFAULT_NAMES, Template, find_template
from jmed.spool import Spool, View

T = TypeVar("T")

COUNTED = 500  # items whose tokens are counted at once: an encoding takes ten times the memory of its text
FILLED = 0.75  # of a batch's width is the least that each row fills


@dataclass(frozen=True)
class Item:
    """One question as it is asked."""

    question: Question
    request: Request
    prompt: str  # name of the template
    method: str
    rotation: int = 0  # so many places the choices are rotated; the question itself is as published


class Batches(Sequence[list[Item]]):
    """Items in the order in which they are asked, some a batch."""

    def __init__(self, items: Sequence[Item], order: Sequence[int], starts: Sequence[int]) -> None:
        """`order`: places of the items; `starts`: where each batch begins in it."""
        self._items, self.order, self._starts = items, order, starts

    def __len__(self) -> int:
        return len(self._starts)

    def size(self, number: int) -> int:
        """Items of a batch, which are not read for it."""
        return len(self._places(number))

    @overload
    def __getitem__(self, number: int) -> list[Item]: ...
    @overload
    def __getitem__(self, number: slice) -> list[list[Item]]: ...
    def __getitem__(self, number: int | slice) -> list[Item] | list[list[Item]]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        return [self._items[place] for place in self.order[self._places(range(len(self))[number])]]

    def _places(self, number: int) -> slice:
        ends = self._starts[number + 1] if number + 1 < len(self._starts) else len(self.order)
        return slice(self._starts[number], ends)


@dataclass
class Plan:
    """Everything a run asks, in the order of the item ids, and the batches it is asked in.

    Of very many questions most are on disk, and are read one by one or batch by batch.
    """

    items: View[Item] = field(default_factory=lambda: View((), ()))
    batches: Batches = field(default_factory=lambda: Batches((), (), ()))
    left_out: Counter[tuple[str, str, str]] = field(
        default_factory=Counter
    )  # (benchmark, language, reason) → questions
    exam_questions: list[Question] = field(default_factory=list)  # every question of the exams, asked or not
    digest: str = ""  # SHA-256 of every request
    templates: list[Template] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)  # benchmark files that were read

    def by_item(self, by_batch: Sequence[T]) -> Sequence[T]:
        """What was gathered batch by batch, one thing an item, in the order of `items`."""
        places = np.empty(len(self.items), dtype=np.int64)
        places[np.asarray(self.batches.order)] = np.arange(len(places))
        return View(by_batch, _numbers(places[np.asarray(self.items.order)]))


def plan_evaluation(config: EvaluateConfig, tokenizer: Any, max_length: int, penalty: float = 1.0) -> Plan:
    """Read the benchmarks and lay out every prompt; the same configuration and files always give the same plan.

    `max_length` is the model's context in tokens, `penalty` the repetition penalty for generated answers.
    """
    plan, planned = Plan(), _Planned(tokenizer)
    for benchmark in dict.fromkeys(config.benchmarks):
        there = catalogue.languages_of(benchmark)
        # A file without questions has no languages; reading it says so.
        languages = [one for one in dict.fromkeys(config.languages) if one in (there or config.languages)]
        if not languages:
            raise UserError(f"languages: {benchmark} has only {', '.join(there)}, not {', '.join(config.languages)}")
        plan.files += catalogue.files_of(benchmark, Path(config.data_root))
        for language in languages:
            for item in _plan_benchmark(plan, benchmark, language, config, tokenizer, penalty):
                planned.add(item)
    if not planned.items:
        reasons = ", ".join(f"{count} {reason}" for (_, _, reason), count in plan.left_out.items())
        raise UserError(
            f"benchmarks: no question is left to ask ({reasons}); choose other benchmarks or another method"
        )
    plan.digest = planned.digest.hexdigest()
    plan.items = planned.sorted()
    plan.batches = planned.batches(config.batch_tokens, max_length)
    return plan


def _plan_benchmark(
    plan: Plan, benchmark: str, language: str, config: EvaluateConfig, tokenizer: Any, penalty: float
) -> Iterator[Item]:
    """The items of a benchmark in one language; what is not asked is counted in the plan."""
    questions = catalogue.load(benchmark, language, Path(config.data_root))
    plan.exam_questions += [question for question in questions if question.exam]
    template = _template(benchmark, language, config)
    plan.templates.append(template)
    chat = _chat_template(tokenizer, config) if template.chat else None
    examples = _Examples(config, benchmark, language, questions)
    places = array("q")  # of the questions that can be asked
    for place, question in enumerate(questions):
        if reason := reason_to_leave_out(question, config.method, config.scoring):
            plan.left_out[benchmark, language, reason] += 1
        else:
            places.append(place)
    asked = View(questions, places[: config.limit])
    drawn = _draw_rotated(asked, config)
    for question in asked:
        for rotation in range(len(question.choices) if question.question_id in drawn else 1):
            shown = rotate(question, rotation)
            prompt = render(shown, template, config.method, examples.of(question), chat)
            item_id = make_item_id(question, template.name, config.method, rotation)
            request = Request(item_id, prompt.text, prompt.continuations, config.max_new_tokens, penalty, template.stop)
            yield Item(question, request, template.name, config.method, rotation)


def _draw_rotated(questions: Sequence[Question], config: EvaluateConfig) -> set[str]:
    """Ids of the questions that are asked in all rotations, drawn by seed and id: the same ones in both languages."""
    if not config.rotations:
        return set()

    def place(question: Question) -> bytes:
        return hashlib.sha256(f"{config.seed}/{question.benchmark}/{question.question_id}".encode()).digest()

    usable = (question for question in questions if len(question.choices) > 1)
    return {question.question_id for question in heapq.nsmallest(config.rotations, usable, key=place)}


def reason_to_leave_out(question: Question, method: str, scoring: str) -> str | None:
    """Why a question cannot be asked; None: it can. The paper's evaluator asks withdrawn questions too."""
    if question.needs_image:
        return "needs an image"
    if not question.has_answer:
        return "withdrawn, no right answer"
    if question.withdrawn and scoring == "strict":
        return "withdrawn from the marking"
    if not question.choices and method != "generate":
        return f"no choices, which method {method} needs"
    return None


def _template(benchmark: str, language: str, config: EvaluateConfig) -> Template:
    name = config.prompt or DEFAULT_NAMES[config.method]
    template = find_template(name, language, benchmark.split("-")[0], config.prompt_file)
    check_method(template, config.method)
    return template


def _chat_template(tokenizer: Any, config: EvaluateConfig) -> ChatTemplate:
    if not tokenizer.chat_template:
        raise UserError(
            f"prompt: the tokenizer of {config.model.path} has no chat template; use another prompt than chat"
        )

    def apply(messages: list[Message]) -> str:
        try:
            return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # whatever a template makes jinja's sandbox raise
            raise UserError(
                f"prompt: the chat template of {config.model.path} fails: {str(error)[:200]}; use another prompt"
            ) from None

    return apply


class _Examples:
    """The few-shot examples of a benchmark: the publisher's own, in their order, or else drawn from its questions."""

    def __init__(self, config: EvaluateConfig, benchmark: str, language: str, questions: Sequence[Question]) -> None:
        self.count = config.shots
        self.drawn = draw_shots(questions, config.seed) if self.count else []
        self.published: dict[str, list[Question]] = {}  # by subset
        for shot in catalogue.shots(benchmark, language, Path(config.data_root)) if self.count else []:
            self.published.setdefault(shot.subset, []).append(shot)

    def of(self, question: Question) -> list[Question]:
        own = self.published.get(question.subset, [])
        if not own:
            return pick_shots(self.drawn, question, self.count)
        if len(own) < self.count:
            raise UserError(
                f"shots: {question.benchmark} publishes {len(own)} examples, {self.count} asked for; ask for fewer"
            )
        return own[: self.count]


class _Planned:
    """Items as they come; of each, memory keeps what orders and batches are made from: its id and its length."""

    def __init__(self, tokenizer: Any) -> None:
        self.items: Spool[Item] = Spool()
        self.digest = hashlib.sha256()
        self.tokenizer = tokenizer
        self._waiting: list[Item] = []
        self._ids: list[pa.Array] = []
        self._lengths = array("q")

    def add(self, item: Item) -> None:
        self.items.append(item)
        self.digest.update(json.dumps(vars(item.request), ensure_ascii=False).encode())
        self._waiting.append(item)
        if len(self._waiting) == COUNTED:
            self._count()

    def sorted(self) -> View[Item]:
        """By their ids."""
        return View(self.items, _order(pa.table({"id": self._counted_ids()}), [("id", "ascending")]))

    def batches(self, budget: int, max_length: int) -> Batches:
        ids = self._counted_ids()
        table = pa.table({"id": ids, "length": pa.array(self._lengths, pa.int64())})
        order = _order(table, [("length", "descending"), ("id", "ascending")])
        return Batches(self.items, order, _starts((self._lengths[place] for place in order), budget, max_length))

    def _counted_ids(self) -> pa.Array:
        self._count()
        return pa.concat_arrays(self._ids) if self._ids else pa.array([], pa.string())

    def _count(self) -> None:
        if self._waiting:
            self._lengths.extend(_lengths(self._waiting, self.tokenizer))
            self._ids.append(pa.array([item.request.item_id for item in self._waiting], pa.string()))
            self._waiting = []


def make_batches(items: Sequence[Item], tokenizer: Any, budget: int, max_length: int) -> Batches:
    """Group items of similar length under a token budget, longest first; no row is more than a quarter padding.

    The batches depend on the questions alone, never on workers: a batch's shape moves the last bits of a sum, and the
    answers must be the same for any number of workers. An item too long for the model stands alone, where it fails
    without disturbing others.
    """
    planned = _Planned(tokenizer)
    for item in items:
        planned.add(item)
    return planned.batches(budget, max_length)


def _order(table: pa.Table, keys: list[tuple[str, str]]) -> array[int]:
    """The places of the rows in sorted order."""
    return _numbers(pc.sort_indices(table, sort_keys=keys).to_numpy())


def _numbers(values: np.ndarray) -> array[int]:
    """As Python's own numbers when they are read, eight bytes each."""
    return array("q", values.astype(np.int64).tobytes())


def _starts(lengths: Iterable[int], budget: int, max_length: int) -> array[int]:
    """Where each batch begins among items of these lengths, which fall."""
    starts: array[int] = array("q")
    width = rows = 0
    for place, length in enumerate(lengths):
        rows += 1
        alone = max(length, width) > max_length
        if not starts or length < FILLED * width or rows * width > budget or alone:
            starts.append(place)
            width, rows = length, 1
    return starts


def _lengths(items: Sequence[Item], tokenizer: Any) -> list[int]:
    """Tokens of each item's row: the prompt, and behind it the answer's room, a letter, or the texts of all options."""
    prompts = _count_tokens([item.request.prompt for item in items], tokenizer)
    texts = list(dict.fromkeys(option for item in items for option in item.request.continuations))
    options = dict(zip(texts, _count_tokens(texts, tokenizer), strict=True))
    lengths = []
    for item, prompt in zip(items, prompts, strict=True):
        added = [options[option] for option in item.request.continuations] or [item.request.max_new_tokens]
        lengths.append(prompt + (sum(added) if item.method == "options" else max(added)))
    return lengths


def _count_tokens(texts: Sequence[str], tokenizer: Any) -> list[int]:
    return [len(ids) for ids in tokenizer(texts)["input_ids"]] if texts else []
