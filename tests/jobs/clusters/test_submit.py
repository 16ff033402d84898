"""The jobs under `ray job submit`: from outside, with a token, to a head and two nodes, processes of their own."""

import json
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.jobs.cluster import RAY, LocalCluster
from tests.jobs.test_finetune import logged, wait_for_step
from tests.jobs.test_readme import commands, shortened


def evaluation(model: Path, output_dir: str, *more: str) -> list[str]:
    return [
        "jobs/evaluate.py", "--model.path", str(model), "--benchmarks", '["mini"]', "--limit", "6", "--method",
        "letters", "--output_dir", output_dir, "--batch_tokens", "2000", *more,
    ]  # fmt: skip


def training(model: Path, data: Path, output_dir: Path, *more: str) -> list[str]:
    return [
        "jobs/finetune.py", "--model.path", str(model), "--output_dir", str(output_dir), "--stage", "instruct",
        "--data", json.dumps([{"path": str(data), "format": "mcqa"}]), "--global_batch_size", "4",
        "--learning_rate", "0.003", "--workers.count", "2", *more,
    ]  # fmt: skip


def test_both_jobs_are_submitted_followed_and_leave_their_results(
    tmp_path: Path, cluster: LocalCluster, tiny_model: Path, training_questions: Path
) -> None:
    trained = cluster.submit(*training(tiny_model, training_questions, tmp_path / "taught", "--steps", "4"))
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert "step 4/4" in trained.stdout, "the log was followed"
    adapter = ["--model.adapter", str(tmp_path / "taught" / "adapter"), "--model.quantization", "nf4"]
    done = cluster.submit(*evaluation(tiny_model, str(tmp_path / "out"), "--workers.count", "2", *adapter))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12/12 questions" in done.stdout
    assert "report: " in done.stdout
    assert pq.read_table(tmp_path / "out" / "answers.parquet").num_rows == 12
    described = (tmp_path / "out" / "run.yaml").read_text("utf-8")
    assert "nodes: 3" in described
    assert cluster.token not in described + done.stdout + done.stderr


def test_the_readme_s_command_runs(tmp_path: Path, cluster: LocalCluster, tiny_model: Path) -> None:
    """As it stands, but for the cluster's address, the folder /shared and two questions instead of all."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "my-model").symlink_to(tiny_model)
    (block,) = (block for block in commands("README.md") if "job submit" in block)
    block = shortened(block).replace("/shared", str(tmp_path)).replace("http://127.0.0.1:8265", cluster.dashboard)
    done = cluster.run("bash", "-euo", "pipefail", "-c", block)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("token", [None, "f" * 64])
def test_without_the_token_nothing_is_taken(cluster: LocalCluster, tmp_path: Path, token: str | None) -> None:
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
    refused = cluster.submit(*evaluation(tmp_path, str(tmp_path / "out")), RAY_AUTH_TOKEN_PATH="", **environment)
    assert refused.returncode != 0
    assert "ray.exceptions.AuthenticationError" in refused.stderr
    assert ("Forbidden" if token else "Unauthorized") in refused.stderr
    jobs = cluster.run(RAY, "job", "list", "--address", cluster.dashboard)
    assert str(tmp_path) not in jobs.stdout + jobs.stderr


def test_a_relative_output_folder_is_refused_because_it_would_be_lost(cluster: LocalCluster, tiny_model: Path) -> None:
    done = cluster.submit(*evaluation(tiny_model, "out"))
    assert done.returncode == 1, "any failure of a submitted command gives 1"
    assert "give an absolute path that all machines see" in done.stdout + done.stderr


def test_a_job_that_is_stopped_leaves_a_checkpoint_and_goes_on(
    tmp_path: Path, cluster: LocalCluster, tiny_model: Path, training_questions: Path
) -> None:
    """SIGTERM, as `ray job stop` and batch systems send it."""
    steps = ["--steps", "40", "--checkpoint.every_steps", "1000"]
    job = cluster.start_job(*training(tiny_model, training_questions, tmp_path / "run", *steps))
    wait_for_step(job, tmp_path / "run", 2)
    job.send_signal(signal.SIGTERM)
    _, errors = job.communicate(timeout=120)
    assert job.returncode == 1, errors
    assert "asked to stop: saving a last checkpoint" in errors
    assert "finetune.py: stopped; the same command continues" in errors
    assert "Traceback" not in errors
    saved = [path.name for path in (tmp_path / "run" / "unfinished" / "checkpoints").iterdir()]
    assert len(saved) == 1
    job = cluster.start_job(*training(tiny_model, training_questions, tmp_path / "run", *steps))
    _, errors = job.communicate(timeout=600)
    assert job.returncode == 0, errors
    assert [row["step"] for row in logged(tmp_path / "run")] == list(range(1, 41))


def test_an_evaluation_that_is_stopped_says_so(tmp_path: Path, cluster: LocalCluster, tiny_model: Path) -> None:
    job = cluster.start_job(*evaluation(tiny_model, str(tmp_path / "out"), "--method", "generate"))
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "unfinished" / "ray.log").exists():
        assert time.monotonic() < deadline
        assert job.poll() is None, job.communicate()
        time.sleep(0.1)
    job.send_signal(signal.SIGTERM)
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 1, errors
    assert "evaluate.py: stopped; the same command continues" in errors
    assert "Traceback" not in errors


def test_workers_run_only_where_the_labels_say(tmp_path: Path, cluster: LocalCluster, tiny_model: Path) -> None:
    """The second node is called an L4 whose workers take 500 tokens at once: more batches there, the same answers."""
    job = evaluation(tiny_model, str(tmp_path / "labelled"), "--workers.labels", '{"jmed-gpu": "l4"}')
    done = cluster.submit(*job)
    assert done.returncode == 0, done.stdout + done.stderr
    other = cluster.submit(*evaluation(tiny_model, str(tmp_path / "nowhere"), "--workers.labels", '{"jmed-gpu": "h9"}'))
    assert "0 GPUs on machines with the labels jmed-gpu=h9" in other.stdout + other.stderr
    answers = pq.read_table(tmp_path / "labelled" / "answers.parquet").to_pylist()
    assert len(answers) == 12
    assert not any(answer["error"] for answer in answers)


def test_a_job_waits_for_machines_that_are_still_to_come(tiny_model: Path, tmp_path: Path) -> None:
    with LocalCluster() as growing:
        growing.start_head(submit=False)
        more = ["--workers.count", "2", "--workers.wait_seconds", "120"]
        job = growing.start_job(*evaluation(tiny_model, str(tmp_path / "out"), *more))
        time.sleep(6)
        growing.add_node()
        _, errors = job.communicate(timeout=120)
        assert job.returncode == 0, errors
        assert "the cluster has 1 CPUs and 0 GPUs; ask for less, or add machines; waiting up to" in errors
        hasty = growing.start_job(
            *evaluation(tiny_model, str(tmp_path / "no"), "--workers.count", "9", "--workers.wait_seconds", "1")
        )
        _, errors = hasty.communicate(timeout=60)
        assert hasty.returncode == 2
        assert "waited 1 s (workers.wait_seconds)" in errors


def test_what_travels_is_small(cluster: LocalCluster) -> None:
    """The folder that is submitted: sources, without data, runs, environments and the repository's history."""
    listed = cluster.submit("-c", "import os; print(sorted(os.listdir('.'))); os.system('du -sk .')")
    assert listed.returncode == 0, listed.stderr
    assert "'.git'" not in listed.stdout
    assert "'.venv'" not in listed.stdout
    kilobytes = next(line for line in listed.stdout.splitlines() if line.endswith("\t."))
    assert int(kilobytes.split()[0]) < 5_000
