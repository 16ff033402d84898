"""The loop: steps from the last checkpoint to the end, top to bottom."""

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from jmed.configuration.finetune import FinetuneConfig
from jmed.errors import GaveUp, UserError
from jmed.runs.files import write_text
from jmed.training.backend import Backend
from jmed.training.batch import make_batch
from jmed.training.checkpoints import Checkpoints, write_together
from jmed.training.exam import Exam, mean_accuracy
from jmed.training.fence import Fence
from jmed.training.files import BEST, CHECKPOINTS, STATE
from jmed.training.group import agree, gather
from jmed.training.notice import Notices, Stopped, Wish
from jmed.training.records import Records
from jmed.training.schedule import MicroBatch, Schedule, Step

PATIENCE = 50  # steps in a row without a finite gradient (float16 looks for its loss scale in some of them)
STARTS = 5  # from one checkpoint, in one attempt


@dataclass
class Loop:
    """Everything that a run needs, on one worker."""

    config: FinetuneConfig
    backend: Backend
    schedule: Schedule
    exam: Exam | None
    output: Path  # the run folder
    work: Path  # its `unfinished`
    fence: Fence
    pad_id: int
    notices: Notices = field(default_factory=Notices)
    records: Records | None = field(default=None, init=False)  # on the first worker
    bad_steps: int = field(default=0, init=False)  # in a row, without a finite gradient

    def run(self) -> None:
        """Go from the newest checkpoint to the last step."""
        checkpoints = Checkpoints(self.work / CHECKPOINTS, self.backend)
        done = checkpoints.restore()
        self._count_start(done)
        if self.backend.rank == 0:
            self.records = Records(self.output, self.fence, done, self.exam is not None, self.config.tensorboard)
        self.backend.model.train()
        if done == 0 and self.exam:
            self._sit(0, 0.0)
        for number in range(done + 1, self.schedule.total + 1):
            step = self.schedule.step(number)
            row = self._step(step)
            if self.records:
                self.records.add_step(row)
            if self._exam_due(number):
                self._sit(number, row["epoch"])
            wish = self.notices.wish()
            if number % self.config.checkpoint.every_steps == 0 or number == self.schedule.total or wish:
                self._save(checkpoints, number)
            if wish == Wish.STOP and number < self.schedule.total:
                raise Stopped(f"stopped after step {number} of {self.schedule.total}, as asked")
        if self.records:
            self.records.close()

    def _save(self, checkpoints: Checkpoints, number: int) -> None:
        begun = time.monotonic()
        if self.records:
            self.records.sync()
        checkpoints.save(number)
        self.notices.has_saved(time.monotonic() - begun)

    def _count_start(self, step: int) -> None:
        """Stop for good when the workers died again and again without reaching another checkpoint."""
        file, count = self.work / "starts.json", 1
        if self.backend.rank == 0:
            there = json.loads(file.read_text("utf-8")) if file.exists() else {}
            if (there.get("attempt"), there.get("step")) == (self.fence.mark, step):
                count = there["count"] + 1
            write_text(json.dumps({"attempt": self.fence.mark, "step": step, "count": count}), file)
        if gather(count)[0] > STARTS:
            raise GaveUp(f"workers were lost {STARTS} times after step {step} without reaching the next checkpoint")

    def _step(self, step: Step) -> dict[str, Any]:
        """One optimiser step; its line for the log."""
        begun, backend = time.perf_counter(), self.backend
        loss = torch.zeros((), device=backend.device)
        mine = backend.mine(step.micro_batches)
        for micro_batch in mine:
            loss += self._backward(step, micro_batch, last=micro_batch is mine[-1])
        total, norm = backend.update(step.learning_rate, loss)
        self._check_numbers(step, total, norm)
        return {
            "step": step.number,
            "epoch": round(step.epoch, 6),
            "loss": total,
            "learning_rate": step.learning_rate,
            "grad_norm": norm if math.isfinite(norm) else None,
            "tokens": step.tokens,
            "supervised_tokens": step.supervised,
            "seconds": round(time.perf_counter() - begun, 6),
            "world_size": backend.world_size,
        }

    def _backward(self, step: Step, micro_batch: MicroBatch, last: bool) -> torch.Tensor:
        # Dropout depends on step and micro-batch alone: the same on any worker, and after a restart.
        torch.manual_seed(hash((self.config.seed, step.number, micro_batch.number)) % 2**63)
        batch = make_batch(self.schedule.table, micro_batch.rows, self.pad_id, self.backend.device)
        if not micro_batch.supervised:  # a filler, which keeps a worker in step with the others
            batch.supervised.zero_()
        return self.backend.backward(batch, max(1, step.supervised), last)

    def _check_numbers(self, step: Step, loss: float, norm: float) -> None:
        """Every worker sees the same numbers, so all stop together; the weights are those of the step before."""
        self.bad_steps = 0 if math.isfinite(norm) else self.bad_steps + 1
        if not math.isfinite(loss) or (self.bad_steps and not self.backend.scales_loss) or self.bad_steps >= PATIENCE:
            raise UserError(
                f"step {step.number}: loss {loss:g}, gradient norm {norm:g}: not a number. The last checkpoint is "
                "kept; in another folder, lower learning_rate, lengthen warmup, or use model.dtype bfloat16 or float32"
            )

    def _exam_due(self, number: int) -> bool:
        if self.exam is None:
            return False
        epoch = self.schedule.ends_epoch(number)
        return number == self.schedule.total or (epoch is not None and epoch % self.config.evaluate.every_epochs == 0)

    def _sit(self, number: int, epoch: float) -> None:
        """The exam after `number` steps; the weights are kept if it is the best so far and that was asked for."""
        assert self.exam is not None
        scores = self.exam.sit()
        if self.records:
            self.records.add_scores(number, epoch, scores)
        if self.config.checkpoint.keep == "best" and number > 0:
            self._keep_best(number, mean_accuracy(scores))

    def _keep_best(self, number: int, accuracy: float) -> None:
        best = self.work / BEST
        there = json.loads((best / STATE).read_text("utf-8"))["accuracy"] if (best / STATE).exists() else -1.0
        if agree(None if accuracy > there else "no"):  # on every worker alike, also if one sees an old folder
            return
        write_together(self.backend, best, self.backend.export, {"step": number, "accuracy": accuracy})
