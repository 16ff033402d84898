"""From raw answers to marked rows: what was predicted, whether it is right, by which rule."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from jmed.data.question import LETTERS, Question
from jmed.data.rotation import published_letters, rotate
from jmed.evaluation.items import Item
from jmed.evaluation.plan import Plan
from jmed.rows import read
from jmed.scoring.paper import cut_answer, paper_marks
from jmed.scoring.reading import is_correct, read_answer


@dataclass(frozen=True)
class Marked:
    """A question with its row of the answers table."""

    question: Question
    row: dict[str, Any]  # the columns of table.ANSWERS
    prediction: tuple[str, ...] | None  # as it was given; None: unread
    rotation: int = 0  # 0: the choices were shown as published; the others enter no score


def mark_answers(plan: Plan, answers: pa.Table, model: str, scoring: str) -> Iterator[Marked]:
    """Mark the answers to a plan, of the schema RAW_ANSWERS in the order in which it asks, by the ids of its items."""
    for item, answer in zip(plan.items, read(answers, plan.items.order), strict=True):
        yield mark_item(item, answer, model, scoring)


def mark_item(item: Item, answer: Mapping[str, Any], model: str, scoring: str) -> Marked:
    """Mark one model answer (a row of table.RAW_ANSWERS)."""
    question, request = item.question, item.request
    shown = rotate(question, item.rotation)
    logprobs = answer["logprobs"]
    if answer["error"] is not None:
        response, prediction = "", None
    elif request.continuations:
        picked = best_options(logprobs, question.n_answers)
        response = ",".join(request.continuations[index].strip() for index in picked)
        prediction = tuple(LETTERS[index] for index in picked)
    else:
        response = answer["response"]
        prediction = read_answer(response, shown)
    if item.rotation and prediction is not None:
        prediction = published_letters(prediction, item.rotation, len(question.choices))
    row = {
        **row_head(shown, request.item_id, item.prompt, item.method, model),
        "prompt_text": request.prompt,
        "continuations": list(request.continuations),
        "option_logprobs": logprobs,
        "response": response,
        "error": answer["error"],
        "tokens_in": answer["tokens_in"],
        "tokens_out": answer["tokens_out"],
    }
    row["correct"] = is_correct(prediction, question)
    if item.rotation:  # the paper's evaluator asks in the published order only
        return replace(finish_row(question, row, prediction, "", "strict"), rotation=item.rotation)
    return finish_row(question, row, prediction, cut_answer(response, request.prompt), scoring)


def row_head(question: Question, item_id: str, prompt: str, method: str, model: str) -> dict[str, Any]:
    return {
        "item_id": item_id,
        "benchmark": question.benchmark,
        "question_id": question.question_id,
        "language": question.language,
        "prompt": prompt,
        "method": method,
        "model": model,
        "choices": list(question.choices),
    }


def finish_row(
    question: Question, row: dict[str, Any], prediction: tuple[str, ...] | None, paper_answer: str, scoring: str
) -> Marked:
    """Add prediction, gold and the paper's marks to a row; those only where its evaluator would give them.

    `paper_answer` is the answer as the paper's evaluator cuts it out of the response.
    """
    paper = paper_marks(paper_answer, question) if scoring == "paper" else None
    row |= {
        "prediction": _shown(prediction, question),
        "gold": question.gold,
        "exact_match": paper.exact_match if paper else None,
        "gestalt_match": paper.gestalt_match if paper else None,
    }
    return Marked(question, row, prediction)


def _shown(prediction: tuple[str, ...] | None, question: Question) -> str:
    """A prediction as the table holds it; empty if it is no letter of a choice (an imported "c, e" or a refusal)."""
    letters = LETTERS[: len(question.choices)] if question.choices else ""
    if prediction is None or (letters and not all(len(part) == 1 and part in letters for part in prediction)):
        return ""
    return ",".join(prediction)


def best_options(logprobs: Sequence[float], count: int) -> list[int]:
    """The `count` most probable options in their own order; of equals the first, as lm-evaluation-harness does."""
    ranked = sorted(range(len(logprobs)), key=lambda index: -logprobs[index])
    return sorted(ranked[:count])
