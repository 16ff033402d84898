"""The question: what every reader yields and everything after it reads."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

LETTERS = "abcdefghijklmnopqrstuvwxyz"
LANGUAGES = ("ja", "en")


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a benchmark in one language.

    `accepted` holds every answer that counts: each is a sorted tuple of choice letters in the original order
    (`("a", "c")`), or, for a question without choices, a tuple of one number as text (`("7.20",)`). More than one
    entry means that either counts (112B30: a or d). Empty: the publisher gives no right answer.
    """

    benchmark: str  # as the user named it: igakuqa, igakuqa-2018, jsonl:PATH
    question_id: str  # unique in benchmark and language; the same in both languages
    language: str  # "ja" or "en"
    text: str  # the stem
    choices: tuple[str, ...]  # as published, without letters; empty: a number is asked for
    accepted: tuple[tuple[str, ...], ...]
    equivalents: tuple[tuple[str, ...], ...] = ()  # other writings of the same answer, for answers read from text
    n_answers: int = 1  # how many choices the exam asks for ("2つ選べ" is 2)
    context: str = ""  # what must be read before the stem (PubMedQA's abstract)
    subset: str = ""  # the part it belongs to: "2018", "anatomy", a MedMCQA subject
    exam: str = ""  # the exam whose points it counts for: "igakuqa-2018"; empty: none
    block: str = ""  # block of the exam: "A" to "F", "compulsory", "general"
    points: int = 1
    prohibited: tuple[str, ...] = ()  # prohibited choices (禁忌) as published, misprints included
    specialty: str = ""
    needs_image: bool = False
    withdrawn: bool = False  # taken out of the marking by the examiner
    every_answer_counts: bool = False  # marked right for everybody (116A71)

    def __reduce__(self) -> tuple[type["Question"], tuple[Any, ...]]:
        """For pickle: as its values. The way of a dataclass looks for its fields again with every question."""
        return Question, values_of(self)

    def of_benchmark(self, name: str) -> "Question":
        """The same question under this benchmark's name."""
        return Question(name, *values_of(self)[1:])

    @property
    def has_answer(self) -> bool:
        """Whether any answer can be right."""
        return bool(self.accepted) or self.every_answer_counts

    @property
    def gold(self) -> str:
        """The accepted answers as text: "a,c", "7.20", "a or d", "any"; empty if there is none."""
        if self.every_answer_counts:
            return "any"
        return " or ".join(",".join(answer) for answer in self.accepted)


values_of: Callable[[Question], tuple[Any, ...]] = attrgetter(*(field.name for field in fields(Question)))  # in order


def family_of(benchmark: str) -> str:
    """Who published a benchmark: `igakuqa` of `igakuqa-2018`, whose questions are among those of `igakuqa`.

    `jsonl:PATH`, a file of one's own, is a family of its own.
    """
    return benchmark if benchmark.startswith("jsonl:") else benchmark.partition("-")[0]
