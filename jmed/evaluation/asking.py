"""Asking a batch so that a question that kills its worker costs itself, and nothing else."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from jmed.errors import GaveUp
from jmed.evaluation.attempts import Attempts
from jmed.inference.request import Answer, Request

SUSPICION = 2  # deaths over a batch; then its questions are asked one by one
PROOF = 3  # deaths over one question on its own; then it is not asked any more
TOGETHER = 5  # deaths over a batch; then the answers given one by one count: only together do they kill
DEADLY = 20  # questions given up in one run; then something else is wrong


class Answerer(Protocol):
    """`inference.engine.Engine`."""

    def answer(self, requests: Sequence[Request]) -> list[Answer]: ...


@dataclass(frozen=True)
class Asker:
    """Asks batches, and remembers on disk what its predecessors died over.

    A batch that workers died over without a fault of its own (their nodes were lost, say) is asked whole again once
    each of its questions has been asked alone: only then are its answers, to the last bit, those of a run in which
    nobody died.
    """

    engine: Answerer
    attempts: Attempts

    def answer(self, number: int, requests: Sequence[Request]) -> list[Answer]:
        """One answer a request, in order; GaveUp if workers die over ever more questions."""
        name = f"batch-{number}"
        if self.attempts.deaths(name) < SUSPICION:
            return self._together(name, requests)
        alone = {request.item_id: self._alone(request) for request in requests}
        rest = [request for request in requests if not self._is_deadly(request)]
        if rest and self.attempts.deaths(name) < TOGETHER:
            alone |= {answer.item_id: answer for answer in self._together(name, rest)}
        return [alone[request.item_id] for request in requests]

    def _together(self, name: str, requests: Sequence[Request]) -> list[Answer]:
        with self.attempts.trying(name):
            return self.engine.answer(requests)

    def _alone(self, request: Request) -> Answer:
        if self._is_deadly(request):
            self._refuse_many()
            return Answer(request.item_id, error=f"its worker died each of the {PROOF} times that it was asked alone")
        with self.attempts.trying(_name(request)):
            return self.engine.answer([request])[0]

    def _is_deadly(self, request: Request) -> bool:
        return self.attempts.deaths(_name(request)) >= PROOF

    def _refuse_many(self) -> None:
        deaths = self.attempts.all_deaths()
        count = sum(deaths[name] >= PROOF for name in deaths if name.startswith("question-"))
        if count > DEADLY:
            raise GaveUp(f"workers died over {count} questions, {PROOF} times over each: the questions are not why")


def _name(request: Request) -> str:
    """A hash: ids come from data files, and are no file names."""
    return f"question-{hashlib.sha256(request.item_id.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
