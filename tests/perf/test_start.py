"""From the command to the first answer on disk, for the tiny model; and one copy of a model in memory."""

import subprocess
import time
from pathlib import Path

from tests.conftest import ROOT
from tests.jobs.conftest import job_command
from tests.jobs.models import build_tiny
from tests.perf.conftest import Row
from tests.perf.kit import PAIRS, build_model
from tests.perf.process import printed

DEADLINE = 120.0


def test_first_answer(tmp_path: Path, table: list[Row]) -> None:
    model = build_tiny(tmp_path / "tiny")
    times = [first_answer(model, tmp_path / f"run-{number}") for number in range(PAIRS + 1)]
    row = Row("seconds to the first answer, tiny model", "–", tuple(times[1:]), 15, below=True, note="the job's start")
    table.append(row)  # the first run read Ray and torch into the machine's memory


def first_answer(model: Path, output: Path) -> float:
    begun = time.perf_counter()
    command = job_command(
        "evaluate", "--model.path", str(model), "--benchmarks", '["mini"]', "--method", "letters", "--output_dir",
        str(output), "--offline", "true",
    )  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as job:
        while not any((output / "unfinished" / "answers").glob("*.parquet")) and job.poll() is None:
            if time.perf_counter() - begun > DEADLINE:
                job.kill()
            time.sleep(0.02)
        took = time.perf_counter() - begun
        _, said = job.communicate()
    assert job.returncode == 0, said
    return took


def test_one_copy_of_the_weights(tmp_path: Path, qwen2_tokenizer: Path, table: list[Row]) -> None:
    """A model in shards, loaded in a process of its own: the most memory that it ever held itself, over its weights."""
    model = build_model(tmp_path, qwen2_tokenizer, shard="100MB")
    weights = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    assert len(list(model.glob("*.safetensors"))) > 1
    ratios = []
    for _ in range(2):
        ratios.append(int(printed("tests.perf.loading", model)) / weights)
    note = f"{weights / 2**30:.2f} GiB in shards; growth of the process's own memory while it loads"
    table.append(Row("memory of loading a model", "its weights", tuple(ratios), 1.2, below=True, note=note))
