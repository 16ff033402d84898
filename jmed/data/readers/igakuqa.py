"""IgakuQA: the Japanese national medical licensing examination, in Japanese and machine-translated English.

`data/<year>/<nnn>-<A..F>.jsonl` (problem_id, problem_text, choices, text_only, answer, points), beside each
`…_translate.jsonl` (problem_id, problem_text_en, choices_en) and `…_metadata.jsonl` (problem_id, category, kinki).
"""

from collections.abc import Iterator
from pathlib import Path

from jmed.data.lines import Record, read_jsonl
from jmed.data.question import Question
from jmed.data.readers import Placed
from jmed.data.readers.answers import accepted_answer, check_choices
from jmed.data.readers.blocks import blocks, letter, years
from jmed.errors import UserError

# The publisher's evaluator marks it right for everybody, though its file gives one answer.
_EVERY_ANSWER_COUNTS = {"116A71"}
# The publisher gives the digits of the answer boxes; "解答：1, ①②③ kcal" and "①②.③" print the rest of the number.
_BOXED = {"114C75": "10.0", "114F75": "1130"}


def parts(folder: Path) -> list[str]:
    return years(folder)


def files(folder: Path, part: str) -> list[Path]:
    found = []
    for path in blocks(folder, part):
        beside = (_beside(path, "translate"), _beside(path, "metadata"))
        found += [path, *(other for other in beside if other.exists())]
    return found


def read(folder: Path, part: str, language: str) -> Iterator[Placed]:
    for path in blocks(folder, part):
        yield from _read_block(path, part, language)


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f"{path.stem}_{kind}.jsonl")


def _read_block(path: Path, year: str, language: str) -> Iterator[Placed]:
    japanese = list(read_jsonl(path))
    metadata = _metadata(_beside(path, "metadata"))
    shown = japanese if language == "ja" else _translations(path, japanese)
    for record, words in zip(japanese, shown, strict=True):
        # The place is the line whose words are asked; answer, points and text_only always come from the Japanese one.
        yield words.place, _question(record, words, metadata.get(record.text("problem_id")), year, language)


def _metadata(path: Path) -> dict[str, Record]:
    """Specialty and prohibited choices by problem; a file that was not copied only means that they are unknown."""
    return {record.text("problem_id"): record for record in read_jsonl(path)} if path.exists() else {}


def _translations(path: Path, japanese: list[Record]) -> list[Record]:
    """The English words of each question of a block, in the same order."""
    english = _beside(path, "translate")
    if not english.exists():
        raise UserError(f"{english}: there is no such file; English needs it beside {path}")
    translated = list(read_jsonl(english))
    for record, words in zip(japanese, translated, strict=False):
        ours, theirs = record.text("problem_id"), words.text("problem_id")
        if ours != theirs:
            raise words.error(f"found problem {theirs!r} where {record.place} has {ours!r}; expected the same order")
        ours_n, theirs_n = len(record.strings("choices")), len(words.strings("choices_en"))
        if ours_n != theirs_n and record.flag("text_only"):  # choices that are pictures need no translation
            raise words.error(f"problem {ours!r} has {theirs_n} choices; {record.place} has {ours_n}")
    if len(translated) != len(japanese):
        raise UserError(
            f"{english}: found {len(translated)} problems where {path} has {len(japanese)}; expected as many"
        )
    return translated


def _question(record: Record, words: Record, about: Record | None, year: str, language: str) -> Question:
    question_id = record.name("problem_id")
    suffix = "" if language == "ja" else "_en"
    needs_image = not record.flag("text_only")
    accepted = _accepted(record, question_id, needs_image)
    points = record.number("points")
    return Question(
        benchmark="",
        question_id=question_id,
        language=language,
        text=words.text(f"problem_text{suffix}"),
        choices=words.strings(f"choices{suffix}"),
        accepted=accepted,
        equivalents=((_BOXED[question_id],),) if question_id in _BOXED else (),
        n_answers=len(accepted[0]),
        subset=year,
        exam=f"igakuqa-{year}",
        block=letter(record.path),
        points=points,
        prohibited=about.strings("kinki") if about else (),
        specialty=about.text("category") if about else "",
        needs_image=needs_image,
        withdrawn=points == 0,
        every_answer_counts=question_id in _EVERY_ANSWER_COUNTS,
    )


def _accepted(record: Record, question_id: str, needs_image: bool) -> tuple[tuple[str, ...], ...]:
    """The answers that count: `["a", "c"]` is one answer of two letters, `["a or d"]` two answers of one."""
    answer, n_choices = record.strings("answer"), len(record.strings("choices"))
    check_choices(record, question_id, n_choices)
    either = [answer]
    if len(answer) == 1 and " or " in answer[0]:
        either = [(one.strip(),) for one in answer[0].split(" or ")]
    return tuple(accepted_answer(record, question_id, one, n_choices, needs_image) for one in either)
