"""Before the long run: is the loss the model's own, do packed sequences stay apart, does the largest batch fit?"""

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from jmed.errors import UserError
from jmed.training.backend import Backend
from jmed.training.batch import Batch, make_batch
from jmed.training.loss import SupervisedLoss
from jmed.training.schedule import MicroBatch, Schedule
from jmed.training.table import TokenTable

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 1e-2}  # relative, of a summed loss
SHOWN_TOKENS = 64  # of a sequence, where all logits are computed


@dataclass(frozen=True)
class Probe:
    """The two shortest sequences of the data, run in several ways."""

    backend: Backend
    table: TokenTable
    pad_id: int
    dtype: torch.dtype

    def check_loss(self) -> None:
        """The chunked loss must be what the model's own logits give (some architectures change them after the head)."""
        batch = self._beginnings()
        model = self.backend.model
        with torch.no_grad(), self._evaluating():
            ours = float(SupervisedLoss(model)(batch))
            logits = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits.float()
        wanted = batch.supervised[:, 1:]
        plain = float(cross_entropy(logits[:, :-1][wanted], batch.ids[:, 1:][wanted], reduction="sum"))
        if self._differ(ours, plain):
            raise UserError(
                f"model.path: this architecture cannot be trained here: its loss is {plain:.4f}, but {ours:.4f} when "
                "computed from its last hidden state and head (it may scale or cap its logits)"
            )

    def check_packing(self) -> None:
        """Two sequences in one row must give the sum of their losses alone."""
        indices = self._indices()
        with torch.no_grad(), self._evaluating():
            loss = SupervisedLoss(self.backend.model)
            alone, packed = (
                float(sum(loss(make_batch(self.table, rows, self.pad_id, self.backend.device)) for rows in batches))
                for batches in ([[(index,)] for index in indices], [[tuple(indices)]])
            )
        if self._differ(alone, packed):
            raise UserError(
                f"packing: with this model a packed sequence sees the one before it (loss {packed:.4f} instead of "
                f"{alone:.4f}); set packing to false"
            )

    def check_fit(self, schedule: Schedule) -> int:
        """One real forward and backward pass of the largest micro-batch, thrown away; the peak in bytes (0 on CPU)."""
        device = self.backend.device
        largest: MicroBatch = schedule.longest()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        try:
            batch = make_batch(self.table, largest.rows, self.pad_id, device)
            self.backend.backward(batch, max(1, largest.supervised), last=False)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"batch_tokens: a batch of {len(largest.rows)} rows of {largest.width} tokens does not fit into the "
                f"GPU ({str(error).splitlines()[0]}); lower batch_tokens (now {schedule.config.batch_tokens}) or "
                "sequence_length, or see preflight.json for what else saves memory"
            ) from None
        finally:
            self.backend.forget()
        return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0

    def _beginnings(self) -> Batch:
        """The first tokens of two sequences, all of them counted: whole logits of a long one would not fit anywhere."""
        whole = make_batch(self.table, [(index,) for index in self._indices()], self.pad_id, self.backend.device)
        assert whole.mask is not None
        ids, mask = whole.ids[:, :SHOWN_TOKENS], whole.mask[:, :SHOWN_TOKENS]
        counted = mask.bool()
        counted[:, 0] = False
        return Batch(ids, counted, mask, None)

    def _indices(self) -> list[int]:
        """Two short sequences; if there is only one, it stands for both."""
        order = self.table.lengths.argsort(kind="stable")
        return [int(order[0]), int(order[min(1, len(order) - 1)])]

    def _evaluating(self) -> "_Evaluating":
        return _Evaluating(self.backend.model)

    def _differ(self, first: float, second: float) -> bool:
        return abs(first - second) > TOLERANCE[self.dtype] * max(abs(first), abs(second), 1.0)


class _Evaluating:
    """Dropout off, and on again."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model, self.training = model, model.training

    def __enter__(self) -> None:
        self.model.eval()

    def __exit__(self, *_: object) -> None:
        self.model.train(self.training)
