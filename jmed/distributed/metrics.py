"""Figures for Prometheus, on the endpoint that Ray opens on every machine.

Where nobody collects them they cost nothing. Ray's agents keep what they were told: totals outlive the worker that
counted them, gauges only until another worker reports.
"""

import socket
import threading
from collections.abc import Sequence
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

TAGS = ("job", "model", "worker")
SECONDS = [0.1, 0.3, 1, 3, 10, 30, 100, 300]  # upper bounds of a histogram's buckets
SAMPLE_SECONDS = 5.0  # between two looks at a training worker's GPU; Ray reports every 10


class _Figures:
    """Makes figures that carry the same tags."""

    def __init__(self, job: str, model: str) -> None:
        self.tags = {"job": job, "model": model, "worker": socket.gethostname()}

    def counter(self, name: str, description: str) -> Counter:
        return Counter(name, description, TAGS).set_default_tags(self.tags)

    def gauge(self, name: str, description: str) -> Gauge:
        return Gauge(name, description, TAGS).set_default_tags(self.tags)

    def histogram(self, name: str, description: str, boundaries: list[float]) -> Histogram:
        return Histogram(name, description, boundaries, TAGS).set_default_tags(self.tags)


class EvaluationMetrics:
    """Of one worker of an evaluation."""

    def __init__(self, model: str) -> None:
        make = _Figures("evaluate", model)
        self.questions = make.counter("jmed_questions", "Questions answered")
        self.errors = make.counter("jmed_errors", "Questions whose answer is an error")
        self.tokens_in = make.counter("jmed_tokens_in", "Tokens of the prompts")
        self.tokens_out = make.counter("jmed_tokens_out", "Tokens generated")
        self.seconds = make.histogram("jmed_batch_seconds", "Time to answer a batch", SECONDS)
        self.memory = GpuMemory("evaluate", model)

    def answered(self, answers: Sequence[dict[str, Any]], seconds: float) -> None:
        """A batch, with `seconds` that it took."""
        _add(self.questions, len(answers))
        _add(self.errors, sum(answer["error"] is not None for answer in answers))
        _add(self.tokens_in, sum(answer["tokens_in"] for answer in answers))
        _add(self.tokens_out, sum(answer["tokens_out"] for answer in answers))
        self.seconds.observe(max(seconds, 1e-6))
        self.memory.sample()


class TrainingMetrics:
    """Of a training, by its driver, from the lines of train_log.jsonl."""

    def __init__(self, model: str) -> None:
        make = _Figures("finetune", model)
        self.steps = make.counter("jmed_steps", "Optimiser steps, also those done again after a restart")
        self.tokens = make.counter("jmed_trained_tokens", "Tokens of those steps")
        self.loss = make.gauge("jmed_loss", "Loss of the last step")
        self.step = make.gauge("jmed_step", "Number of the last step")
        self.seconds = make.histogram("jmed_step_seconds", "Time of a step", SECONDS)
        self.last: int | None = None

    def update(self, rows: Sequence[dict[str, Any]]) -> None:
        """All lines that the log holds now; those that were not there at the last call count."""
        newest = rows[-1]["step"] if rows else 0
        if self.last is None or newest < self.last:  # what an earlier attempt did; or steps that were taken back
            self.last = newest
            return
        for row in rows[len(rows) - (newest - self.last) :]:
            self.steps.inc()
            _add(self.tokens, row["tokens"])
            self.loss.set(row["loss"])
            self.step.set(row["step"])
            self.seconds.observe(max(row["seconds"], 1e-6))
        self.last = newest


class GpuMemory:
    """Memory of the GPU that this process computes on; nothing without one."""

    def __init__(self, job: str, model: str) -> None:
        import torch

        self.gpu = torch.cuda if torch.cuda.is_available() else None
        if self.gpu:
            make = _Figures(job, model)
            self.allocated = make.gauge("jmed_gpu_allocated_bytes", "GPU memory that tensors hold")
            self.peak = make.gauge("jmed_gpu_peak_bytes", "Most GPU memory that tensors held so far")

    def sample(self) -> None:
        if self.gpu:
            self.allocated.set(self.gpu.memory_allocated())
            self.peak.set(self.gpu.max_memory_allocated())

    def sample_on(self) -> None:
        """Now and then from a thread of its own, as long as the process lives."""
        if self.gpu:
            threading.Thread(target=self._sample_on, name="GpuMemory", daemon=True).start()

    def _sample_on(self) -> None:
        pause = threading.Event()
        while not pause.wait(SAMPLE_SECONDS):
            self.sample()


def _add(counter: Counter, value: int) -> None:
    """Ray refuses to add zero."""
    if value:
        counter.inc(value)
