"""A question that kills its worker costs itself and nothing else; workers here are processes that really die."""

import multiprocessing
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jmed.errors import GaveUp
from jmed.evaluation.asking import DEADLY, PROOF, SUSPICION, TOGETHER, Asker, _name
from jmed.evaluation.attempts import Attempts
from jmed.inference.request import Answer, Request


@dataclass(frozen=True)
class Mortal:
    """Answers with the size of the batch that a question was asked in; some questions kill, or some crowds."""

    deadly: frozenset[str] = frozenset()
    crowd: int = 10**6  # kills from so many questions on

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        if len(requests) >= self.crowd or any(request.item_id in self.deadly for request in requests):
            os.kill(os.getpid(), signal.SIGKILL)
        return [Answer(request.item_id, response=str(len(requests))) for request in requests]


def ask(attempts: Attempts, engine: Mortal, ids: str, most: int = 1000) -> tuple[list[Answer], int]:
    """As Ray does: the same batch again, in a new process, until one lives; (answers, deaths)."""
    context = multiprocessing.get_context("fork")
    for deaths in range(most):
        receiver, sender = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(attempts, engine, ids, sender))
        worker.start()
        sender.close()
        worker.join()
        if worker.exitcode == 0:
            return receiver.recv(), deaths
        assert worker.exitcode == -signal.SIGKILL
    raise AssertionError(f"{most} deaths")


def _work(attempts: Attempts, engine: Mortal, ids: str, sender: object) -> None:
    answers = Asker(engine, attempts).answer(7, [Request(one, "?") for one in ids])
    sender.send(answers)  # type: ignore[attr-defined]


@pytest.fixture
def attempts(tmp_path: Path) -> Attempts:
    made = Attempts(tmp_path / "attempts")
    made.prepare()
    return made


def die(attempts: Attempts, name: str, times: int) -> None:
    """What workers leave that were killed while they tried it."""
    for number in range(times):
        (attempts.folder / f"{name}.{number}").touch()


def test_a_question_that_kills_is_an_error_and_all_others_are_answered(attempts: Attempts) -> None:
    answers, deaths = ask(attempts, Mortal(frozenset("c")), "abcde")
    assert [answer.item_id for answer in answers] == list("abcde")
    assert [answer.response for answer in answers] == ["4", "4", "", "4", "4"]
    assert answers[2].error == "its worker died each of the 3 times that it was asked alone"
    assert deaths == SUSPICION + PROOF


def test_a_whole_batch_of_deadly_questions_ends(attempts: Attempts) -> None:
    answers, deaths = ask(attempts, Mortal(frozenset("ab")), "ab")
    assert all(answer.error for answer in answers)
    assert deaths == SUSPICION + 2 * PROOF


def test_questions_that_kill_only_together_are_answered_alone(attempts: Attempts) -> None:
    answers, deaths = ask(attempts, Mortal(crowd=3), "abc")
    assert [answer.response for answer in answers] == ["1", "1", "1"]
    assert deaths == TOGETHER


@pytest.mark.parametrize("deaths", range(TOGETHER))
def test_deaths_without_a_fault_of_the_questions_leave_the_batch_whole(attempts: Attempts, deaths: int) -> None:
    """Nodes that are lost: the answers are those of a batch that nobody died over."""
    die(attempts, "batch-7", deaths)
    answers, more = ask(attempts, Mortal(), "abc")
    assert [answer.response for answer in answers] == ["3", "3", "3"]
    assert more == 0
    assert attempts.deaths("batch-7") == deaths, "what was answered leaves no mark"


def test_deaths_over_ever_more_questions_end_the_run(attempts: Attempts) -> None:
    for number in range(DEADLY):
        die(attempts, f"question-{number}", PROOF)
    asker = Asker(Mortal(), attempts)
    requests = [Request("x", "?"), Request("y", "?")]
    die(attempts, "batch-1", SUSPICION)
    assert len(asker.answer(1, requests)) == 2, "the twenty-first is not there yet"
    die(attempts, _name(requests[0]), PROOF)
    with pytest.raises(GaveUp, match="workers died over 21 questions, 3 times over each"):
        asker.answer(1, requests)


def test_an_error_is_no_death(attempts: Attempts) -> None:
    with pytest.raises(ValueError, match="no"), attempts.trying("batch-1"):
        raise ValueError("no")
    assert not attempts.all_deaths()


def test_a_new_start_forgets(attempts: Attempts) -> None:
    (attempts.folder / "batch-1.0").touch()
    attempts.prepare()
    assert not attempts.all_deaths()
    (attempts.folder / "start.0").touch()
    (attempts.folder / "batch-1.0").touch()
    attempts.forget("start")
    assert attempts.all_deaths() == {"batch-1": 1}


@settings(max_examples=25, deadline=None)
@given(deadly=st.frozensets(st.sampled_from("abcdef"), max_size=3), ids=st.lists(st.text(min_size=1), max_size=3))
def test_any_set_of_deadly_questions_and_any_ids(
    tmp_path_factory: pytest.TempPathFactory, deadly: frozenset[str], ids: list[str]
) -> None:
    made = Attempts(tmp_path_factory.mktemp("any") / "attempts")
    made.prepare()
    answers, deaths = ask(made, Mortal(deadly), "abcdef")
    assert {answer.item_id for answer in answers if answer.error} == deadly
    assert deaths == (SUSPICION + PROOF * len(deadly) if deadly else 0)
    for one in ids:  # ids of data files never become paths
        assert Asker(Mortal(), made)._alone(Request(one, "?")).error is None
