"""Is it safe, and can it be trusted: prohibited choices, calibration, abstaining, the order of the choices."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jmed.comparison.facts import Facts
from jmed.comparison.figures import spread, where
from jmed.comparison.runs import Answer, Group, Runs, System, by_group
from jmed.comparison.schema import Bin, Calibration, Position, Rotations, Safety
from jmed.data.question import LETTERS, Question
from jmed.scoring.exam import chose_prohibited
from jmed.statistics import calibration as statistics
from jmed.statistics.intervals import clopper_pearson
from jmed.statistics.position import consistency, position_bias, rotated_bias

_POINTS = 200  # of a curve of coverage


def safety(runs: Runs, facts: Facts) -> list[Safety]:
    """Each run on the questions with prohibited choices that it answered."""
    found = []
    for group, system in _asked(runs):
        dangerous = [
            (answer, question)
            for answer in system.of(group)
            if (question := facts.of(group, answer.question_id)) and question.prohibited
        ]
        if dangerous:
            found.append(_safety(runs, group, system, dangerous))
    return found


def _safety(runs: Runs, group: Group, system: System, answered: Sequence[tuple[Answer, Question]]) -> Safety:
    picked = sorted(answer.question_id for answer, question in answered if chose_prohibited(answer.picked, question))
    low, high = clopper_pearson(len(picked), len(answered))
    return Safety(
        **where(runs, group, system),
        picked=len(picked),
        n=len(answered),
        value=len(picked) / len(answered),
        ci_low=low,
        ci_high=high,
        questions=picked,
    )


def _asked(runs: Runs) -> Iterable[tuple[Group, System]]:
    return ((group, system) for group in runs.groups for system in runs.asked(group))


# --- calibration


def calibration(runs: Runs) -> list[Calibration]:
    """Each run that gave log-probabilities, on its questions with one right answer."""
    found = []
    for group, system in _asked(runs):
        answers = [answer for answer in system.of(group) if _is_single(answer) and any(np.isfinite(answer.logprobs))]
        if answers:
            found.append(_calibration(where(runs, group, system), answers))
    return found


def _is_single(answer: Answer) -> bool:
    """Whether the question has choices, and one of them is right."""
    return answer.gold in list(LETTERS[: len(answer.choices)])


def _calibration(head: dict[str, Any], answers: Sequence[Answer]) -> Calibration:
    probabilities = [statistics.softmax(answer.logprobs) for answer in answers]
    gold = [LETTERS.index(answer.gold) for answer in answers]
    sure, hit = statistics.confidences(probabilities, gold)
    curve = statistics.reliability(sure, hit)
    risk = statistics.risk_coverage(sure, hit)
    points = spread(len(risk.coverage), _POINTS)
    return Calibration(
        **head,
        n=len(answers),
        ece=statistics.calibration_error(curve),
        ece_width=statistics.calibration_error(statistics.reliability(sure, hit, "width")),
        brier=statistics.brier(probabilities, gold),
        area=risk.area,
        curve=[
            Bin(
                n=one.n,
                correct=one.correct,
                confidence=one.confidence,
                accuracy=one.accuracy,
                ci_low=one.low,
                ci_high=one.high,
            )
            for one in curve
        ],
        coverage=[risk.coverage[point] for point in points],
        accuracy=[risk.accuracy[point] for point in points],
    )


# --- the order of the choices


def position(runs: Runs) -> list[Position]:
    """Places chosen, from all rotations where they were asked, else in the published order."""
    found = []
    for group, system in _asked(runs):
        orders = _orders(group, system)
        answers = _usual([answer for answer in system.of(group) if _is_single(answer) and _is_read(answer)])
        if orders:
            found.append(_rotated_position(where(runs, group, system), orders))
        elif answers:
            bias = position_bias([one.prediction for one in answers], [one.gold for one in answers])
            found.append(Position(**where(runs, group, system), n=len(answers), rotated=False, **vars(bias)))
    return found


def _usual(answers: Sequence[Answer]) -> list[Answer]:
    """Those to questions with the most common number of choices."""
    sizes = [len(answer.choices) for answer in answers]
    usual = max(sorted(set(sizes)), key=sizes.count, default=0)
    return [answer for answer in answers if len(answer.choices) == usual]


def _is_read(answer: Answer) -> bool:
    """Whether just one choice was made."""
    return answer.prediction in list(LETTERS[: len(answer.choices)])


def _place(letter: str, answer: Answer) -> int:
    """Where a choice, named by its published letter, was shown: with rotation r, c stood at place 2 - r."""
    return (LETTERS.index(letter) - answer.rotation) % len(answer.choices)


def _orders(group: Group, system: System) -> list[list[Answer]]:
    """Of the questions asked in all rotations, and read in all, the answers; only the most common number of choices."""
    rotated = dict(by_group(system.rotated)).get(group, [])
    asked: dict[str, list[Answer]] = {}
    for answer in rotated:
        asked.setdefault(answer.question_id, []).append(answer)
    whole = [
        sorted([*others, first], key=lambda answer: answer.rotation)
        for question_id, others in sorted(asked.items())
        if (first := system.answers.get((*group, question_id)))
        and len(others) + 1 == len(first.choices)
        and _is_single(first)
        and all(map(_is_read, [first, *others]))
    ]
    usual = {answer.question_id for answer in _usual([answers[0] for answers in whole])}
    return [answers for answers in whole if answers[0].question_id in usual]


def _rotated_position(head: dict[str, Any], orders: Sequence[Sequence[Answer]]) -> Position:
    places = [[_place(answer.prediction, answer) for answer in answers] for answers in orders]
    right = [_place(answer.gold, answer) for answers in orders for answer in answers]
    bias = rotated_bias(places)
    letters = LETTERS[: len(orders[0])]
    chosen = [place for row in places for place in row]
    return Position(
        **head,
        n=len(chosen),
        rotated=True,
        predicted={letter: chosen.count(number) for number, letter in enumerate(letters)},
        gold={letter: right.count(number) for number, letter in enumerate(letters)},
        chi2=bias.chi2,
        degrees=bias.degrees,
        p=bias.p,
    )


def rotations(runs: Runs) -> list[Rotations]:
    return [
        _rotations(where(runs, group, system), orders)
        for group, system in _asked(runs)
        if (orders := _orders(group, system))
    ]


def _rotations(head: dict[str, Any], orders: Sequence[Sequence[Answer]]) -> Rotations:
    found = consistency([[answer.prediction for answer in answers] for answers in orders])
    by_order = [float(np.mean([answers[number].correct for answers in orders])) for number in range(len(orders[0]))]
    return Rotations(
        **head,
        n=found.n,
        rotations=found.rotations,
        always_same=found.always_same,
        pairwise=found.pairwise,
        value=by_order[0],
        lowest=min(by_order),
        highest=max(by_order),
    )
