"""From raw answers to marks: what was predicted, whether it is right, by which rule."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from jmed.data.question import LETTERS, Question
from jmed.data.rotation import published_letters, rotate
from jmed.evaluation.plan import Plan
from jmed.evaluation.table import ANSWERS
from jmed.rows import read
from jmed.scoring.paper import PaperMarks, cut_answer, paper_marks
from jmed.scoring.reading import is_correct, read_answer
from jmed.spool import View

# Of what was planned and answered, what a mark depends on; all else stays in its table. The prompt: for the paper's.
ASKED = ["template", "method", "rotation", "continuations"]
GIVEN = ["response", "logprobs", "error"]


class Marked(NamedTuple):
    """The mark of one answer. (A tuple: of very many answers a dataclass takes twice the time.)"""

    question: Question
    prompt: str  # name of the template
    method: str
    response: str
    prediction: tuple[str, ...] | None  # as it was given, in the published order of the choices; None: unread
    written: str  # the same as the answers table holds it
    correct: bool
    error: str | None = None
    paper: PaperMarks | None = None  # where they are wanted, and its evaluator would give any
    rotation: int = 0  # 0: the choices were shown as published; the others enter no score


@dataclass(frozen=True)
class Piece:
    """Some answers that are marked, a row each."""

    asked: pa.Table  # of the schema PLANNED
    given: pa.Table  # of the schema RAW_ANSWERS
    marked: list[Marked]

    def rows(self, model: str) -> pa.Table:
        """Their rows of the answers table; a model's name stands in each."""
        asked, given, marked = self.asked, self.given, self.marked
        questions, papers = [one.question for one in marked], [one.paper for one in marked]
        columns = {
            "item_id": asked["item_id"],
            "benchmark": [one.benchmark for one in questions],
            "question_id": [one.question_id for one in questions],
            "language": [one.language for one in questions],
            "prompt": asked["template"],
            "method": asked["method"],
            "model": [model] * len(marked),
            "prompt_text": asked["prompt"].cast(pa.string()),
            "choices": [rotate(one.question, one.rotation).choices for one in marked],
            "continuations": asked["continuations"],
            "option_logprobs": given["logprobs"],
            "response": [one.response for one in marked],
            "prediction": [one.written for one in marked],
            "gold": [one.gold for one in questions],
            "correct": [one.correct for one in marked],
            "exact_match": [paper and paper.exact_match for paper in papers],
            "gestalt_match": [paper and paper.gestalt_match for paper in papers],
            "error": given["error"],
            "tokens_in": given["tokens_in"],
            "tokens_out": given["tokens_out"],
        }
        return pa.table(columns, schema=ANSWERS)


def mark_answers(plan: Plan, answers: pa.Table, scoring: str) -> Iterator[Piece]:
    """Mark the answers to a plan, of the schema RAW_ANSWERS in the order in which it asks, by the ids of its items."""
    items, order = plan.batches.items, plan.items.order
    questions = iter(View(items.questions, order))
    wanted = ASKED + ["prompt"] * (scoring == "paper")
    for asked, given in read(order, items.rows, answers):
        rows = zip(asked.select(wanted).to_pylist(), given.select(GIVEN).to_pylist(), strict=True)
        yield Piece(asked, given, [mark(next(questions), *row, scoring) for row in rows])


def mark(question: Question, asked: Mapping[str, Any], given: Mapping[str, Any], scoring: str) -> Marked:
    """Mark one answer: `asked` has the columns ASKED of PLANNED, and for the paper's scoring its prompt; `given` the
    columns GIVEN of RAW_ANSWERS."""
    rotation, continuations, response = asked["rotation"], asked["continuations"], given["response"]
    prediction: tuple[str, ...] | None
    if given["error"] is not None:
        response, prediction = "", None
    elif continuations:
        picked = best_options(given["logprobs"], question.n_answers)
        response = ",".join(continuations[index].strip() for index in picked)
        prediction = tuple(LETTERS[index] for index in picked)
    else:
        prediction = read_answer(response, rotate(question, rotation))
    paper = None
    if scoring == "paper" and not rotation:  # its evaluator asks in the published order only
        paper = paper_marks(cut_answer(response, asked["prompt"]), question)
    if rotation and prediction is not None:
        prediction = published_letters(prediction, rotation, len(question.choices))
    return Marked(
        question, asked["template"], asked["method"], response, prediction, written(prediction, question),
        is_correct(prediction, question), given["error"], paper, rotation,
    )  # fmt: skip


def written(prediction: tuple[str, ...] | None, question: Question) -> str:
    """A prediction as the table holds it; empty if it is no letter of a choice (an imported "c, e" or a refusal)."""
    letters = LETTERS[: len(question.choices)] if question.choices else ""
    if prediction is None or (letters and not all(len(part) == 1 and part in letters for part in prediction)):
        return ""
    return ",".join(prediction)


def best_options(logprobs: Sequence[float], count: int) -> list[int]:
    """The `count` most probable options in their own order; of equals the first, as lm-evaluation-harness does."""
    ranked = sorted(range(len(logprobs)), key=lambda index: -logprobs[index])
    return sorted(ranked[:count])
