"""What clusters do, on a cluster that lives and dies for real: results are those of a run that nobody disturbed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jmed.evaluation.asking import PROOF, SUSPICION, _name
from jmed.inference.request import Request
from tests.jobs.cluster import LocalCluster
from tests.jobs.clusters.test_submit import training


def evaluation(model: Path, output_dir: Path, *more: str) -> list[str]:
    """Many small batches that take a while."""
    return [
        "jobs/evaluate.py", "--model.path", str(model), "--benchmarks", '["mini"]', "--output_dir", str(output_dir),
        "--method", "generate", "--prompt", "chat", "--max_new_tokens", "60", "--batch_tokens", "1000", "--limit",
        "30", "--offline", "true", *more,
    ]  # fmt: skip


def wait_for_answers(job: subprocess.Popen[str], output_dir: Path, count: int) -> None:
    deadline = time.monotonic() + 360
    while len(list(output_dir.glob("unfinished/answers/0*.parquet"))) < count:
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline, "the job gave no answers"
        time.sleep(0.05)


def answers(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["item_id"]: row for row in pq.read_table(folder / "answers.parquet").to_pylist()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cluster: LocalCluster, tiny_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    job = cluster.start_job(*evaluation(tiny_model, folder, "--workers.count", "2"))
    assert job.wait(600) == 0, job.communicate()
    return folder


class Killer(threading.Thread):
    """Kills every worker that tries one question, alone or in its batch: a question that no worker survives."""

    def __init__(self, output_dir: Path, item_id: str) -> None:
        super().__init__(daemon=True)
        self.attempts, self.item_id = output_dir / "unfinished" / "attempts", item_id
        self.batches = output_dir / "unfinished" / "batches.arrow"
        self.kills: list[str] = []
        self.ended = threading.Event()

    def run(self) -> None:
        killed: set[int] = set()
        while not self.ended.wait(0.005):
            for mark, process in self._victims():
                if process not in killed:
                    killed.add(process)
                    self.kills.append(mark.name.partition(".")[0])
                    os.kill(process, signal.SIGKILL)

    def _victims(self) -> Iterator[tuple[Path, int]]:
        for name in self._names():
            for mark in self.attempts.glob(f"{name}.*"):
                try:
                    yield mark, int(mark.read_text("utf-8").split()[1])
                except (OSError, IndexError):
                    continue

    def _names(self) -> list[str]:
        """Of the question on its own, and of the batch that holds it, until it has been asked alone."""
        alone = _name(Request(self.item_id, ""))
        if not self.batches.exists():
            return []
        if not hasattr(self, "batch"):
            batches = pa.ipc.open_file(self.batches)  # of a new run: batch 0, batch 1, and so on
            asked = [batches.get_batch(row)["item_id"].to_pylist() for row in range(batches.num_record_batches)]
            self.batch = next(number for number, ids in enumerate(asked) if self.item_id in ids)
        return [alone] if len(self.kills) >= SUSPICION else [alone, f"batch-{self.batch}"]


def test_a_question_that_always_kills_its_worker_is_an_error_and_all_others_are_answered(
    tmp_path: Path, cluster: LocalCluster, tiny_model: Path, undisturbed: Path
) -> None:
    expected = answers(undisturbed)
    deadly = sorted(expected)[17]
    killer = Killer(tmp_path / "run", deadly)
    killer.start()
    job = cluster.start_job(*evaluation(tiny_model, tmp_path / "run", "--workers.count", "2"))
    _, errors = job.communicate(timeout=750)
    killer.ended.set()
    assert job.returncode == 0, errors
    assert len(killer.kills) == SUSPICION + PROOF, killer.kills
    found = answers(tmp_path / "run")
    assert found[deadly]["error"] == "its worker died each of the 3 times that it was asked alone"
    assert found[deadly]["correct"] is False
    assert {item for item, row in found.items() if row["error"]} == {deadly}
    same = {item for item in expected if found[item] == expected[item]}
    assert len(expected) - len(same) <= 8, "questions of other batches are answered as ever"
    counts = json.loads((tmp_path / "run" / "results.json").read_text("utf-8"))["counts"]
    assert sum(count["errors"] for count in counts) == 1


def test_a_machine_that_is_lost_for_good_leaves_the_rest_to_the_others(
    tmp_path: Path, tiny_model: Path, undisturbed: Path
) -> None:
    """Each of two machines has what one worker needs (a GPU, as Ray counts), so there is no other place for the one
    that is lost. Ray keeps its batches until the other worker has done its own, and then starts it in that one's place.
    """
    with LocalCluster() as two:
        two.start_head(submit=False)
        nodes = [two.add_node(gpus=1), two.add_node(gpus=1)]
        both = ["--workers.count", "2", "--workers.gpus", "1"]
        job = two.start_job(*evaluation(tiny_model, tmp_path / "run", *both))
        wait_for_answers(job, tmp_path / "run", 4)
        nodes[1].kill()
        _, errors = job.communicate(timeout=750)
    assert job.returncode == 0, errors
    assert "Traceback" not in errors
    assert answers(tmp_path / "run") == answers(undisturbed)


@pytest.fixture(scope="module")
def wrong_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that makes the wall clock wrong."""
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    library = tmp_path_factory.mktemp("clock") / "shifted_clock.so"
    source = Path(__file__).with_name("shifted_clock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    wrong = {**os.environ, "LD_PRELOAD": str(library), "CLOCK_SHIFT": "86400"}
    seen = subprocess.run(
        ["python3", "-c", "import time; print(time.time())"], env=wrong, capture_output=True, check=True
    )
    assert float(seen.stdout) > time.time() + 80_000
    return library


def test_clocks_that_differ_change_nothing(
    tmp_path: Path, tiny_model: Path, training_questions: Path, undisturbed: Path, wrong_clock: Path
) -> None:
    """One machine lives in tomorrow, one in yesterday."""
    with LocalCluster() as apart:
        apart.start_head(submit=False)
        for shift in (86400, -86400):
            apart.add_node(LD_PRELOAD=str(wrong_clock), CLOCK_SHIFT=str(shift))
        job = apart.start_job(*evaluation(tiny_model, tmp_path / "run", "--workers.count", "2"))
        _, errors = job.communicate(timeout=750)
        assert job.returncode == 0, errors
        taught = training(tiny_model, training_questions, tmp_path / "taught", "--steps", "4")
        done = apart.run(sys.executable, *taught, RAY_ADDRESS=apart.address)
    assert answers(tmp_path / "run") == answers(undisturbed)
    assert "step 4/4" in done.stderr, done.stderr
