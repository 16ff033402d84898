"""What faults are thrown at: a job, started again with the same command until it is done, on a cluster of its own."""

import json
import random
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
from safetensors.torch import load_file

from tests.jobs.cluster import RAY, LocalCluster
from tests.jobs.test_finetune import logged

PATIENCE = 300  # seconds without progress; then the job hangs
TIE = 1e-6  # largest difference of a trained weight


class Difference(AssertionError):
    """A run that was disturbed gave something else than one that was not."""


@dataclass
class Run:
    """One output folder. `job` is a job's file and flags, without `--output_dir`."""

    cluster: LocalCluster
    job: tuple[str, ...]
    output: Path
    submitted: bool = False  # through `ray job submit`, else as a driver of its own
    process: subprocess.Popen[str] | None = field(default=None, init=False)
    said: str = field(default="", init=False)  # what the ended processes printed
    attempt: str = field(default="", init=False)  # of the training, when its driver was started last

    @property
    def command(self) -> tuple[str, ...]:
        return (*self.job, "--output_dir", str(self.output))

    @property
    def finished(self) -> bool:
        return (self.output / "results.json").exists() or (self.output / "adapter").exists()

    @property
    def progress(self) -> float:
        """Grows when a batch is answered or a step is made (also one that is made again)."""
        answers = self.output / "unfinished" / "answers"
        if answers.is_dir():
            return len(list(answers.glob("[0-9]*.parquet")))
        log = self.output / "train_log.jsonl"
        return log.stat().st_mtime if log.exists() and self._attempt() != self.attempt else 0

    def _attempt(self) -> str:
        """Workers of a killed driver may still write for a moment."""
        file = self.output / "unfinished" / "attempt"
        return file.read_text("utf-8") if file.exists() else ""

    def start(self) -> None:
        self.attempt = self._attempt()
        if self.submitted:
            command = [RAY, "job", "submit", "--address", self.cluster.dashboard, "--working-dir", ".", "--", "python"]
            self.process = self.cluster.start(*command, *self.command)
        else:
            self.process = self.cluster.start_job(*self.command)

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def reap(self) -> int:
        """Wait for the process to end; its exit status. What it printed is added to `said`."""
        assert self.process is not None
        out, errors = self.process.communicate(timeout=PATIENCE)
        self.said += out + errors
        return self.process.returncode

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.reap()

    def workers(self) -> list[psutil.Process]:
        """The processes that compute."""
        names = ("ray::MapWorker", "ray::RayTrainWorker", "ray::_RayTrainWorker")
        mine = [one for node in [*self.cluster.nodes, self.cluster.head] if node for one in node.tree()]
        return [one for one in mine if _title(one).startswith(names)]

    def wait_for_progress(self) -> bool:
        """True once something was done that was not done before; False if the job has ended by then."""
        before, deadline = self.progress, time.monotonic() + PATIENCE
        while self.progress == before or not self.progress:
            if not self.running():
                return False
            if time.monotonic() > deadline:
                raise Difference(f"no progress in {PATIENCE} s: {self.tail()}")
            time.sleep(0.05)
        return True

    def tail(self) -> str:
        log = self.output / "progress.json"
        return f"{self.said[-3000:]}\n{log.read_text('utf-8') if log.exists() else ''}"


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def compare(reference: Path, run: Path) -> None:
    """Difference unless the results are those of the undisturbed run."""
    if (reference / "results.json").exists():
        one, two = (pq.read_table(folder / "answers.parquet") for folder in (reference, run))
        if not one.equals(two):
            raise Difference(f"{run}: other answers")
        if len(set(two["item_id"].to_pylist())) != two.num_rows:
            raise Difference(f"{run}: a question stands there twice")
        if _scores(reference) != _scores(run):
            raise Difference(f"{run}: other scores")
        return
    weights = [load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (reference, run)]
    gap = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0])
    if weights[0].keys() != weights[1].keys() or gap > TIE:
        raise Difference(f"{run}: weights differ by {gap:.1e}")
    expected, rows = (logged(folder) for folder in (reference, run))
    if [row["step"] for row in rows] != [row["step"] for row in expected]:
        raise Difference(f"{run}: steps are missing or stand there twice")
    if any(abs(a["loss"] - b["loss"]) > TIE * abs(a["loss"]) for a, b in zip(expected, rows, strict=True)):
        raise Difference(f"{run}: another loss")
    if (run / "unfinished").exists():
        raise Difference(f"{run}: leftovers")


def _scores(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text("utf-8"))["scores"]


def pause(process: psutil.Process, seconds: float) -> None:
    """Let a process stand still, as one does whose disk or network does not answer."""
    process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    process.send_signal(signal.SIGCONT)


def soon(dice: random.Random) -> None:
    time.sleep(dice.uniform(0, 1.5))
