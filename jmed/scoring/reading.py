"""Strict reading of a free-text response: the choices that a human reader would say were chosen, or none.

A response that cannot be read without doubt is unread: it counts as wrong and is reported as unread. Nothing here
looks at the right answer. Where several ways of reading apply, the first that finds an answer decides:

1. declared: what follows the last "答えは", "answer is", "Answer:", "\\boxed{";
2. first: the response starts with an answer phrase ("c\\n理由は…", "(B) because A is wrong");
3. concluded: "最も考えられるのは X", "X が正解", "X is the most likely", all of which must agree;
4. last: the last line is an answer phrase with a label, and no other line is.

A letter and a text that contradict each other ("B. Aspirin" when Aspirin is d) are unread.
"""

import re
from collections.abc import Iterator

from jmed.data.question import Question
from jmed.scoring.numbers import number_value, read_number
from jmed.scoring.phrases import UNCLEAR, Letters, PhraseReader
from jmed.scoring.text import CIRCLED, normalise, own_answer

_DECLARED = re.compile(
    r"""(?<!誤)(?<!った)(?:答[え案]?|解答|回答|正解|正答)(?:の?(?:選択肢|番号|記号))?
      \s*(?:は|是|:|=|→|】|\]|(?=[【「『(\[])|(?=[a-z](?![a-z])))
    | (?:正しい|適切な|該当する)(?:選択肢|もの)は
    | (?<!wrong\ )(?<!incorrect\ )\b(?:ans\.?|answers?|(?:correct|right|best)\ (?:choice|option)s?)["']?\s*
      (?: : | = | - | (?=[(\[] | (?<=\W)[a-z](?:[.):]|\s*\Z)) | (?:is|are|would\ be|will\ be|should\ be|must\ be)\b ) :?
    | \bi(?:\ would|\ will|'d|'ll)?\ (?:choose|select|pick|answer|go\ with)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_MOST = r"(?:最も|もっとも|一番)(?:可能性が高|考えられ|適切|適当|妥当|疑わ)"
_CONCLUDED = re.compile(
    rf"""{_MOST}[^。、,\n]{{0,15}}?は
    | \b(?:most\s+(?:likely|probable|appropriate|suitable)|best)\b[^.,;:\n]{{0,60}}?\b(?:is|are|would\ be)\b:?""",
    re.IGNORECASE | re.VERBOSE,
)
_THEREFORE = re.compile(r"したがって|従って|よって|ゆえに|\b(?:therefore|thus|hence|so)\b", re.IGNORECASE)
_CONCLUDED_BEHIND = re.compile(
    rf"""が(?:正解|正答|答え)(?!では|じゃ) | が{_MOST} | の可能性が(?:最も|もっとも)高 | を(?:選択し|選び|選ぶ)
    | \s(?:is|are)\s+(?:the\s+)?(?: (?:correct|right|best|final)\s+(?:answer|choice|option)s? | answers?\b
      | most\s+(?:likely|probable|appropriate|suitable) )""",
    re.IGNORECASE | re.VERBOSE,
)
_ASKED = re.compile(r"([^\s。、,]{2,8}は)(?:どれか|何か|どこか)")
_SENTENCE_END = re.compile(r"[。\n!?]|(?<!\b[A-Za-z])\.(?=\s)")  # not within "E. coli"
_SENTENCE_LENGTH = 300  # characters that are looked through, at most
_CLAUSE_START = re.compile(r"^|[、,:;]|として")
_LISTED = re.compile(
    rf"^[ \t•-]*(?:選択肢|option\b|choice\b)?[ \t]*[(\[]?([a-z1-9](?=[ \t]*[.:)\]])|[{CIRCLED}])",
    re.IGNORECASE | re.MULTILINE,
)
_LIST_STARTS = (["a", "b"], ["1", "2"], list(CIRCLED[:2]))


def read_answer(response: str, question: Question) -> tuple[str, ...] | None:
    """The chosen letters, sorted, in the order in which the choices are published; None: unread.

    For a question without choices it is the one number that is given, as text.
    """
    text = normalise(own_answer(response)).strip()
    if not question.choices and not question.needs_image:
        number = read_number(text, question.text, _DECLARED)
        return (number,) if number else None
    letters = _read_letters(text, question)
    return tuple(sorted(letters)) if letters else None


def read_letters_verbatim(prediction: str) -> tuple[str, ...]:
    """The publisher's reading of an answer in letters: nothing is stripped or folded, so "c, e" is c and " e"."""
    return tuple(sorted(prediction.split(",")))


def is_correct(prediction: tuple[str, ...] | None, question: Question) -> bool:
    """Whether a prediction is one of the accepted answers; numbers are compared by value.

    A question that is marked right for everybody is right even if it is unread.
    """
    if question.every_answer_counts:
        return True
    answers = question.accepted + question.equivalents
    return prediction is not None and any(_same(prediction, answer, question) for answer in answers)


def is_correct_verbatim(prediction: tuple[str, ...], question: Question) -> bool:
    """The publisher's rule for answers in letters (IgakuQA, evaluate_main.py): equal to the published text itself."""
    return question.every_answer_counts or prediction in question.accepted


def _same(prediction: tuple[str, ...], answer: tuple[str, ...], question: Question) -> bool:
    if question.choices or len(prediction) != 1 or len(answer) != 1:
        return set(prediction) == set(answer)
    value = number_value(prediction[0])
    return prediction == answer or (value is not None and value == number_value(answer[0]))


def _read_letters(text: str, question: Question) -> Letters | None:
    reader = PhraseReader(question)
    declared = _declared(text, reader)
    if declared is not None:
        return declared
    letters = _first(text, reader) or _concluded(text, question, reader) or _last(text, reader)
    lists_all = letters is not None and reader.n_answers < len(letters) == len(question.choices)
    return None if lists_all else letters


def _declared(text: str, reader: PhraseReader) -> Letters | None:
    """The last declaration. One that names choices without choosing ("the answer is not A") leaves all unread."""
    for marker in reversed(list(_DECLARED.finditer(text))):
        letters = reader.phrase(text, marker.end(), declared=True)
        if letters is not None:
            return letters
        following = text[marker.end() : marker.end() + _SENTENCE_LENGTH].lstrip()
        if reader.mentions(_SENTENCE_END.split(following, maxsplit=1)[0]):
            return UNCLEAR
    return None


def _first(text: str, reader: PhraseReader) -> Letters | None:
    """The answer phrase at the start, unless it starts a list of the choices."""
    listed = [label.lower() for label in _LISTED.findall(text)]
    is_list = _LISTED.match(text) and listed[:2] in _LIST_STARTS and len(set(listed)) > reader.n_answers
    return None if is_list else reader.phrase(text)


def _concluded(text: str, question: Question, reader: PhraseReader) -> Letters | None:
    """What is concluded in other words; two conclusions that differ leave it unread."""
    found = {letters for letters in _conclusions(text, question, reader) if letters}
    return found.pop() if len(found) == 1 else None


def _conclusions(text: str, question: Question, reader: PhraseReader) -> Iterator[Letters | None]:
    asked = _ASKED.search(normalise(question.text))
    markers = [_CONCLUDED, re.compile(re.escape(asked[1]))] if asked else [_CONCLUDED]
    for marker in markers:
        for match in marker.finditer(text):
            yield reader.phrase(text, match.end())
    for match in _THEREFORE.finditer(text):  # a text that follows is mostly a statement about it
        yield reader.label_phrase(text, match.end())
    for match in _CONCLUDED_BEHIND.finditer(text):
        before = text[max(0, match.start() - _SENTENCE_LENGTH) : match.start()]
        sentence = _SENTENCE_END.split(before)[-1]
        yield _filling(sentence, reader)


def _filling(sentence: str, reader: PhraseReader) -> Letters | None:
    """The items that fill the end of a text, from the earliest clause on: all of "a、c", not its c alone."""
    for clause in _CLAUSE_START.finditer(sentence):
        item = reader.items(sentence, clause.end())
        if item and not sentence[item.end :].strip():
            return item.letters
    return None


def _last(text: str, reader: PhraseReader) -> Letters | None:
    """The last line, if it is labelled and no other line is."""
    *others, last = text.splitlines() or [""]
    answered = any(_LISTED.match(line) or reader.phrase(line) for line in others)
    return None if answered else reader.label_phrase(last)
