"""The runs that are compared: output folders of evaluate and score are opened, and put together to systems."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa

from jmed.comparison.folders import Folder
from jmed.errors import UserError

METRICS = {"accuracy": "correct", "exact_match": "exact_match", "gestalt_accuracy": "gestalt_match"}
Key = tuple[str, str, str]  # family, language, question_id
Group = tuple[str, str]  # family, language

# What a run's identity holds without being what sets a system apart: the questions, and how they were batched.
_QUESTIONS = ("format", "benchmarks", "benchmark", "languages", "language", "limit", "data", "predictions", "templates",
              "batch_tokens", "rotations")  # fmt: skip
TELLING = ("quantization", "method", "prompt", "shots", "scoring")  # what a name says of namesakes
_LISTED = 4  # questions named in a message
_SHORT = 40  # characters


@dataclass(frozen=True, slots=True)
class Answer:
    """One row of answers.parquet, as far as it is compared."""

    question_id: str
    benchmark: str
    language: str
    mark: bool | None  # by the metric; None: the metric leaves this question out
    correct: bool
    prediction: str
    picked: tuple[
        str, ...
    ]  # the letters of the prediction; of imported ones also what the publisher's rule cannot match
    gold: str
    choices: tuple[str, ...]
    logprobs: tuple[float, ...]
    failed: bool
    tokens_in: int
    rotation: int  # the choices were shown rotated by so many places; 0: as published

    @property
    def family(self) -> str:
        return family_of(self.benchmark)

    @property
    def key(self) -> Key:
        return self.family, self.language, self.question_id


@dataclass(frozen=True)
class System:
    """A model, or imported answers, asked in one way; its answers may lie in several folders."""

    name: str
    folders: list[Folder]
    answers: dict[Key, Answer]  # that count, by question
    rotated: list[Answer]  # the same questions with their choices in other orders

    @property
    def identity(self) -> Mapping[str, Any]:
        return self.folders[0].identity

    @property
    def table(self) -> pa.Table:
        """All rows of answers.parquet."""
        return pa.concat_tables([folder.table for folder in self.folders], promote_options="default")

    @property
    def benchmarks(self) -> list[str]:
        """As they were asked for."""
        return sorted({answer.benchmark for answer in self.answers.values()})

    @cached_property
    def _groups(self) -> dict[Group, list[Answer]]:
        return dict(by_group(self.answers.values()))

    @cached_property
    def _marks(self) -> dict[Group, dict[str, bool]]:
        marks = {
            group: {answer.question_id: answer.mark for answer in answers if answer.mark is not None}
            for group, answers in self._groups.items()
        }
        return {group: marked for group, marked in marks.items() if marked}

    def marks(self, group: Group) -> dict[str, bool]:
        """By question id, for the questions that have a mark."""
        return self._marks.get(group, {})

    def of(self, group: Group) -> list[Answer]:
        """The answers of one benchmark in one language."""
        return self._groups.get(group, [])

    @property
    def groups(self) -> list[Group]:
        """Benchmarks and languages it was asked in."""
        return list(self._marks)


@dataclass
class Runs:
    """Everything that is compared."""

    systems: list[System]
    metric: str
    names: dict[str, str] = field(default_factory=dict)  # family → what tables call it

    def __post_init__(self) -> None:
        asked: dict[str, set[str]] = {}
        for answer in (answer for system in self.systems for answer in system.answers.values()):
            asked.setdefault(answer.family, set()).add(answer.benchmark)
        self.names = {family: names.pop() if len(names) == 1 else family for family, names in asked.items()}

    @property
    def groups(self) -> list[Group]:
        return sorted({group for system in self.systems for group in system.groups})

    def asked(self, group: Group) -> list[System]:
        """The systems that answered this benchmark in this language."""
        return [system for system in self.systems if group in system.groups]

    def shared(self, group: Group, systems: Sequence[System] | None = None) -> list[str]:
        """Ids of the questions that all of these systems answered, sorted."""
        return shared(system.marks(group) for system in (self.asked(group) if systems is None else systems))


def family_of(benchmark: str) -> str:
    """`igakuqa` of `igakuqa-2018`, whose questions are among those of `igakuqa`; `jsonl:PATH` is its own."""
    return benchmark if benchmark.startswith("jsonl:") else benchmark.partition("-")[0]


def shared(parts: Iterable[Mapping[str, Any] | set[str]]) -> list[str]:
    """The keys that all parts have, sorted."""
    sets = [set(part) for part in parts]
    return sorted(set.intersection(*sets)) if sets else []


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
    variant = row["item_id"].split("/")[5:]
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
        rotation=int(variant[0].removeprefix("rotation-")) if variant else 0,
    )


def _imported(row: Mapping[str, Any]) -> str:
    """An imported answer that is no letters by the publisher's rule ("c, e"), and short enough to be some."""
    return row["response"] if row["method"] == "imported" and len(row["response"]) < _SHORT else ""


Opened = tuple[Folder, list[Answer]]


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


def by_group(answers: Iterable[Answer]) -> Iterator[tuple[Group, list[Answer]]]:
    """Answers by benchmark and language, sorted."""
    groups: dict[Group, list[Answer]] = {}
    for answer in answers:
        groups.setdefault((answer.family, answer.language), []).append(answer)
    yield from sorted(groups.items())


def same_file(first: str, second: str) -> bool:
    return Path(first).expanduser().resolve() == Path(second).expanduser().resolve()
