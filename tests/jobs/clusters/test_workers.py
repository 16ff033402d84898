"""Workers that come and go during a training."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.jobs.cluster import LocalCluster
from tests.jobs.test_finetune import logged, slow_job, wait_for_step

STEPS = 1000  # more than are done: both trainings are stopped when enough has been seen
WAIT = 600.0  # seconds


def test_workers_come_and_go(tmp_path: Path, tiny_model: Path, training_questions: Path) -> None:
    """`workers.count: [1, 2]`: grows when a node joins, shrinks when it is lost, and the loss curve stays that of one
    worker."""

    def start(name: str, *more: str) -> subprocess.Popen[str]:
        job = slow_job(tmp_path / name, tiny_model, training_questions)[1:]
        return cluster.start_job(*job, "--steps", str(STEPS), *more)

    with LocalCluster() as cluster:
        cluster.start_head(cpus=1)
        several = ["--workers.count", "[1, 2]", "--workers.resize_seconds", "4", "--checkpoint.every_steps", "4"]
        elastic = start("elastic", *several)
        wait_for_step(elastic, tmp_path / "elastic", 3)
        node = cluster.add_node()
        _wait_for_workers(elastic, tmp_path / "elastic", lambda seen: seen.count(2) >= 6)  # a checkpoint among them
        node.kill()
        _wait_for_workers(elastic, tmp_path / "elastic", lambda seen: seen[-3:] == [1, 1, 1])
        _stop(elastic)
        rows = logged(tmp_path / "elastic")
        alone = start("alone", "--workers.count", "1")
        wait_for_step(alone, tmp_path / "alone", len(rows))
        _stop(alone)
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    expected = [row["loss"] for row in logged(tmp_path / "alone")[: len(rows)]]
    assert [row["loss"] for row in rows] == pytest.approx(expected, rel=1e-3)


def _wait_for_workers(job: subprocess.Popen[str], output_dir: Path, enough: Callable[[list[int]], bool]) -> None:
    """Until the numbers of workers, step by step, are `enough`."""
    deadline = time.monotonic() + WAIT
    while not enough([row["world_size"] for row in logged(output_dir)]):
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline, "the number of workers stays"
        time.sleep(0.2)


def _stop(job: subprocess.Popen[str]) -> None:
    job.terminate()
    _, errors = job.communicate(timeout=WAIT)
    assert job.returncode == 1, errors
