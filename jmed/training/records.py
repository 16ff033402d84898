"""What a run writes down while it learns: two logs and TensorBoard files, by the first worker alone."""

from pathlib import Path
from typing import Any

from jmed.training.board import Board
from jmed.training.fence import Fence
from jmed.training.files import EXAM_LOG, TRAIN_LOG
from jmed.training.log import Log


class Records:
    """Goes on behind `step`: what a killed attempt wrote after its last checkpoint is taken back."""

    def __init__(self, output: Path, fence: Fence, step: int, exam: bool, board: bool) -> None:
        fence.check()
        self.fence = fence
        self.steps = Log(output / TRAIN_LOG, step)
        self.exams = Log(output / EXAM_LOG, step) if exam else None
        self.board = Board(output, step) if board else None

    def add_step(self, row: dict[str, Any]) -> None:
        self.fence.check()
        self.steps.add(row)
        if self.board:
            self.board.add_step(row)

    def add_scores(self, step: int, epoch: float, scores: list[dict[str, Any]]) -> None:
        self.fence.check()
        rows = [{"step": step, "epoch": epoch, **score} for score in scores]
        assert self.exams is not None
        for row in rows:
            self.exams.add(row)
        if self.board:
            self.board.add_scores(rows)

    def sync(self) -> None:
        """Everything on disk: a checkpoint must not outlive the lines of its steps."""
        self.fence.check()
        for log in filter(None, (self.steps, self.exams)):
            log.sync()

    def close(self) -> None:
        for log in filter(None, (self.steps, self.exams)):
            log.close()
        if self.board:
            self.board.close()
