"""TensorBoard files beside the log: the same numbers as pictures."""

from pathlib import Path
from typing import Any

from jmed.training.files import BOARD

_STEP_KEYS = ("loss", "learning_rate", "grad_norm", "tokens", "supervised_tokens", "seconds", "world_size")


class Board:
    """Writes event files (tensorboardX, which ray[train] brings); what lies behind `step` is taken back on reading."""

    def __init__(self, output: Path, step: int) -> None:
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter(str(output / BOARD), purge_step=step + 1)

    def add_step(self, row: dict[str, Any]) -> None:
        for key in _STEP_KEYS:
            if row[key] is not None:
                self.writer.add_scalar(f"train/{key}", row[key], row["step"])

    def add_scores(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            name = f"exam/{row['benchmark']} {row['language']}".replace(":", "_")
            self.writer.add_scalar(f"{name} {row['metric']}", row["value"], row["step"])

    def close(self) -> None:
        self.writer.close()
