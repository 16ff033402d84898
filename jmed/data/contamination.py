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
from jmed.data.question import Question, family_of

# Part of a stem's n-grams: 60 % of a long stem holds more, another question of the same examination hardly ever.
SHARE = 0.35
# N-grams found at least, of a whole question twice as many: names of laws, of documents and of drugs share fewer.
FEWEST = {"ja": 16, "en": 6}  # a word of English says more than a kana
# N-grams of a stem that are not the language of examinations: with fewer it is known only together with its choices.
OWN = {"ja": 4, "en": 2}
# Tokens; of two shorter stems that are alike but offer other choices, each is a question of its own.
LONG = {"ja": 60, "en": 30}
CHOICES = 0.75  # of the choices must stand by a stem that is not known alone: one of four or five may be edited
FEWEST_CHOICES = 3  # that say something: "yes" and "no" do not, nor does a lone letter
TOUCHED = 3  # of stem and choices must share something where the stem shares little: a law's name fills one choice
SLACK = 50  # tokens of other text that may stand in a question, beside as many as it has itself
EXCERPT = 60  # characters

_SAY_NOTHING = frozenset(("yes", "no", "maybe", "true", "false"))
_NUMBERING = re.compile(r"([^\W0-9_]{3,}|q|id|no|ex)[0-9]+")
_Hit = tuple[int, int, Gram]  # place in the text, part, n-gram
_Share = tuple[float, bool]  # part of the n-grams found; whether that is an overlap


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
    """What is asked, kept once however many benchmarks ask it."""

    stem: list[str]
    choices: frozenset[str]  # their tokens, joined by spaces
    parts: range  # stem, context, choices
    length: int  # tokens in all
    language: str
    known_alone: bool = False  # by its stem, without the choices
    askers: list[int] = field(default_factory=list)  # which questions ask it


class ContaminationGate:
    """Built once over every question of every benchmark named; then asked about one example after the other."""

    def __init__(self, questions: Iterable[Question]) -> None:
        self._index = GramIndex()
        self._entries: list[_Entry] = []
        self._entry_of: list[int] = []  # by part
        self._askers: list[tuple[str, str, str, str]] = []  # benchmark, id, language, excerpt
        self._by_id: dict[str, list[int]] = defaultdict(list)  # askers
        self._asked: list[int] = []  # entry by asker
        known: dict[tuple[str, ...], int] = {}
        for question in questions:
            self._add(question, known)
        self._sizes = self._index.sizes()
        self._gram_anchors: dict[Gram, list[tuple[int, int]]] = defaultdict(list)  # entry, place in its stem
        self._word_anchors: dict[str, list[tuple[int, int]]] = defaultdict(list)  # of stems shorter than N
        self._set_anchors()

    def check(self, example: Example) -> list[Overlap]:
        """Every question that the example holds, each once, in the order in which the gate was given them."""
        tokens = [token for part in example.parts() for token in tokens_of(part)]
        found = self._index.found_in(tokens)
        same_id = list(self._same_id(example.question)) if example.question else []
        shares = self._shares(found, {self._asked[asker] for asker in same_id})
        kinds: dict[int, tuple[str, float]] = {asker: ("id", shares[self._asked[asker]][0]) for asker in same_id}
        given = _joined(" | ".join(example.question.choices)) if example.question else ""
        exact = set(self._exact(tokens, found))
        for number in exact | {number for number, (_, enough) in shares.items() if enough}:
            entry = self._entries[number]
            if not _asks_otherwise(entry, given):
                kind = ("exact", 1.0) if number in exact else ("ngram", shares[number][0])
                kinds.update(dict.fromkeys(entry.askers, kind))
        return [self._overlap(asker, example.place, *kinds[asker]) for asker in sorted(kinds)]

    def _overlap(self, asker: int, place: str, kind: str, share: float) -> Overlap:
        benchmark, question_id, language, excerpt = self._askers[asker]
        return Overlap(benchmark, question_id, language, place, kind, round(share, 3), excerpt)

    def _add(self, question: Question, known: dict[tuple[str, ...], int]) -> None:
        """One more question; what is asked in the same words (igakuqa and igakuqa-2018) is kept once, in `known`."""
        texts = [tokens_of(text) for text in (question.text, question.context, *question.choices)]
        number = known.setdefault(tuple(map(" ".join, texts)), len(self._entries))
        if number == len(self._entries):
            self._entries.append(self._entry(texts, question.language))
        asker, stem = len(self._askers), " ".join(question.text.split())
        excerpt = stem if len(stem) <= EXCERPT else f"{stem[: EXCERPT - 1]}…"
        self._askers.append((question.benchmark, question.question_id, question.language, excerpt))
        self._asked.append(number)
        self._entries[number].askers.append(asker)
        self._by_id[_plain(question.question_id)].append(asker)

    def _entry(self, texts: list[list[str]], language: str) -> _Entry:
        """From the tokens of stem, context and choices."""
        parts = self._index.add(texts)
        self._entry_of += [len(self._entries)] * len(parts)
        return _Entry(
            stem=texts[0],
            choices=frozenset(" ".join(choice) for choice in texts[2:] if not _says_nothing(choice)),
            parts=parts,
            length=sum(map(len, texts)),
            language=language,
        )

    def _set_anchors(self) -> None:
        """Where a stem may stand in a text: at its rarest n-gram, or at its rarest token if it has no n-gram."""
        words = Counter(word for entry in self._entries for word in entry.stem)
        for number, entry in enumerate(self._entries):
            if len(entry.stem) >= N:
                place, gram = self._index.rarest(entry.stem)
                own = sum(bool(self._index.parts_with(one)) for one in set(grams_of(entry.stem)))
                entry.known_alone = own >= OWN[entry.language]
                self._gram_anchors[gram].append((number, place))
            elif entry.stem:
                place, word = min(enumerate(entry.stem), key=lambda placed: words[placed[1]])
                self._word_anchors[word].append((number, place))

    def _exact(self, tokens: list[str], found: list[tuple[int, Gram]]) -> Iterator[int]:
        """Entries whose stem stands in the text, with the choices where it needs them."""
        grams, words = self._gram_anchors, self._word_anchors
        placed = [(number, at - place) for at, gram in found if gram in grams for number, place in grams[gram]]
        short = [(at, word) for at, word in enumerate(tokens) if word in words] if words else []
        placed += [(number, at - place) for at, word in short for number, place in words[word]]
        done: set[int] = set()
        for number, start in placed:
            if number not in done and _stands_at(self._entries[number], tokens, start):
                done.add(number)
                yield number

    def _shares(self, found: list[tuple[int, Gram]], asked: set[int]) -> dict[int, _Share]:
        """The share of each entry that has enough n-grams in the text to count, and of those asked for."""
        hits: dict[int, list[_Hit]] = defaultdict(list)
        for place, gram in found:
            for part in self._index.parts_with(gram):
                hits[self._entry_of[part]].append((place, part, gram))
        counted = {number for number, some in hits.items() if len(some) >= FEWEST[self._entries[number].language]}
        return {number: self._best_share(self._entries[number], hits[number]) for number in counted | asked}

    def _best_share(self, entry: _Entry, hits: list[_Hit]) -> _Share:
        """The largest share in any stretch of text as long as the question: a book holds n-grams of every question."""
        stretch = 2 * entry.length + SLACK
        stretches: dict[int, set[tuple[int, Gram]]] = defaultdict(set)
        for place, part, gram in hits:
            stretches[place // stretch] |= {(part, gram)}
        none: set[tuple[int, Gram]] = set()
        pairs = (some | stretches.get(at + 1, none) for at, some in list(stretches.items()))
        return max((self._share(entry, pair) for pair in pairs), key=lambda share: share[::-1], default=(0.0, False))

    def _share(self, entry: _Entry, pair: set[tuple[int, Gram]]) -> _Share:
        """The largest of the stem's, the context's and the whole question's share that is an overlap."""
        counts, fewest = Counter(part for part, _ in pair), FEWEST[entry.language]
        whole = len(pair) / sum(self._sizes[part] for part in entry.parts)
        enough = [counts[part] / self._sizes[part] for part in entry.parts[:2] if counts[part] >= fewest]
        if len(counts) >= TOUCHED and len(pair) >= 2 * fewest:
            enough.append(whole)
        best = max(enough, default=0.0)
        return (best, True) if best >= SHARE else (whole, False)

    def _same_id(self, question: Question) -> Iterator[int]:
        """Questions with the same id of the same publisher, or an id that nobody else would give."""
        plain = _plain(question.question_id)
        for asker in self._by_id.get(plain, ()):
            ours, theirs = question.benchmark, self._askers[asker][0]
            same_publisher = bool(ours) and family_of(ours) == family_of(theirs)
            own_file = _is_own_file(ours) or _is_own_file(theirs)
            if same_publisher or (own_file and _is_distinctive(plain)):
                yield asker


def _stands_at(entry: _Entry, tokens: list[str], start: int) -> bool:
    """Whether the entry's stem stands at this place of a text, and its choices by it where the stem needs them."""
    end, length = start + len(entry.stem), len(entry.stem)
    if length < N:
        there = start >= 0 and tokens[start:end] == entry.stem
    else:  # without the bounds of words: "x-ray" or "xray"
        there = "".join(entry.stem) in "".join(tokens[max(0, start - length) : end + length])
    return there and (entry.known_alone or _choices_by(entry, tokens, start, end))


def _choices_by(entry: _Entry, tokens: list[str], start: int, end: int) -> bool:
    if len(entry.choices) < FEWEST_CHOICES:
        return False
    reach = 2 * entry.length + SLACK
    near = f" {' '.join(tokens[max(0, start - reach) : end + reach])} "
    return sum(f" {choice} " in near for choice in entry.choices) >= CHOICES * len(entry.choices)


def _says_nothing(choice: list[str]) -> bool:
    """Whether it is empty, a lone letter or digit, or a mere yes or no."""
    text = "".join(choice)
    return text in _SAY_NOTHING or (text.isascii() and len(text) <= 1)


def _asks_otherwise(entry: _Entry, given: str) -> bool:
    """Whether an example that gives choices (`given`, joined) asks something else with the same short stem."""
    if not given or not entry.choices or len(entry.stem) >= LONG[entry.language]:
        return False
    return not any(f" {choice} " in f" {given} " for choice in entry.choices)


def _joined(text: str) -> str:
    return " ".join(tokens_of(text))


def _plain(question_id: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFKC", question_id).casefold() if sign.isalnum())


def _is_distinctive(plain: str) -> bool:
    """Letters and digits, four at least, as in 112a23: not 17, nor a word with a number (q0012, anatomy7)."""
    mixed = any(sign.isdigit() for sign in plain) and not plain.isdigit()
    return len(plain) >= 4 and mixed and not _NUMBERING.fullmatch(plain)


def _is_own_file(benchmark: str) -> bool:
    return not benchmark or benchmark.startswith("jsonl:")
