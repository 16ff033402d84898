"""Workers that come and go during a training."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.jobs.cluster import LocalCluster
from tests.jobs.test_finetune import logged, slow_job, wait_for_step

STEPS = 280  # more than are done before a second worker has come


def test_workers_come_and_go(tmp_path: Path, tiny_model: Path, training_questions: Path) -> None:
    """`workers.count: [1, 2]`: grows when a node joins, shrinks when it is lost, and the loss curve stays that of one
    worker."""

    def job(name: str, *more: str) -> list[str]:
        return [*slow_job(tmp_path / name, tiny_model, training_questions)[1:], "--steps", str(STEPS), *more]

    with LocalCluster() as cluster:
        cluster.start_head(submit=False)
        alone = cluster.start_job(*job("alone", "--workers.count", "1"))
        assert alone.wait(840) == 0, alone.communicate()
        several = ["--workers.count", "[1, 2]", "--workers.resize_seconds", "4", "--checkpoint.every_steps", "4"]
        elastic = cluster.start_job(*job("elastic", *several))
        wait_for_step(elastic, tmp_path / "elastic", 3)
        node = cluster.add_node()
        _wait_for_workers(elastic, tmp_path / "elastic", 2, steps=6)  # a checkpoint among them
        node.kill()
        _, errors = elastic.communicate(timeout=840)
        assert elastic.returncode == 0, errors
    rows = logged(tmp_path / "elastic")
    assert {row["world_size"] for row in rows} == {1, 2}
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    expected = [row["loss"] for row in logged(tmp_path / "alone")]
    assert [row["loss"] for row in rows] == pytest.approx(expected, rel=1e-3)


def _wait_for_workers(job: subprocess.Popen[str], output_dir: Path, count: int, steps: int) -> None:
    deadline = time.monotonic() + 600
    while sum(row["world_size"] == count for row in logged(output_dir)) < steps:
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline, f"never {count} workers"
        time.sleep(0.2)
