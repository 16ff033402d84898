"""What the loop needs from the way in which a model is spread over workers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from jmed.training.batch import Batch
from jmed.training.schedule import MicroBatch


class Backend(Protocol):
    """Data-parallel (`parallel.DataParallel`) or DeepSpeed ZeRO (`zero.Zero`); every worker holds one.

    A step: `backward` once for each micro-batch of `mine`, then `update`.
    """

    model: Any  # transformers or peft model, for the exam
    device: torch.device
    rank: int
    world_size: int
    scales_loss: bool  # float16: steps whose gradients overflow are skipped
    lockstep: bool  # every forward pass is a collective, so all workers must run the same number of them

    def mine(self, micro_batches: Sequence[MicroBatch]) -> list[MicroBatch]:
        """This worker's share of a step."""

    def backward(self, batch: Batch, tokens: int, last: bool) -> torch.Tensor:
        """Forward and backward of one micro-batch of this worker; its share of the step's loss (detached).

        `tokens`: supervised tokens of the whole step over all workers; `last`: `update` follows.
        """

    def update(self, learning_rate: float, loss: torch.Tensor) -> tuple[float, float]:
        """One optimiser step; (loss of the step over all workers, gradient norm before clipping)."""

    def forget(self) -> None:
        """Drop the gradients of a trial."""

    def save(self, folder: Path) -> None:
        """Write this worker's part of a checkpoint into an existing folder; called by every worker."""

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""

    def export(self, folder: Path) -> None:
        """Write the trained adapter (PEFT layout) or model (transformers layout); called by every worker.

        A model's weights are right, its config.json is not yet the base's own: see `models.writing.complete`.
        """
