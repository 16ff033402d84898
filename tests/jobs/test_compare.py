"""The job compare as its user starts it, on runs of score and of evaluate."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jmed.comparison.schema import Comparison
from jmed.configuration.schema import ScoreConfig
from jmed.data import catalogue
from jmed.evaluation.imported import score
from tests.jobs.conftest import run_job


def answers(folder: Path, name: str, language: str, right: int) -> Path:
    """A run of score on `mini`: the first `right` questions are answered right, the others not."""
    rows = [
        {"question_id": one.question_id, "prediction": one.gold if number < right else "z"}
        for number, one in enumerate(catalogue.load("mini", language, None))
    ]
    file = folder / f"{name}-{language}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    output = folder / f"run-{name}-{language}"
    values = {"benchmark": "mini", "language": language, "predictions": str(file), "name": name}
    score(ScoreConfig.model_validate({**values, "output_dir": str(output)}))
    return output


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two systems, each in two folders, one a language."""
    folder = tmp_path_factory.mktemp("scored")
    rights = {("old", "ja"): 20, ("old", "en"): 20, ("new", "ja"): 50, ("new", "en"): 45}
    return [str(answers(folder, name, language, right)) for (name, language), right in rights.items()]


def compare(output: Path, runs: list[str], *more: str, **environment: str) -> Any:
    return run_job("compare", "--runs", json.dumps(runs), "--output_dir", str(output), *more, **environment)


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.iterdir()}


def test_a_comparison_from_end_to_end(tmp_path: Path, runs: list[str]) -> None:
    done = compare(tmp_path / "cmp", runs)
    assert (done.returncode, done.stderr) == (0, "")
    found = Comparison.model_validate_json((tmp_path / "cmp" / "comparison.json").read_text("utf-8"))
    assert [(run.name, len(run.folders)) for run in found.runs] == [("old", 2), ("new", 2)]
    assert {(pair.language, pair.only_second - pair.only_first) for pair in found.pairs} == {("ja", 30), ("en", 25)}
    (transfer,) = found.transfer
    assert transfer.sentence.en.startswith("new is better than old in both Japanese (+44.1 points")
    for said in (transfer.sentence.en, "An exam score is no clearance for clinical use.", "ranks", "report: "):
        assert said in done.stdout
    assert (tmp_path / "cmp" / "report.html").is_file()
    assert not (tmp_path / "cmp" / "unfinished").exists()


def test_the_same_command_again_does_nothing_but_say_so(tmp_path: Path, runs: list[str]) -> None:
    first = compare(tmp_path / "cmp", runs)
    before = contents(tmp_path / "cmp")
    again = compare(tmp_path / "cmp", runs)
    assert again.returncode == 0
    assert "holds this comparison, finished; nothing is compared again" in again.stderr
    assert again.stdout == first.stdout
    assert contents(tmp_path / "cmp") == before
    other = compare(tmp_path / "cmp", runs[:2])
    assert other.returncode == 2
    assert "belongs to a run with another configuration" in other.stderr
    assert contents(tmp_path / "cmp") == before


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (["nowhere"], "nowhere: there is no such folder; expected the output_dir of a finished evaluate or score"),
        (["{0}"], "each run once"),
        ([], "at least 2 items"),
    ],
)
def test_what_the_user_can_mend(tmp_path: Path, runs: list[str], named: list[str], message: str) -> None:
    done = compare(tmp_path / "cmp", [runs[0], *(one.format(runs[0]) for one in named)])
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "cmp").exists()


def test_runs_without_shared_questions_are_refused_with_the_counts(tmp_path: Path, runs: list[str]) -> None:
    rows = [{"question_id": "1", "language": "ja", "question": "どれか。", "choices": ["x", "y"], "answer": "a"}]
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    (tmp_path / "p.jsonl").write_text('{"question_id": "1", "prediction": "a"}\n', encoding="utf-8")
    values = {
        "benchmark": f"jsonl:{own}",
        "predictions": str(tmp_path / "p.jsonl"),
        "output_dir": str(tmp_path / "own"),
    }
    score(ScoreConfig.model_validate(values))
    done = compare(tmp_path / "cmp", [runs[0], str(tmp_path / "own")])
    assert done.returncode == 2
    assert "share no question: the first answered mini ja 68; the second jsonl:" in done.stderr
    assert not (tmp_path / "cmp").exists()


def test_neither_torch_nor_ray_is_loaded(tmp_path: Path, runs: list[str]) -> None:
    done = compare(tmp_path / "cmp", runs, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "jmed.comparison.compare" in loaded
    assert not loaded & {"torch", "ray", "transformers"}


def test_choices_in_other_orders(tmp_path: Path, tiny_model: Path, ray_address: str) -> None:
    """Asked by evaluate, kept out of its scores, and read by compare."""

    def evaluate(name: str, rotations: int) -> Path:
        keys = {"model.path": tiny_model, "benchmarks": '["mini"]', "method": "letters", "limit": 12, "offline": "true",
                "rotations": rotations, "workers.count": 1, "output_dir": tmp_path / name}  # fmt: skip
        flags = [part for key, value in keys.items() for part in (f"--{key}", str(value))]
        done = run_job("evaluate", *flags, RAY_ADDRESS=ray_address)
        assert done.returncode == 0, done.stderr
        return tmp_path / name

    plain, more = evaluate("plain", 0), evaluate("more", 5)
    without, with_ = (json.loads((run / "results.json").read_text("utf-8")) for run in (plain, more))
    assert all(without[key] == with_[key] for key in ("scores", "exams", "counts", "subsets"))
    table = pq.read_table(more / "answers.parquet").to_pylist()
    assert len(table) > 2 * 12
    assert len([row for row in table if "/rotation-" not in row["item_id"]]) == 2 * 12
    assert compare(tmp_path / "cmp", [str(plain), str(more)]).returncode == 0
    found = Comparison.model_validate_json((tmp_path / "cmp" / "comparison.json").read_text("utf-8"))
    assert {(one.language, one.n <= 5) for one in found.rotations} == {("ja", True), ("en", True)}
    assert {(pair.only_first, pair.only_second) for pair in found.pairs} == {(0, 0)}
    assert [one.gpu_seconds_per_1000 for one in found.cost] == [None, None]
