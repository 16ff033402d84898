"""Workers that come and go during a training. The last of the job tests: its cluster of two nodes disturbs the agent of
the session-wide Ray, through which jobs are submitted (Ray 2.60)."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.jobs.test_finetune import logged, slow_job, start, wait_for_step


def test_workers_come_and_go(tmp_path: Path, ray_address: str, tiny_model: Path, training_questions: Path) -> None:
    """`workers.count: [1, 2]` on a cluster of its own: grows when a node joins, shrinks when it is lost, and the loss
    curve stays that of one worker."""
    from ray.cluster_utils import Cluster

    one = ["--steps", "120", "--workers.count", "1"]
    alone = start([*slow_job(tmp_path / "alone", tiny_model, training_questions), *one], ray_address)
    assert alone.wait(280) == 0, alone.communicate()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        several = ["--steps", "120", "--workers.count", "[1, 2]", "--workers.resize_seconds", "4"]
        several += ["--checkpoint.every_steps", "4"]
        job = start([*slow_job(tmp_path / "elastic", tiny_model, training_questions), *several], cluster.address)
        wait_for_step(job, tmp_path / "elastic", 3)
        node = cluster.add_node(num_cpus=1)
        _wait_for_workers(job, tmp_path / "elastic", 2, steps=6)  # a checkpoint among them
        cluster.remove_node(node, allow_graceful=False)
        _, errors = job.communicate(timeout=280)
        assert job.returncode == 0, errors
    finally:
        cluster.shutdown()
    rows = logged(tmp_path / "elastic")
    assert {row["world_size"] for row in rows} == {1, 2}
    assert [row["step"] for row in rows] == list(range(1, 121))
    expected = [row["loss"] for row in logged(tmp_path / "alone")]
    assert [row["loss"] for row in rows] == pytest.approx(expected, rel=1e-3)


def _wait_for_workers(job: subprocess.Popen[str], output_dir: Path, count: int, steps: int) -> None:
    deadline = time.monotonic() + 200
    while sum(row["world_size"] == count for row in logged(output_dir)) < steps:
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline, f"never {count} workers"
        time.sleep(0.2)
