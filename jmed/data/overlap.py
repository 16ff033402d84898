"""Which texts share words: tokens, their n-grams, and an index that says which parts of which questions hold them.

A token is one kanji or hiragana, one katakana word, one word of any other script, or one number, after NFKC and
casefold; punctuation, symbols and spaces fall away. So one n serves Japanese and English and texts that mix them.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

Gram = tuple[str, ...]

N = 6  # tokens; with 4 or 5 other questions of the same exam alarm half as often again, with 7 short English stems hide
# An n-gram of more questions is the language of examinations or of medicine. A vignette shared by a few questions, each
# in several versions, stays below it. Of YakugakuQA's stems alone 91 % are found with 4, 95 % with 16; with 32 false
# alarms begin to grow.
MOST_QUESTIONS = 16

_KANJI_HIRAGANA = "\u3005-\u3007\u3041-\u3096\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KATAKANA = "\u30a1-\u30fa\u30fc-\u30ff"
_TOKEN = re.compile(f"[{_KANJI_HIRAGANA}]|[{_KATAKANA}]+|[0-9]+|[^\\W0-9_{_KANJI_HIRAGANA}{_KATAKANA}]+")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")  # soft hyphens and the like stand inside words
_BOILERPLATE: tuple[int, ...] = ()

# Known without counting: a file of twenty questions is too small to show what every examination says.
_PHRASES = (
    "次の記述のうち、正しいものはどれか。2つ選べ。",
    "以下の記述のうち、誤っているものはどれか。1つ選べ。",
    "に関する次の記述について、正しいのはどれか。3つ選べ。",
    "に関する記述のうち、正しいのはどれか。1つ選べ。",
    "に関する記述のうち、誤っているのはどれか。2つ選べ。",
    "に関する記述として正しいのはどれか。2つ選べ。",
    "として最も適切なのはどれか。1つ選べ。",
    "次のうち、最も適切なものはどれか。",
    "次のうち、適切でないのはどれか。",
    "の治療として適切なのはどれか。2つ選べ。",
    "この患者に対する対応として最も適切なのはどれか。",
    "最も可能性が高いのはどれか。",
    "次の文を読み、以下の問いに答えよ。",
    "Which of the following is the most likely diagnosis in this patient?",
    "Which of the following is the most likely cause of this patient's symptoms?",
    "Which of the following is the most appropriate next step in the management of this patient?",
    "Which of the following is the best next step in management?",
    "Which one of the following statements about this is not true except",
    "Which of the following statements is correct? Choose two.",
    "Which of the following statements is false regarding the",
    "Which of the following statements is incorrect regarding the",
    "Which of the following statements is not true about the",
    "Which of the following is not correct about the",
    "All of the following are true about this except",
    "All of the following statements are true except",
    "What is the most likely diagnosis for this patient?",
    "What is the most appropriate treatment for this patient?",
)


def tokens_of(text: str) -> list[str]:
    """The tokens of a text in their order."""
    return _TOKEN.findall(_INVISIBLE.sub("", unicodedata.normalize("NFKC", text).casefold()))


def grams_of(tokens: Sequence[str]) -> Iterator[Gram]:
    """Every N tokens in a row; none if there are fewer."""
    return zip(*(tokens[start:] for start in range(N)), strict=False)


class GramIndex:
    """Which parts (a stem, a context, a choice; numbered from 0) hold an n-gram that is no boilerplate."""

    def __init__(self) -> None:
        self._parts: dict[Gram, tuple[int, ...]] = {
            gram: _BOILERPLATE for phrase in _PHRASES for gram in grams_of(tokens_of(phrase))
        }
        self._words: dict[str, str] = {}
        self._n_parts = 0

    def add(self, parts: Iterable[Sequence[str]]) -> range:
        """One question's parts, as tokens; their numbers. What two of its parts hold counts for the first."""
        first, seen = self._n_parts, set[Gram]()
        for part in parts:
            words = [self._words.setdefault(word, word) for word in part]  # each word is kept once
            fresh = set(grams_of(words)) - seen
            self._add(self._n_parts, fresh)
            seen |= fresh
            self._n_parts += 1
        return range(first, self._n_parts)

    def _add(self, part: int, grams: set[Gram]) -> None:
        alone = (part,)
        for gram in grams:
            known = self._parts.get(gram)
            if known is None:
                self._parts[gram] = alone
            elif known:
                self._parts[gram] = (*known, part) if len(known) < MOST_QUESTIONS else _BOILERPLATE

    def sizes(self) -> list[int]:
        """How many n-grams each part has that are no boilerplate."""
        counts = Counter(part for parts in self._parts.values() for part in parts)
        return [counts[part] for part in range(self._n_parts)]

    def rarest(self, tokens: Sequence[str]) -> tuple[int, Gram]:
        """Where in an added part its rarest n-gram stands, and the n-gram."""
        return min(enumerate(grams_of(tokens)), key=lambda placed: len(self._parts[placed[1]]) or MOST_QUESTIONS + 1)

    def found_in(self, tokens: Sequence[str]) -> list[tuple[int, Gram]]:
        """Every n-gram of a text that the index knows, boilerplate too, with its place."""
        parts = self._parts
        return [placed for placed in enumerate(grams_of(tokens)) if placed[1] in parts]

    def parts_with(self, gram: Gram) -> tuple[int, ...]:
        return self._parts[gram]
