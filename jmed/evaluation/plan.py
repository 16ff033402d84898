"""What will be asked: questions become prompts, prompts become batches, and what is left out is counted by reason."""

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from jmed.configuration.schema import EvaluateConfig
from jmed.data import catalogue
from jmed.data.item_id import make_item_id
from jmed.data.question import Question
from jmed.data.rotation import rotate
from jmed.errors import UserError
from jmed.evaluation.batches import Batches, Planned
from jmed.evaluation.items import Item, Items
from jmed.evaluation.table import PLANNED
from jmed.inference.request import Request
from jmed.prompts.render import ChatTemplate, Message, check_method, draw_shots, pick_shots, render
from jmed.prompts.template import DEFAULT_NAMES, Template, find_template
from jmed.spool import View


@dataclass
class Plan:
    """Everything a run asks, in the order of the item ids, and the batches it is asked in.

    Of very many questions most are on disk, and are read some at a time.
    """

    items: View[Item]  # `items.order`: their places among all items as they are asked, batch after batch
    batches: Batches
    left_out: Counter[tuple[str, str, str]] = field(
        default_factory=Counter
    )  # (benchmark, language, reason) → questions
    exam_questions: list[Question] = field(default_factory=list)  # every question of the exams, asked or not
    digest: str = ""  # SHA-256 of every request
    templates: list[Template] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)  # benchmark files that were read


def plan_evaluation(config: EvaluateConfig, tokenizer: Any, max_length: int, penalty: float = 1.0) -> Plan:
    """Read the benchmarks and lay out every prompt; the same configuration and files always give the same plan.

    `max_length` is the model's context in tokens, `penalty` the repetition penalty for generated answers.
    """
    nothing = Items((), PLANNED.empty_table())
    plan, planned = Plan(View(nothing, ()), Batches(nothing, ())), Planned(tokenizer)
    for benchmark in dict.fromkeys(config.benchmarks):
        there = catalogue.languages_of(benchmark, config.languages)
        # A file without questions has no languages; reading it says so.
        languages = [one for one in dict.fromkeys(config.languages) if one in (there or config.languages)]
        if not languages:
            raise UserError(f"languages: {benchmark} has only {', '.join(there)}, not {', '.join(config.languages)}")
        plan.files += catalogue.files_of(benchmark, Path(config.data_root))
        for language in languages:
            for item in _plan_benchmark(plan, benchmark, language, config, tokenizer, penalty):
                planned.add(item)
    if not planned:
        reasons = ", ".join(f"{count} {reason}" for (_, _, reason), count in plan.left_out.items())
        raise UserError(
            f"benchmarks: no question is left to ask ({reasons}); choose other benchmarks or another method"
        )
    plan.items, plan.batches = planned.grouped(config.batch_tokens, max_length)
    plan.digest = planned.digest.hexdigest()
    return plan


def _plan_benchmark(
    plan: Plan, benchmark: str, language: str, config: EvaluateConfig, tokenizer: Any, penalty: float
) -> Iterator[Item]:
    """The items of a benchmark in one language; what is not asked is counted in the plan."""
    several_times = config.shots or config.rotations  # examples and what is rotated are drawn before
    read = catalogue.load if several_times else catalogue.stream
    questions = read(benchmark, language, Path(config.data_root))
    template = _template(benchmark, language, config)
    plan.templates.append(template)
    chat = _chat_template(tokenizer, config) if template.chat else None
    examples = _Examples(config, benchmark, language, questions)
    drawn = _draw_rotated(questions, config)
    asked = 0
    for question in questions:
        if question.exam:
            plan.exam_questions.append(question)
        if reason := reason_to_leave_out(question, config.method, config.scoring):
            plan.left_out[benchmark, language, reason] += 1
            continue
        asked += 1
        if config.limit is not None and asked > config.limit:
            continue
        for rotation in range(len(question.choices) if question.question_id in drawn else 1):
            shown = rotate(question, rotation)
            prompt = render(shown, template, config.method, examples.of(question), chat)
            item_id = make_item_id(question, template.name, config.method, rotation)
            request = Request(item_id, prompt.text, prompt.continuations, config.max_new_tokens, penalty, template.stop)
            yield Item(question, request, template.name, config.method, rotation)


def _draw_rotated(questions: Iterable[Question], config: EvaluateConfig) -> set[str]:
    """Ids of the questions that are asked in all rotations, drawn by seed and id: the same ones in both languages."""
    if not config.rotations:
        return set()

    def place(question: Question) -> bytes:
        return hashlib.sha256(f"{config.seed}/{question.benchmark}/{question.question_id}".encode()).digest()

    asked = (one for one in questions if not reason_to_leave_out(one, config.method, config.scoring))
    usable = (question for question in islice(asked, config.limit) if len(question.choices) > 1)
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

    def __init__(self, config: EvaluateConfig, benchmark: str, language: str, questions: Iterable[Question]) -> None:
        self.count = config.shots
        self.drawn = draw_shots(questions, config.seed) if self.count else []
        self.published: dict[str, list[Question]] = {}  # by subset
        for shot in catalogue.shots(benchmark, language, Path(config.data_root)) if self.count else []:
            self.published.setdefault(shot.subset, []).append(shot)

    def of(self, question: Question) -> list[Question]:
        if not self.count:
            return []
        own = self.published.get(question.subset, [])
        if not own:
            return pick_shots(self.drawn, question, self.count)
        if len(own) < self.count:
            raise UserError(
                f"shots: {question.benchmark} publishes {len(own)} examples, {self.count} asked for; ask for fewer"
            )
        return own[: self.count]
