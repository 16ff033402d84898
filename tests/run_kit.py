"""Finished run folders for the tests of comparisons, written by the functions that the jobs themselves use."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from jmed.comparison.compare import make_comparison
from jmed.comparison.facts import read_facts
from jmed.comparison.folders import open_folder
from jmed.comparison.schema import Comparison
from jmed.comparison.systems import make_runs
from jmed.configuration.schema import CompareConfig, EvaluateConfig
from jmed.data import catalogue
from jmed.data.item_id import make_item_id
from jmed.data.question import LETTERS, Question
from jmed.data.readers import mini as mini_reader
from jmed.data.rotation import rotate
from jmed.evaluation.folder import EvaluationFolder
from jmed.evaluation.items import Item, to_rows
from jmed.evaluation.marks import Piece, mark
from jmed.evaluation.results import make_results
from jmed.evaluation.table import ANSWERS, RAW_ANSWERS
from jmed.inference.request import Answer, Request
from jmed.runs.files import write_table
from jmed.runs.hashes import file_hashes

WORKERS = {"count": 2, "gpus": 1.0, "cpus": 1, "reserved_cpus": 1.0, "labels": {}}
CLUSTER = {"nodes": 1, "cpus": 4.0, "gpus": 2.0, "gpu_kinds": ["T4"], "memory": 0, "workers": WORKERS}
WEIGHTS = {"model.safetensors": "0" * 64}


def question(question_id: str, language: str = "ja", benchmark: str = "mini", **more: Any) -> Question:
    """One right answer, a, of five."""
    known = {"text": f"stem of {question_id}", "choices": tuple("vwxyz"), "accepted": (("a",),), **more}
    return Question(benchmark, question_id, language, **known)


def answered(one: Question, letter: str, *, prompt: str = "letters", rotation: int = 0, sure: float = 1.0) -> Piece:
    """The question answered by the method letters with this letter of the published order, marked as evaluate does."""
    shown = rotate(one, rotation)
    place = (LETTERS.index(letter) - rotation) % len(one.choices)
    request = Request(make_item_id(one, prompt, "letters", rotation), f"{shown.text}", (" A",) * len(one.choices), 1)
    logprobs = [-sure if number != place else -0.1 for number in range(len(one.choices))]
    answer = Answer(request.item_id, "", tuple(logprobs), 40 + 10 * (one.language == "ja"), 1)
    asked = pa.Table.from_batches([to_rows([Item(one, request, prompt, "letters", rotation)])])
    given = pa.Table.from_pylist([vars(answer)], RAW_ANSWERS)
    return Piece(asked, given, [mark(one, asked.to_pylist()[0], vars(answer), "strict")])


def write_run(
    folder: Path,
    pieces: Iterable[Piece],
    *,
    model: str = "base",
    files: Iterable[Path] = (),
    identity: dict[str, Any] | None = None,
    record: dict[str, Any] | None = None,
    **keys: Any,
) -> Path:
    """An evaluation's finished output folder; `identity` and `record` are merged into those of run.yaml."""
    pieces = sorted(pieces, key=lambda piece: piece.asked["item_id"][0].as_py())
    marked = [one for piece in pieces for one in piece.marked]
    named = sorted({one.question.benchmark for one in marked})
    config = EvaluateConfig.model_validate(
        {"model": {"path": model}, "benchmarks": named, "method": "letters", "output_dir": str(folder), **keys}
    )
    files = [*files, mini_reader.path()] if "mini" in named else list(files)
    known = {"job": "evaluate", "method": "letters", "scoring": "strict", "quantization": "none", "shots": 0,
             "model": WEIGHTS, "adapter": None, "data": file_hashes(files, Path(config.data_root))}  # fmt: skip
    made = EvaluationFolder(folder, known | (identity or {}))
    folder.mkdir(parents=True)
    made.begin(config, {"model_folder": "", "adapter_folder": None, "cluster": CLUSTER} | (record or {}))
    timing = {"seconds": 20.0, "questions_asked": len(marked)}
    results = make_results(model, marked, [one.question for one in marked if one.question.exam], Counter(), timing)
    write_table((piece.rows(model) for piece in pieces), ANSWERS, folder / "answers.parquet")
    made.end(results)
    return folder


def mini(language: str) -> list[Question]:
    return [one for one in catalogue.load("mini", language, None) if one.n_answers == 1]


def sit_mini(right: int, *, languages: Sequence[str] = ("ja", "en"), skip: int = 0, **how: Any) -> list[Piece]:
    """The questions of `mini` with one answer; `right` of them right, after the first `skip`, the others wrong."""
    found = []
    for language in languages:
        for number, one in enumerate(mini(language)):
            gold = one.accepted[0][0]
            wrong = next(letter for letter in "ab" if letter != gold)
            found.append(answered(one, gold if skip <= number < skip + right else wrong, **how))
    return found


def compared(*folders: Path | str, **keys: Any) -> Comparison:
    """What the job makes of these folders."""
    config = CompareConfig.model_validate({"runs": list(map(str, folders)), "output_dir": "unused", **keys})
    runs = make_runs([open_folder(one) for one in config.runs], config.metric)
    return make_comparison(runs, read_facts(runs, config.data_root), config)
