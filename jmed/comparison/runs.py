"""The runs that are compared: answers, systems that gave them, and the questions that systems share."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from jmed.comparison.folders import Folder
from jmed.data.question import family_of

METRICS = {"accuracy": "correct", "exact_match": "exact_match", "gestalt_accuracy": "gestalt_match"}
Key = tuple[str, str, str]  # family, language, question_id
Group = tuple[str, str]  # family, language

TELLING = ("quantization", "method", "prompt", "shots", "scoring")  # what a name says of namesakes


@dataclass(frozen=True, slots=True)
class Answer:
    """One row of answers.parquet, as far as it is compared."""

    question_id: str
    benchmark: str
    language: str
    mark: bool | None  # by the metric; None: the metric leaves this question out
    correct: bool
    prediction: str
    picked: tuple[str, ...]  # its letters; of imported answers also letters that the publisher's rule cannot match
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


def shared(parts: Iterable[Mapping[str, Any] | set[str]]) -> list[str]:
    """The keys that all parts have, sorted."""
    sets = [set(part) for part in parts]
    return sorted(set.intersection(*sets)) if sets else []


def by_group(answers: Iterable[Answer]) -> Iterator[tuple[Group, list[Answer]]]:
    """Answers by benchmark and language, sorted."""
    groups: dict[Group, list[Answer]] = {}
    for answer in answers:
        groups.setdefault((answer.family, answer.language), []).append(answer)
    yield from sorted(groups.items())
