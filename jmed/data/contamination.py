"""The contamination gate: do training data hold questions of the benchmarks that the model will sit?

Three tests: the whole stem (with the choices where the stem alone says nothing), shared n-grams, and equal ids.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from jmed.data.examples import Example
from jmed.data.overlap import Gram, GramIndex, N, grams_of, tokens_of
from jmed.data.question import Question

SHARE = 0.4  # of a stem's n-grams: 60 % of a stem always holds more, another question of the same exam rarely does
# N-grams found at least: law texts and names of drugs share fewer. A word of English says more than a kana.
FEWEST = {"ja": 12, "en": 6}
# N-grams of its own, those of examinations in general aside, by which a stem is known without its choices.
OWN = {"ja": 8, "en": 3}
LONG = 60  # tokens; a shorter stem that an example asks with other choices is another question
CHOICES = 0.75  # of the choices must stand by a stem that says nothing alone; one may have been edited
FEWEST_TOKENS = 10  # of such a stem and its choices together: "yes, no, maybe" is no evidence
TOUCHED = 3  # parts (stem, choices) that must share something where the stem shares little: a law's name fills one
EXCERPT = 60  # characters

_RANK = {"exact": 0, "ngram": 1, "id": 2}
_NUMBERING = re.compile(r"(q|question|id|no|item|case|ex|example|test|train|dev|row|line|sample)[0-9]+")


@dataclass(frozen=True, slots=True)
class Overlap:
    """A benchmark's question that a training example holds."""

    benchmark: str
    question_id: str
    language: str
    place: str  # Example.place: "FILE:line"
    kind: str  # "exact", "ngram" or "id"
    share: float  # part of the question's n-grams found in the example, 0 to 1; 1 for exact
    excerpt: str  # of the question's stem


@dataclass(slots=True)
class _Entry:
    """What is asked, once however many benchmarks ask it."""

    stem: list[str]
    choices: frozenset[str]  # their tokens, joined by spaces
    bodies: int  # how many parts, from the first on, are stem and context
    parts: range
    length: int  # tokens in all
    language: str
    alone: bool = False  # the stem proves it without the choices
    questions: list[Question] = field(default_factory=list)


class ContaminationGate:
    """Built once over every question of every benchmark named; then asked about one example after the other."""

    def __init__(self, questions: Iterable[Question]) -> None:
        self._index = GramIndex()
        self._entries: list[_Entry] = []
        self._entry_of: list[int] = []  # by part
        self._ids: dict[str, list[tuple[int, Question]]] = defaultdict(list)
        known: dict[tuple[str, ...], int] = {}
        for question in questions:
            key = tuple(" ".join(tokens_of(part)) for part in (question.text, question.context, *question.choices))
            if key not in known:
                known[key] = len(self._entries)
                self._entries.append(self._entry(question))
            self._entries[known[key]].questions.append(question)
            self._ids[_plain(question.question_id)].append((known[key], question))
        self._sizes = self._index.sizes()
        self._anchors: dict[Gram | str, list[tuple[int, int]]] = defaultdict(list)  # (entry, place in its stem)
        self._set_anchors()

    def _entry(self, question: Question) -> _Entry:
        bodies = [tokens_of(text) for text in (question.text, question.context) if text]
        choices = [tokens_of(choice) for choice in question.choices]
        parts = self._index.add([*bodies, *choices])
        self._entry_of += [len(self._entries)] * len(parts)
        return _Entry(
            stem=tokens_of(question.text),
            choices=frozenset(" ".join(choice) for choice in choices if choice),
            bodies=len(bodies),
            parts=parts,
            length=sum(map(len, [*bodies, *choices])),
            language=question.language,
        )

    def _set_anchors(self) -> None:
        """The rarest n-gram of each stem, or its rarest token if it has no n-gram: where it may begin in a text."""
        words = Counter(word for entry in self._entries for word in set(entry.stem))
        for number, entry in enumerate(self._entries):
            if len(entry.stem) >= N:
                place, gram = self._index.rarest(entry.stem)
                own = sum(bool(self._index.parts_with(one)) for one in set(grams_of(entry.stem)))
                entry.alone = own >= OWN[entry.language]
                self._anchors[gram].append((number, place))
            elif entry.stem:
                place, word = min(enumerate(entry.stem), key=lambda placed: words[placed[1]])
                self._anchors[word].append((number, place))

    def check(self, example: Example) -> list[Overlap]:
        """Every question that the example holds, each once, in the order in which they were given."""
        tokens = [token for part in example.parts() for token in tokens_of(part)]
        found = self._index.found_in(tokens)
        shares = self._shares(found)
        overlaps: dict[tuple[int, int], tuple[str, float]] = {}
        for number in self._exact(example, tokens, found):
            ...
        return []
