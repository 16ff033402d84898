"""Next-token loss without the logits of a whole batch: only supervised positions, a chunk at a time."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from jmed.models.loading import unwrapped
from jmed.training.batch import Batch

HALF_SCALE = 1024  # gradients of a frozen head are taken before the loss scaler: float16 would lose the small ones
CHUNK = 256  # supervised positions whose logits exist at a time: [256, 152k] in float32 is 155 MB

Project = Callable[[torch.Tensor], torch.Tensor]  # hidden states to logits


class SupervisedLoss(nn.Module):
    """A causal language model with its loss: a batch in, the summed negative log-likelihood (nats) out.

    Positions whose next token is not supervised are dropped in front of the vocabulary head, and no more than CHUNK
    rows of its logits exist: those of a trained head are computed again in the backward pass.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model  # transformers PreTrainedModel, or peft PeftModel around it

    def forward(self, batch: Batch) -> torch.Tensor:
        whole = unwrapped(self.model)
        output = whole.base_model(
            input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False
        )
        # The prediction of token t is read at position t - 1, so the first column is never supervised.
        rows, columns = batch.supervised[:, 1:].nonzero(as_tuple=True)
        hidden = output.last_hidden_state[rows, columns]
        targets = batch.ids[rows, columns + 1]
        return self.summed(hidden, targets, whole.get_output_embeddings())

    def summed(self, hidden: torch.Tensor, targets: torch.Tensor, head: nn.Module) -> torch.Tensor:
        return summed_loss(hidden, targets, head)


def summed_loss(hidden: torch.Tensor, targets: torch.Tensor, head: Project) -> torch.Tensor:
    """Σ −log p(target) in float32; hidden [positions, width], targets [positions]."""
    if isinstance(head, nn.Module) and not any(weight.requires_grad for weight in head.parameters()):
        return _FrozenHeadLoss.apply(hidden, targets, head)
    total = hidden.new_zeros((), dtype=torch.float32)
    for part, wanted in zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True):
        total = total + checkpoint(_chunk_loss, part, wanted, head, use_reentrant=False, preserve_rng_state=False)
    return total


def _chunk_loss(hidden: torch.Tensor, targets: torch.Tensor, head: Project) -> torch.Tensor:
    return cross_entropy(head(hidden).float(), targets, reduction="sum")


class _FrozenHeadLoss(torch.autograd.Function):
    """The same where the head is not trained (LoRA): only the hidden states want a gradient, and that can be taken
    while the logits are there. Two products with the vocabulary a chunk instead of the three of recomputing."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, targets: torch.Tensor, head: Project) -> torch.Tensor:
        ctx.scale = HALF_SCALE if hidden.dtype == torch.float16 else 1
        total = hidden.new_zeros((), dtype=torch.float32)
        gradient = torch.empty_like(hidden)
        for part, wanted, place in zip(hidden.split(CHUNK), targets.split(CHUNK), gradient.split(CHUNK), strict=True):
            with torch.enable_grad():
                alone = part.detach().requires_grad_()
                loss = _chunk_loss(alone, wanted, head)
                place.copy_(*torch.autograd.grad(loss * ctx.scale, alone))
            total += loss.detach()
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * (upstream[0] / ctx.scale), None, None
