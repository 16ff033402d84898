"""The examination that was written for this project and comes with it: `jmed/data/exams/mini.jsonl`.

One pair a line: question_id, specialty, block, points, answer [..], prohibited [..], and `ja` and `en`, each with
question and choices in the same order.
"""

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from jmed.data.lines import Record, read_jsonl
from jmed.data.question import Question
from jmed.data.readers import Placed
from jmed.data.readers.answers import accepted_answer


def path() -> Path:
    return Path(str(resources.files("jmed.data") / "exams" / "mini.jsonl"))


def parts(folder: Path) -> list[str]:
    return [""]


def files(folder: Path, part: str) -> list[Path]:
    return [path()]


def read(folder: Path, part: str, language: str) -> Iterator[Placed]:
    for record in read_jsonl(path()):
        yield record.place, _question(record, language)


def _question(record: Record, language: str) -> Question:
    question_id = record.name("question_id")
    words = {name: record.record(name) for name in ("ja", "en")}
    ja, en = (len(words[name].strings("choices")) for name in ("ja", "en"))
    if ja != en:
        raise record.error(f"question {question_id!r} has {ja} choices in Japanese and {en} in English")
    accepted = accepted_answer(record, question_id, record.strings("answer"), ja)
    return Question(
        benchmark="",
        question_id=question_id,
        language=language,
        text=words[language].text("question"),
        choices=words[language].strings("choices"),
        accepted=(accepted,),
        n_answers=len(accepted),
        exam="mini",
        block=record.text("block"),
        points=record.number("points"),
        prohibited=record.strings("prohibited"),
        specialty=record.text("specialty"),
    )
