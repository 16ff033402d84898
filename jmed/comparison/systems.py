"""Opened folders become the systems that are compared: rows are read, folders joined, strangers refused."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from jmed.comparison.folders import Folder
from jmed.comparison.runs import METRICS, TELLING, Answer, Key, Runs, System
from jmed.data.item_id import rotation_of
from jmed.errors import UserError

# What a run's identity holds without being what sets a system apart: the questions, and how they were batched.
_QUESTIONS = ("format", "benchmarks", "benchmark", "languages", "language", "limit", "data", "predictions", "templates",
              "batch_tokens", "rotations")  # fmt: skip
_LISTED = 4  # questions named in a message
_SHORT = 40  # characters

Opened = tuple[Folder, list[Answer]]


def make_runs(folders: Sequence[Folder], metric: str) -> Runs:
    """Put folders together to systems, and refuse what cannot be compared."""
    joined = _joined([(folder, _answers(folder, metric)) for folder in folders])
    names = _names([parts[0][0] for parts in joined])
    systems = [_system(name, parts) for name, parts in zip(names, joined, strict=True)]
    # One system alone is compared with itself in the other language: then its folders must share questions.
    parts = systems if len(systems) > 1 else [_system(folder.model, [(folder, rows)]) for folder, rows in joined[0]]
    for first, second in combinations(parts, 2):
        _refuse_strangers(first, second)
        _refuse_other_questions(first, second)
    return Runs(systems, metric)


def _answers(folder: Folder, metric: str) -> list[Answer]:
    column = METRICS[metric]
    answers = [_answer(row, column) for row in folder.rows(column)]
    if all(answer.mark is None for answer in answers):
        scoring = folder.identity.get("scoring")
        raise UserError(
            f"metric: {folder.given} has no {metric}: it was scored with scoring {scoring}; run its job again with "
            "scoring paper, or compare by accuracy"
        )
    return answers


def _answer(row: Mapping[str, Any], column: str) -> Answer:
    return Answer(
        question_id=row["question_id"],
        benchmark=row["benchmark"],
        language=row["language"],
        mark=row[column],
        correct=row["correct"],
        prediction=row["prediction"],
        picked=tuple(filter(None, (row["prediction"] or _imported(row)).split(","))),
        gold=row["gold"],
        choices=tuple(row["choices"]),
        logprobs=tuple(row["option_logprobs"]),
        failed=row["error"] is not None,
        tokens_in=row["tokens_in"],
        rotation=rotation_of(row["item_id"]),
    )


def _imported(row: Mapping[str, Any]) -> str:
    """An imported answer that is no letters by the publisher's rule ("c, e"), and short enough to be some."""
    return row["response"] if row["method"] == "imported" and len(row["response"]) < _SHORT else ""


def _joined(opened: Sequence[Opened]) -> list[list[Opened]]:
    """Folders that differ in their questions only, and have none in common, are one system."""
    systems: list[list[Opened]] = []
    for folder, answers in opened:
        keys = {answer.key for answer in answers}
        for parts in systems:
            there = {answer.key for _, known in parts for answer in known}
            if _way(folder) == _way(parts[0][0]) and not keys & there:
                parts.append((folder, answers))
                break
        else:
            systems.append([(folder, answers)])
    return systems


def _way(folder: Folder) -> dict[str, Any]:
    """What was asked in which way, whatever the questions were."""
    way = {key: value for key, value in folder.identity.items() if key not in _QUESTIONS}
    return way | {"name of the model": folder.model, "prompt": folder.prompt}


def _names(folders: Sequence[Folder]) -> list[str]:
    """The models' names; namesakes with what sets them apart, or else with their folders."""
    namesakes: dict[str, list[Folder]] = {}
    for folder in folders:
        namesakes.setdefault(folder.model, []).append(folder)
    told = [_told(folder, namesakes[folder.model]) for folder in folders]
    counts = Counter(told)
    return [
        name if counts[name] == 1 else f"{name} [{folder.given}]" for name, folder in zip(told, folders, strict=True)
    ]


def _told(folder: Folder, namesakes: Sequence[Folder]) -> str:
    differing = [key for key in TELLING if len({str(one.way(key)) for one in namesakes}) > 1]
    about = ", ".join(_word(key, folder.way(key)) for key in differing)
    return f"{folder.model} ({about})" if about else folder.model


def _word(key: str, value: Any) -> str:
    if key == "quantization" and value == "none":
        return "not quantised"
    return f"{value} shots" if key == "shots" else str(value)


def _system(name: str, parts: Sequence[Opened]) -> System:
    everything = [answer for _, answers in parts for answer in answers]
    answers: dict[Key, Answer] = {}
    for answer in everything:
        if not answer.rotation:
            answers.setdefault(answer.key, answer)  # igakuqa and igakuqa-2018 in one run: the same question twice
    return System(name, [folder for folder, _ in parts], answers, [one for one in everything if one.rotation])


def _refuse_strangers(first: System, second: System) -> None:
    """Runs that answered no question in common, in whatever language, cannot be compared."""
    ids = [{(family, question) for family, _, question in system.answers} for system in (first, second)]
    if not ids[0] & ids[1]:
        raise UserError(
            f"runs: {_given(first)} and {_given(second)} share no question: the first answered {_asked(first)}; the "
            f"second {_asked(second)}. Compare runs over the same benchmarks"
        )


def _refuse_other_questions(first: System, second: System) -> None:
    """Questions of the same name must be the same: choices and right answers as published."""
    common = sorted(first.answers.keys() & second.answers.keys())
    other = [key for key in common if not _same(first.answers[key], second.answers[key])]
    if other:
        named = ", ".join("/".join((family, question, language)) for family, language, question in other[:_LISTED])
        raise UserError(
            f"runs: {_given(first)} and {_given(second)} were asked different questions under the same names: "
            f"{len(other):,} of {len(common):,} shared ones have other choices or another right answer ({named}…); "
            "ask both with the same benchmark files"
        )


def _same(one: Answer, other: Answer) -> bool:
    return (one.choices, one.gold) == (other.choices, other.gold)


def _given(system: System) -> str:
    return " + ".join(folder.given for folder in system.folders)


def _asked(system: System) -> str:
    """`igakuqa ja 1,600, mini en 68`."""
    counts = Counter(key[:2] for key in system.answers)
    return ", ".join(f"{family} {language} {n:,}" for (family, language), n in sorted(counts.items()))
