"""Data-parallel training: every worker holds the whole model, only the trained weights' gradients travel."""

import heapq
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from jmed.configuration.finetune import FinetuneConfig
from jmed.errors import UserError
from jmed.inference.onednn import use_onednn
from jmed.models.writing import rounded, write_adapter, write_weights
from jmed.training import group
from jmed.training.batch import Batch
from jmed.training.loss import SupervisedLoss
from jmed.training.schedule import MicroBatch

STATE = "optimizer.pt"
WEIGHTS = "trained.safetensors"


class DataParallel:
    """Gradients are summed over workers once a step, in one buffer, with the loss in its last place.

    Trained weights are float32 whatever the base is in; matrix products then run in `dtype` (autocast), in float16 with
    a loss scaler.
    """

    lockstep = False

    def __init__(
        self, model: Any, config: FinetuneConfig, dtype: torch.dtype, stored: torch.dtype | None = None
    ) -> None:
        """`stored`: what the weights of a whole model are rounded to when they are exported."""
        self.model, self.config, self.dtype, self.stored = model, config, dtype, stored
        self.device = next(model.parameters()).device
        self.rank, self.world_size = group.rank(), group.world_size()
        use_onednn(model)
        self.loss = SupervisedLoss(model)
        self.trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.optimizer = make_optimizer(list(self.trained.values()), config)
        self.scales_loss = dtype == torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.scales_loss)
        self._share_weights()

    def mine(self, micro_batches: Sequence[MicroBatch]) -> list[MicroBatch]:
        """Largest first, each to the worker that has least to do; the same on every worker."""
        loads = [(0, rank) for rank in range(self.world_size)]
        share = []
        for batch in sorted(micro_batches, key=lambda batch: (-batch.area, batch.number)):
            load, rank = heapq.heappop(loads)
            heapq.heappush(loads, (load + batch.area, rank))
            if rank == self.rank:
                share.append(batch)
        return share

    def backward(self, batch: Batch, tokens: int, last: bool) -> torch.Tensor:
        with self._autocast(), saved_tensors(self.config, self.device):
            loss = self.loss(batch) / tokens
        self.scaler.scale(loss).backward()
        return loss.detach()

    def update(self, learning_rate: float, loss: torch.Tensor) -> tuple[float, float]:
        loss = self._sum_gradients(loss)
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.trained.values(), self.config.max_grad_norm)
        for options in self.optimizer.param_groups:
            options["lr"] = learning_rate
        # A NaN must not reach the weights; an overflow in float16 is the scaler's own business.
        if torch.isfinite(loss) and (self.scales_loss or torch.isfinite(norm)):
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.forget()
        return float(loss), float(norm)

    def forget(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def save(self, folder: Path) -> None:
        """The trained weights, optimiser and scaler: the same for any number of workers, so one of them writes it."""
        from safetensors.torch import save_file

        if self.rank == 0:
            save_file({name: weight.detach().contiguous() for name, weight in self.trained.items()}, folder / WEIGHTS)
            torch.save({"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}, folder / STATE)

    def load(self, folder: Path) -> None:
        from safetensors.torch import load_file

        weights = load_file(folder / WEIGHTS)
        with torch.no_grad():
            for name, weight in self.trained.items():
                weight.copy_(weights[name])
        state = torch.load(folder / STATE, map_location=self.device, weights_only=True)
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])

    def export(self, folder: Path) -> None:
        """An adapter as it is; all weights in the dtype of the base's files, rounded once.

        In float32, as they are trained, they would be twice as large as a base in 16 bits.
        """
        if self.rank:
            return
        if self.config.tuning == "full":
            write_weights(self.model, folder, _rounded_weights(self.model, self.stored))
        else:
            write_adapter(self.model, folder)

    def _autocast(self) -> AbstractContextManager:
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(self.device.type, self.dtype)

    def _share_weights(self) -> None:
        """All workers begin with the first one's weights."""
        if self.world_size > 1:
            for weight in self.trained.values():
                dist.broadcast(weight.data, 0)

    def _sum_gradients(self, loss: torch.Tensor) -> torch.Tensor:
        """Sum gradients and loss over workers. A worker without a micro-batch in this step adds zeros."""
        if self.world_size == 1:
            return loss
        weights = self.trained.values()
        gradients = [weight.grad if weight.grad is not None else torch.zeros_like(weight) for weight in weights]
        flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), loss.reshape(1)])
        dist.all_reduce(flat)
        for weight, part in zip(weights, flat[:-1].split([g.numel() for g in gradients]), strict=True):
            weight.grad = part.view_as(weight)
        return flat[-1]


def _rounded_weights(model: Any, dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    """Copies in host memory, where there is room beside the training; tied weights are one tensor."""
    copies: dict[int, torch.Tensor] = {}
    whole = {}
    for name, weight in model.state_dict(keep_vars=True).items():
        if id(weight) not in copies:
            copies[id(weight)] = _rounded(name, weight.detach(), dtype).cpu()
        whole[name] = copies[id(weight)]
    return whole


def _rounded(name: str, weight: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    if dtype is None or not weight.is_floating_point():
        return weight
    try:
        return rounded(weight, dtype)
    except OverflowError as error:
        kind = str(dtype).removeprefix("torch.")
        raise UserError(
            f"model.path: its files are {kind}, which cannot hold the trained weights of {name} ({error}); "
            "convert the model to bfloat16 or float32, and train that in another folder"
        ) from None


def make_optimizer(weights: list[torch.nn.Parameter], config: FinetuneConfig) -> torch.optim.Optimizer:
    """AdamW in float32, or with its state in 8 bits and paged out of the GPU where memory is short."""
    options = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw_8bit":
        from bitsandbytes.optim import PagedAdamW8bit

        return PagedAdamW8bit(weights, **options)
    return torch.optim.AdamW(weights, **options)


def saved_tensors(config: FinetuneConfig, device: torch.device) -> AbstractContextManager:
    """Where tensors for the backward pass are kept: on the device, or in host memory."""
    if not config.memory.offload_activations:
        return nullcontext()
    return torch.autograd.graph.save_on_cpu(pin_memory=device.type == "cuda")
