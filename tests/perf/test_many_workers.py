"""64 workers, one of them three times as slow, by simulation; and very many questions through the real pipeline."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.perf import scaling
from tests.perf.conftest import Row
from tests.perf.kit import build_model

WORKERS, SLOWER, QUESTIONS = 64, 3.0, 100_000
METHOD = "generate"


def test_a_slow_worker_among_many(table: list[Row]) -> None:
    """The simulator of docs/scaling.md deals out batches of the real lengths as the pipeline does; 64 real processes
    of Ray need more than two cores."""
    outcome = scaling.run_with(METHOD, QUESTIONS, WORKERS, slow={0: SLOWER})
    share = outcome.work / (WORKERS - 1 + 1 / SLOWER) / outcome.seconds
    even = scaling.run_with(METHOD, QUESTIONS, WORKERS)
    later = outcome.seconds - even.seconds
    note = f"{QUESTIONS:,} questions, {outcome.done:,} batches; {later:.1f} s more than equal ones"
    table.append(Row(f"share of the ideal, {WORKERS} workers, one slow", "simulated", (share,), 0.95, note=note))


@pytest.mark.parametrize("count", [150_000])  # a million takes seven times as long
def test_very_many_questions(tmp_path: Path, qwen2_tokenizer: Path, count: int, table: list[Row]) -> None:
    model = build_model(tmp_path / "model", qwen2_tokenizer, hidden=64, layers=1)
    few, many = (through(model, number, tmp_path / str(number)) for number in (count // 3, count))
    rate = count / many["seconds"]
    note = f"{count:,} questions in {many['seconds']:.0f} s, planning, marks, tables and page included"
    table.append(Row("questions a second, answered at once", "–", (rate,), 5000, note=note))
    note = f"{few['memory'] / 2**20:.0f} and {many['memory'] / 2**20:.0f} MiB of its own at most"
    grown = many["memory"] / few["memory"]
    table.append(
        Row(f"the driver's memory, {count:,} questions", f"{count // 3:,}", (grown,), 1.1, below=True, note=note)
    )


def through(model: Path, count: int, folder: Path) -> dict[str, float]:
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.perf.million", str(model), str(count), str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
