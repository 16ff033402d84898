"""What a job prints is what jmed wrote, whatever happens in Ray meanwhile."""

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from jmed.data import catalogue
from tests.conftest import ROOT
from tests.jobs.conftest import LocalRay, job_command

TABLE = [r"", r" .*", r"exams: points .*"]  # rich's tables are indented
EVALUATION = [
    *TABLE,
    r"\S+: \d+ questions in \d+ batches, \d+ workers \(.*\)",
    r"\d+/60 questions( \(\d+ %\)(, [\d.]+/s, [\d:]+ left)?|, nothing new for [\d:]+: .*)",
    r"\S+: method generate, prompt chat",
    r"mini (en|ja): 30 asked.*",
    r"An exam score is no clearance for clinical use\.",
    r"report: .*/report\.html",
]
TRAINING = [
    *TABLE,
    r"\S+: \d+ examples, .* supervised",
    r"contamination: not checked, .*",
    r"40 steps of 8 sequences",
    r"memory of a worker in GiB, .*",
    r"step 0/40",
    r"step \d+/40, loss [\d.]+, [\d,]+ tokens/s, [\d:]+ left",
    r"\d+/40 steps, nothing new for [\d:]+: .*",
    r"loss [\d.]+ → [\d.]+ \(means .*\), [\d,]+ tokens in \d+ s",
    r"adapter: .*/adapter",
]
STYLE = re.compile(r"\x1b\[[0-9;]*[mK]")  # colours, and the end of a rewritten line


def evaluation(model: Path, output_dir: Path) -> list[str]:
    return job_command(
        "evaluate", "--model.path", str(model), "--benchmarks", '["mini"]', "--output_dir", str(output_dir),
        "--method", "generate", "--max_new_tokens", "100", "--prompt", "chat", "--batch_tokens", "1000",
        "--limit", "30", "--workers.count", "2", "--offline", "true",
    )  # fmt: skip


def training(model: Path, output_dir: Path) -> list[str]:
    data = output_dir.parent / "questions.jsonl"
    rows = [
        {
            "question_id": question.question_id, "language": "ja", "question": question.text,
            "choices": list(question.choices), "answer": question.gold,
        }
        for question in catalogue.load("mini", "ja", None)
    ]  # fmt: skip
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return job_command(
        "finetune", "--model.path", str(model), "--output_dir", str(output_dir), "--stage", "instruct", "--tuning",
        "lora", "--data", json.dumps([{"path": str(data), "format": "mcqa"}]), "--steps", "40", "--workers.count", "2",
        "--global_batch_size", "8", "--batch_tokens", "1500", "--checkpoint.every_steps", "10", "--offline", "true",
    )  # fmt: skip


def record(output_dir: Path) -> dict[str, Any]:
    file = output_dir / "progress.json"
    return json.loads(file.read_text("utf-8")) if file.exists() else {"done": 0}


def disturb(job: subprocess.Popen[Any], done: Callable[[], int], name: str) -> None:
    """Kill one of the job's workers once three batches or steps are done."""
    deadline = time.monotonic() + 360
    while done() < 3:
        assert job.poll() is None, "the job ended too early"
        assert time.monotonic() < deadline, "the job got nowhere"
        time.sleep(0.05)
    mine = psutil.Process(job.pid).children(recursive=True)
    workers = [process for process in mine if name in " ".join(process.cmdline())]
    os.kill(workers[0].pid, signal.SIGKILL)


def check(printed: str, allowed: list[str]) -> None:
    lines = [STYLE.sub("", line).rstrip() for line in re.split(r"[\r\n]+", printed)]
    strange = [line for line in lines if not any(re.fullmatch(pattern, line) for pattern in allowed)]
    assert strange == []


def without_address() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}


def test_an_evaluation_in_a_terminal_that_loses_a_worker(tmp_path: Path, tiny_model: Path) -> None:
    """Its own Ray, as on a desk; both streams on one terminal."""
    ours, theirs = pty.openpty()
    command = evaluation(tiny_model, tmp_path / "out")
    job = subprocess.Popen(command, cwd=ROOT, stdout=theirs, stderr=theirs, env=without_address())
    os.close(theirs)
    answers = tmp_path / "out" / "unfinished" / "answers"
    disturb(job, lambda: len(list(answers.glob("*.parquet"))), "ray::MapWorker")
    printed = b""
    while chunk := _read(ours):
        printed += chunk
    assert job.wait(300) == 0
    check(printed.decode(), EVALUATION)
    assert "\r\x1b[K60/60 questions (100 %)" in printed.decode()
    end = record(tmp_path / "out")
    assert (end["state"], end["done"], end["errors"], end["workers"]["wanted"]) == ("finished", 60, 0, 2)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so when the other side is closed
        return b""


def test_a_training_in_a_log_that_loses_a_worker(tmp_path: Path, tiny_model: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        command = training(tiny_model, tmp_path / "out")
        job = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=without_address())
        disturb(job, lambda: record(tmp_path / "out")["done"], "TrainWorker")
        assert job.wait(600) == 0
    check((tmp_path / "log").read_text("utf-8"), TRAINING)
    end = record(tmp_path / "out")
    assert (end["job"], end["state"], end["done"], end["unit"]) == ("finetune", "finished", 40, "steps")


def test_a_submitted_evaluation(tmp_path: Path, local_ray: LocalRay, tiny_model: Path) -> None:
    """What `ray job logs` shows."""
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(local_ray.dashboard)
    command = [sys.executable, *evaluation(tiny_model, tmp_path / "out")[1:]]
    job = client.submit_job(entrypoint=shlex.join(command), runtime_env={"working_dir": str(ROOT)})
    deadline = time.monotonic() + 600
    while not client.get_job_status(job).is_terminal():
        assert time.monotonic() < deadline, client.get_job_logs(job)
        time.sleep(0.5)
    printed = client.get_job_logs(job)
    check(printed, [*EVALUATION, r".*Runtime env is setting up\.", r"Running entrypoint for job .*"])  # Ray's first two
    assert "report: " in printed


def test_ctrl_c_is_told_in_one_line_and_in_the_file(tmp_path: Path, tiny_model: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        command = evaluation(tiny_model, tmp_path / "out")
        job = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=without_address())
        deadline = time.monotonic() + 300
        while record(tmp_path / "out")["done"] == 0:
            assert job.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        job.send_signal(signal.SIGINT)
        assert job.wait(60) == 1
    check((tmp_path / "log").read_text("utf-8"), [*EVALUATION, r"evaluate\.py: stopped; .*"])
    assert record(tmp_path / "out")["state"] == "stopped"
