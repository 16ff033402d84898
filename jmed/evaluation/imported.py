"""Answers that were produced elsewhere: read from JSONL, marked by the same rules, written as the same files."""

import glob
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import pyarrow as pa

from jmed.configuration.schema import ScoreConfig
from jmed.data import catalogue
from jmed.data.item_id import make_item_id
from jmed.data.lines import Record, read_jsonl
from jmed.data.question import Question
from jmed.errors import UserError, nearest
from jmed.evaluation.finish import already_finished, write_results
from jmed.evaluation.folder import EvaluationFolder
from jmed.evaluation.inputs import localise
from jmed.evaluation.items import Item, to_rows
from jmed.evaluation.marks import Marked, Piece, written
from jmed.evaluation.table import RAW_ANSWERS
from jmed.inference.request import Answer, Request
from jmed.rows import READ
from jmed.runs.hashes import file_hashes
from jmed.scoring.paper import MARKERS, cut_answer, paper_marks
from jmed.scoring.reading import is_correct, is_correct_verbatim, read_answer, read_letters_verbatim

METHOD = "imported"


@dataclass(frozen=True)
class Imported:
    """One line of a predictions file: letters by the publisher's rule, or free text to be read."""

    place: str
    prediction: str | None
    response: str | None


def score(config: ScoreConfig) -> None:
    """Run the whole job."""
    config = localise(config)
    files = _files(config.predictions)
    root = Path(config.data_root)
    questions = catalogue.load(config.benchmark, config.language, root)
    imported = read_predictions(files, questions, config.benchmark)
    identity = {
        "job": "score",
        **config.model_dump(include={"benchmark", "language", "name", "scoring", "prompt"}),
        "predictions": file_hashes(files, Path()),
        "data": file_hashes(catalogue.files_of(config.benchmark, root), root),
    }
    folder = EvaluationFolder(Path(config.output_dir).expanduser().absolute(), identity)
    with folder.claim():
        if folder.finished:
            already_finished(folder)
            return
        folder.begin(config.as_given, {})
        begun = time.monotonic()
        marked, left_out = mark_imported(questions, imported, config)
        _warn(marked, imported)
        timing = {"seconds": round(time.monotonic() - begun, 3), "questions_asked": 0}
        exam_questions = [one for one in questions if one.exam]
        write_results(folder, config.name, _pieces(marked), exam_questions, left_out, timing)


def _files(pattern: str) -> list[Path]:
    # pathlib's glob takes no absolute pattern.
    files = sorted(Path(name) for name in glob.glob(str(Path(pattern).expanduser()), recursive=True))  # noqa: PTH207
    if not files:
        raise UserError(
            f"predictions: no file matches {pattern!r}; expected a path or glob of JSONL files (quote a glob)"
        )
    return files


def read_predictions(files: Sequence[Path], questions: Sequence[Question], benchmark: str) -> dict[str, Imported]:
    """Predictions by question id; unknown and repeated ids are errors."""
    known = {question.question_id for question in questions}
    found: dict[str, Imported] = {}
    for record in (record for file in files for record in read_jsonl(file)):
        question_id = _question_id(record)
        if question_id not in known:
            raise record.error(
                f"question {question_id!r} is not in {benchmark}{nearest(question_id, known)}; "
                "expected answers to this benchmark only"
            )
        if question_id in found:
            raise record.error(f"question {question_id!r} was answered already at {found[question_id].place}; keep one")
        found[question_id] = _imported(record)
    if not found:
        raise UserError(f"predictions: {', '.join(map(str, files))} hold no lines; expected one answer a line")
    return found


def _question_id(record: Record) -> str:
    for key in ("question_id", "problem_id"):
        if key in record.fields:
            return record.name(key)
    raise record.error(f"field 'question_id' (or 'problem_id') is missing; found {record.listed}")


def _imported(record: Record) -> Imported:
    given = [key for key in ("prediction", "response") if key in record.fields]
    if len(given) != 1:
        found = " and ".join(given) or record.listed
        raise record.error(f"expected either 'prediction' (letters) or 'response' (free text); found {found}")
    text = record.text(given[0])
    return Imported(record.place, text, None) if given == ["prediction"] else Imported(record.place, None, text)


def mark_imported(
    questions: Sequence[Question], imported: dict[str, Imported], config: ScoreConfig
) -> tuple[list[Marked], Counter[tuple[str, str, str]]]:
    """Mark every answered question. A question without an answer counts as wrong, unless nobody could expect one:
    those that need an image or have no right answer are left out, and counted."""
    marked, left_out = [], Counter[tuple[str, str, str]]()
    for question in questions:
        one = imported.get(question.question_id)
        if one is None and (reason := _reason_unanswered(question)):
            left_out[question.benchmark, question.language, reason] += 1
        elif not question.has_answer:
            left_out[question.benchmark, question.language, "withdrawn, no right answer"] += 1
        else:
            marked.append(_mark(question, one, config))
    return marked, left_out


def _reason_unanswered(question: Question) -> str | None:
    if question.needs_image:
        return "needs an image, not answered"
    return "withdrawn from the marking, not answered" if question.withdrawn else None


def _mark(question: Question, one: Imported | None, config: ScoreConfig) -> Marked:
    response = (one.prediction or one.response or "") if one else ""
    prediction: tuple[str, ...] | None
    if one and one.prediction is not None:
        prediction = read_letters_verbatim(one.prediction)
        correct = is_correct_verbatim(prediction, question)
    else:
        prediction = read_answer(response, question) if one else None
        correct = is_correct(prediction, question)
    paper = paper_marks(_paper_answer(response), question) if config.scoring == "paper" else None
    error = None if one else "no answer was given"
    return Marked(
        question, config.prompt, METHOD, response, prediction, written(prediction, question), correct, error, paper
    )


def _pieces(marked: Iterable[Marked]) -> Iterator[Piece]:
    """In the order of the item ids. No model was asked by jmed, so there are no prompts, log-probabilities, tokens."""
    named = sorted(((make_item_id(one.question, one.prompt, METHOD), one) for one in marked), key=itemgetter(0))
    for start in range(0, len(named), READ):
        some = named[start : start + READ]
        asked = to_rows(Item(one.question, Request(item_id, ""), one.prompt, METHOD) for item_id, one in some)
        given = [vars(Answer(item_id, one.response, error=one.error)) for item_id, one in some]
        table = pa.Table.from_pylist(given, RAW_ANSWERS)
        yield Piece(pa.Table.from_batches([asked]), table, [one for _, one in some])


def _paper_answer(response: str) -> str:
    """The paper's evaluator stores answers already cut; only one that still holds a prompt's marker is cut here."""
    return cut_answer(response) if any(marker in response for marker in MARKERS) else response


def _warn(marked: Sequence[Marked], imported: dict[str, Imported]) -> None:
    """Say which predictions the publisher's rule cannot match, so that nobody loses points without knowing."""
    odd = [imported[one.question.question_id] for one in marked if not one.written and not one.error]
    odd = [one for one in odd if one.prediction]
    if odd:
        print(
            f"{len(odd)} predictions are not letters separated by commas without blanks and count as wrong by the "
            f"publisher's rule (the first: {odd[0].place}: {(odd[0].prediction or '')[:40]!r}); "
            "give free text as 'response' to have it read",
            file=sys.stderr,
        )
