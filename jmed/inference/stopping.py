"""Where a generated answer ends, and what is said of numbers that are none."""

from collections.abc import Sequence
from typing import Any

import torch

from jmed.inference.request import NO_NUMBERS, Answer, Request
from jmed.models.loading import LoadedModel


class AnswerEnd:
    """Whether an answer has ended: at an end token, or once it holds a whole line."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.tokenizer, self.end_tokens = loaded.tokenizer, loaded.end_ids
        self._breaks: dict[int, bool] = {}  # token → holds a line break

    def __call__(self, new: Sequence[int], stop: str) -> bool:
        """`new`: the answer's tokens so far, asked after each; `stop`: the request's rule."""
        if new[-1] in self.end_tokens:
            return True
        if stop != "line" or not self._has_break(new[-1]):
            return False
        return "\n" in self.tokenizer.decode(new, skip_special_tokens=True).lstrip()

    def _has_break(self, token: int) -> bool:
        if token not in self._breaks:
            self._breaks[token] = "\n" in self.tokenizer.decode([token])
        return self._breaks[token]


def generated_answer(tokenizer: Any, request: Request, prompt: Sequence[int], new: Sequence[int]) -> Answer:
    """The text of the new tokens, cut by the request's rule."""
    text = tokenizer.decode(new, skip_special_tokens=True).strip()
    response = text.split("\n")[0].strip() if request.stop == "line" else text
    return Answer(request.item_id, response, (), len(prompt), len(new))


def penalised(scores: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Positive scores of tokens that were there before divided, negative ones multiplied (CTRL, arXiv 1909.05858).

    `scores` [rows, vocabulary], `seen` [rows, tokens].
    """
    if penalty == 1:
        return scores
    old = scores.gather(1, seen)
    return scores.scatter(1, seen, torch.where(old < 0, old * penalty, old / penalty))


def check_numbers(values: torch.Tensor) -> None:
    """ArithmeticError if one is NaN."""
    if values.isnan().any():
        raise ArithmeticError(NO_NUMBERS)
