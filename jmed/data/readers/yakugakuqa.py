"""YakugakuQA: the Japanese national examination for pharmacists, in Japanese.

`data/<year>/<nnn>-<A..F>.jsonl` (problem_id, problem_text, choices, text_only, answer, points). `<nnn>.jsonl` beside
them repeats the same questions under other names and is not read. Answers are digits from 1; remarks stand among them.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from jmed.data.lines import Record, read_jsonl
from jmed.data.question import LETTERS, Question
from jmed.data.readers import Placed
from jmed.data.readers.answers import check_choices, letter_of
from jmed.data.readers.blocks import blocks, letter, years

_IMAGES = "IMAGES"  # stands in the place of the list when the choices are pictures
_NO_ANSWER = "解なし"
_DIGITS = {"一": 1, "二": 2, "三": 3, "四": 4, "五": 5}
_ASKED = re.compile(r"([0-9０-９一二三四五])\s*つ\s*選")  # 2つ選べ
_ANSWER = re.compile(r"([1-9])(?:[（(](.+)[）)])?")  # 5（いずれか2つを選択で正解とする）
_EITHER = re.compile(r"いずれか\s*([0-9０-９一二三四五])\s*つ")


def parts(folder: Path) -> list[str]:
    return years(folder)


def files(folder: Path, part: str) -> list[Path]:
    return blocks(folder, part)


def read(folder: Path, part: str, language: str) -> Iterator[Placed]:
    for path in files(folder, part):
        for record in read_jsonl(path):
            yield record.place, _question(record, part, language)


def _question(record: Record, year: str, language: str) -> Question:
    question_id, text = record.name("problem_id"), record.text("problem_text")
    choices = _choices(record)
    check_choices(record, question_id, len(choices))
    needs_image = not record.flag("text_only") or record.fields["choices"] == _IMAGES
    asked = _ASKED.findall(text)
    n_asked = _digit(asked[-1]) if asked else 0
    accepted, n_answers = _accepted(record, question_id, len(choices), n_asked)
    return Question(
        benchmark="",
        question_id=question_id,
        language=language,
        text=text,
        choices=choices,
        accepted=accepted,
        n_answers=n_answers,
        subset=year,
        block=letter(record.path),
        points=record.number("points"),
        needs_image=needs_image,
        withdrawn=not accepted,
    )


def _choices(record: Record) -> tuple[str, ...]:
    return () if record.fields.get("choices") == _IMAGES else record.strings("choices")


def _accepted(
    record: Record, question_id: str, n_choices: int, n_asked: int
) -> tuple[tuple[tuple[str, ...], ...], int]:
    """The answers that count and how many choices an answer names; no answers: the examiner took the question out."""
    answer = record.strings("answer")
    if any(one.startswith(_NO_ANSWER) for one in answer):
        return (), n_asked or 1
    letters, remark = _letters(record, question_id, answer, n_choices)
    size = len(letters)
    if remark:
        size = _counted(record, question_id, remark, size)
    elif 0 < n_asked < size:
        # Three questions ask for fewer than their file lists, without the remark. For two of them (103D029, 104C040)
        # the publisher's metadata has it: any of those listed counts.
        size = n_asked
    return tuple(combinations(letters, size)), size


def _letters(record: Record, question_id: str, answer: Sequence[str], n_choices: int) -> tuple[tuple[str, ...], str]:
    """The letters that the answer lists, sorted, and the remark that stands behind one of them."""
    letters, remark = set(), ""
    for one in answer:
        match = _ANSWER.fullmatch(one)
        if not match:
            found = f"the answer {one!r} of question {question_id!r}"
            raise record.error(f"{found} is not understood; expected a digit, with a remark at most, or {_NO_ANSWER}")
        # Pictures are not counted in the file, so that any digit may be one of them.
        letters.add(letter_of(record, question_id, int(match[1]), n_choices or len(LETTERS)))
        remark += match[2] or ""
    if not answer or len(letters) < len(answer):
        raise record.error(
            f"the answer {', '.join(answer)!r} of question {question_id!r} is empty or names a choice twice"
        )
    return tuple(sorted(letters)), remark


def _counted(record: Record, question_id: str, remark: str, size: int) -> int:
    """How many of the listed choices an answer needs, from a remark such as いずれか2つを選択で正解とする."""
    match = _EITHER.search(remark)
    if not match or not 1 <= _digit(match[1]) <= size:
        found = f"the remark {remark!r} in the answer of question {question_id!r}"
        raise record.error(f"{found} is not understood; expected いずれかNつ, N being 1 to {size}")
    return _digit(match[1])


def _digit(text: str) -> int:
    return _DIGITS.get(text) or int(text)
