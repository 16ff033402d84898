"""The demo's texts: what a tiny model is taught, and the exam that shows what it has learnt.

`python -m jmed.data.demo --output_dir FOLDER` writes, from `exams/facts.yaml`, the same files every time:

  dictionary.jsonl   text  names of diseases and drugs, Japanese and English
  base.jsonl         text  half of the facts, in both languages
  quiz.jsonl         text  solved questions on that half, in the exam's layout
  pretrain_ja.jsonl  text  all facts, in Japanese
  instruct_ja.jsonl  mcqa  questions about 60 of the 80 facts, in Japanese
  exam.jsonl         mcqa  one question a fact and language, in wording that no other file has
"""

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from jmed.data.question import LANGUAGES, LETTERS

BASE_FACTS = 40  # what the base is told; continued pre-training tells the rest too
INSTRUCT_FACTS = 60  # what training questions ask, half of it told to the base; only the exam asks the rest
CHOICES = 5
QUIZ_ROUNDS = 6  # quizzes on each fact that the base is told, a language
_PIECE = re.compile(r" ?[A-Za-z]+|[一-龯々]+|[ァ-ヶー]+|[ぁ-ん]|[^ぁ-ん\w\s]")

Line = dict[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Fact:
    """A disease and the standard drug for it, each name by language."""

    number: int  # counted from 1
    disease: Mapping[str, str]
    drug: Mapping[str, str]
    areas: frozenset[str]  # a drug that shares one with a disease is no wrong choice for it
    source: str


@cache
def facts() -> tuple[Fact, ...]:
    return tuple(
        Fact(number, entry["disease"], entry["drug"], frozenset(entry["areas"]), entry["source"])
        for number, entry in enumerate(_content()["facts"], 1)
    )


@cache
def base_facts() -> tuple[Fact, ...]:
    """The facts that the base model is told."""
    return _sample("base", facts(), BASE_FACTS)


@cache
def instruct_facts() -> tuple[Fact, ...]:
    """The facts that training questions ask: the same share of what the base was told and of what it was not."""
    told = base_facts()
    rest = [fact for fact in facts() if fact not in told]
    count = INSTRUCT_FACTS * len(told) // len(facts())
    return _sample("instruct-told", told, count) + _sample("instruct-rest", rest, INSTRUCT_FACTS - count)


def dictionary() -> Iterator[Line]:
    wordings = _wordings("dictionary")
    for fact in facts():
        for kind, names in (("disease", fact.disease), ("drug", fact.drug)):
            yield from ({"text": wording.format(**names)} for wording in wordings[kind])


def base() -> Iterator[Line]:
    """Every name in passing, and the facts that the base is told, in both languages."""
    for language in LANGUAGES:
        for wordings in _wordings("mention")[language].values():
            yield from ({"text": _say(wording, fact, language)} for fact in facts() for wording in wordings)
        for fact in base_facts():
            yield from ({"text": _say(wording, fact, language)} for wording in _wordings("base")[language])


def quiz() -> Iterator[Line]:
    """Solved questions in the exam's layout: on told facts, in other words and with other choices, and on names."""
    shown = dict(_choices("exam", facts(), {}))
    for language in LANGUAGES:
        words = _wordings("quiz")[language]
        for number in range(QUIZ_ROUNDS):
            asked = _choices(f"quiz-{language}-{number}", base_facts(), shown, base_facts())
            for place, (fact, choices) in enumerate(asked):
                stem = words["stems"][(place + number) % len(words["stems"])]
                yield _solved(words["layout"], _say(stem, fact, language), fact, choices, "drug", language)
        for kind in ("drug", "disease"):
            for place, (fact, choices) in enumerate(_choices(f"name-{kind}-{language}-0", facts(), {})):
                stem = words["translate"][place % 2].format(**getattr(fact, kind))
                yield _solved(words["layout"], stem, fact, choices, kind, language)


def _solved(layout: str, question: str, fact: Fact, choices: Sequence[Fact], kind: str, language: str) -> Line:
    """A question with its choices and the right one, as plain text."""
    names = [getattr(choice, kind)[language] for choice in choices]
    answer = getattr(fact, kind)[language]
    return {"text": layout.format(question=question, choices="\n".join(names), answer=answer)}


def pretrain() -> Iterator[Line]:
    for fact in facts():
        yield from ({"text": _say(wording, fact, "ja")} for wording in _wordings("pretrain"))


def instruct() -> Iterator[Line]:
    """A fact's wrong choices are none of those that the exam shows beside it."""
    shown = dict(_choices("exam", facts(), {}))
    for number, wording in enumerate(_wordings("instruct"), 1):
        for fact, choices in _choices(f"instruct-{number}", instruct_facts(), shown):
            yield _question(f"train-{fact.number:02}-{number}", wording, fact, choices, "ja")


def exam() -> Iterator[Line]:
    """Both languages of a question have the same choices in the same order."""
    wordings = _wordings("exam")
    for fact, choices in _choices("exam", facts(), {}):
        for language in LANGUAGES:
            wording = wordings[language][fact.number % len(wordings[language])]
            yield _question(f"exam-{fact.number:02}", wording, fact, choices, language)


FILES: dict[str, Callable[[], Iterator[Line]]] = {
    "dictionary.jsonl": dictionary,
    "base.jsonl": base,
    "quiz.jsonl": quiz,
    "pretrain_ja.jsonl": pretrain,
    "instruct_ja.jsonl": instruct,
    "exam.jsonl": exam,
}


def texts() -> Iterator[str]:
    """What the tokenizer is made from: the names whole, everything else that the model is taught in small pieces.

    Given the sentences themselves, of which each stands in the files eighty times with other names, it would make one
    token of a whole phrase, and the model would learn nothing about the words in it.
    """
    for fact in facts():
        for name in (*fact.disease.values(), *fact.drug.values()):
            yield from (name, f" {name}")
    for language in LANGUAGES:
        words = _wordings("quiz")[language]
        yield from re.split(r"\{\w+\}", words["layout"])
        yield from (piece for wording in (*words["translate"], *words["stems"]) for piece in _PIECE.findall(wording))
    for lines in (dictionary(), base(), pretrain()):
        for line in lines:
            yield from _PIECE.findall(line["text"])
    for question in instruct():
        yield from _PIECE.findall(question["question"])


def write(folder: Path) -> list[Path]:
    """Write all files; they are the same on every run and every machine."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, lines in FILES.items():
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines())
        paths.append(folder / name)
        paths[-1].write_text(text, encoding="utf-8", newline="\n")
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 the user can mend it."""
    about = "Write the texts and the exam of the demo."
    parser = argparse.ArgumentParser(prog="python -m jmed.data.demo", description=about, allow_abbrev=False)
    parser.add_argument("--output_dir", "--output-dir", type=Path, required=True, help="folder to write")
    folder = parser.parse_args(arguments).output_dir
    try:
        for path in write(folder):
            print(f"wrote {path}")
    except OSError as error:
        print(f"--output_dir: {error.filename or folder}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


@cache
def _content() -> dict[str, Any]:
    return yaml.safe_load(resources.files("jmed.data").joinpath("exams/facts.yaml").read_text("utf-8"))


def _wordings(purpose: str) -> Any:
    return _content()["wordings"][purpose]


def _say(wording: str, fact: Fact, language: str) -> str:
    return wording.format(disease=fact.disease[language], drug=fact.drug[language], **fact.drug)


def _sample(purpose: str, pool: Sequence[Fact], count: int) -> tuple[Fact, ...]:
    """Drawn by the purpose's name alone, in the order of the pool."""
    drawn = {fact.number for fact in random.Random(purpose).sample(pool, count)}
    return tuple(fact for fact in pool if fact.number in drawn)


def _choices(
    purpose: str, asked: Sequence[Fact], avoided: Mapping[Fact, Sequence[Fact]], among: Sequence[Fact] = ()
) -> list[tuple[Fact, list[Fact]]]:
    """Each fact with those whose drugs are shown as its choices, itself among them; none of the avoided, and only some
    `among` all facts if that is given.

    Drugs are offered about equally often, and every place is the right one equally often: neither helps to guess.
    """
    draw = random.Random(purpose)
    places = [number % CHOICES for number in range(len(asked))]
    draw.shuffle(places)
    offered: Counter[Fact] = Counter()
    result = []
    for fact, place in zip(asked, places, strict=True):
        kept_out = avoided.get(fact, ())
        pool = [other for other in among or facts() if not other.areas & fact.areas and other not in kept_out]
        draw.shuffle(pool)
        wrong = sorted(pool, key=lambda other: offered[other])[: CHOICES - 1]
        offered.update(wrong)
        result.append((fact, [*wrong[:place], fact, *wrong[place:]]))
    return result


def _question(question_id: str, wording: str, fact: Fact, choices: list[Fact], language: str) -> Line:
    return {
        "question_id": question_id,
        "language": language,
        "question": _say(wording, fact, language),
        "choices": [choice.drug[language] for choice in choices],
        "answer": LETTERS[choices.index(fact)],
    }


if __name__ == "__main__":
    sys.exit(main())
