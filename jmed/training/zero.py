"""Full training with DeepSpeed ZeRO: weights, gradients and optimiser state are shared out over the workers."""

import json
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from jmed.configuration.finetune import FinetuneConfig
from jmed.errors import UserError
from jmed.models.writing import write_weights
from jmed.training import group
from jmed.training.batch import Batch
from jmed.training.loss import Project, SupervisedLoss, summed_loss
from jmed.training.parallel import saved_tensors
from jmed.training.schedule import MicroBatch

CPU = torch.device("cpu")
LAYOUT = "zero.json"


class Zero:
    """Stage 2 shares out gradients and optimiser state, stage 3 the weights too; with offload they lie in host memory.

    Weights and gradients are in `dtype`, the optimiser's own weights in float32. Every pass exchanges gradients, at
    stage 3 weights too, so all workers run the same number of them.
    """

    lockstep = True

    def __init__(self, model: Any, config: FinetuneConfig, dtype: torch.dtype) -> None:
        self.model, self.config = model, config
        self.scales_loss = dtype == torch.float16
        self.deepspeed = _import_deepspeed()
        if not dist.is_initialized():
            _group_of_one()
        if _wants_cpu_adam(config):
            _build_cpu_adam()
        self.rank, self.world_size = group.rank(), group.world_size()
        self.device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else CPU
        self.engine = self._start(_LossInOneCall(model), engine_settings(config, dtype))

    def mine(self, micro_batches: Sequence[MicroBatch]) -> list[MicroBatch]:
        """As many as any other worker has; one with `supervised` 0 must be run with nothing in it supervised."""
        return deal(micro_batches, self.rank, self.world_size)

    def backward(self, batch: Batch, tokens: int, last: bool) -> torch.Tensor:
        self.engine.set_gradient_accumulation_boundary(last)
        with saved_tensors(self.config, self.device):
            loss = self.engine(batch) / tokens
        self.engine.backward(loss * self.world_size)  # DeepSpeed takes the mean over workers, we want the sum
        return loss.detach()

    def update(self, learning_rate: float, loss: torch.Tensor) -> tuple[float, float]:
        total = loss.clone()
        dist.all_reduce(total)
        if not torch.isfinite(total):  # a NaN must not reach the weights
            self.forget()
            return float(total), math.nan
        self.engine.optimizer.set_lr(learning_rate)
        self.engine.step()  # leaves the weights as they are when a gradient is not finite
        return float(total), float(self.engine.get_global_grad_norm())

    def forget(self) -> None:
        """DeepSpeed has no call for this; it is what its own `step` does when it skips one."""
        optimizer = self.engine.optimizer
        optimizer.zero_grad()
        optimizer.reset_cpu_buffers()
        if self.config.zero.stage == 2:
            optimizer.micro_step_id = -1  # the next pass does not add to what lies in host memory
            for gradients in (optimizer.averaged_gradients, optimizer.all_grad_tensors):
                gradients.update(dict.fromkeys(gradients))

    def save(self, folder: Path) -> None:
        """Every worker's share of the float32 weights, the optimiser state, and the loss scale.

        Not by `engine.save_checkpoint`: workers wait for each other in it, so one with a full disk would hang all.
        """
        torch.save(self.engine.optimizer.state_dict(), folder / _share(self.rank))
        if self.rank == 0:
            layout = {"world_size": self.world_size, "stage": self.config.zero.stage}
            (folder / LAYOUT).write_text(json.dumps(layout), "utf-8")

    def load(self, folder: Path) -> None:
        _check_layout(folder, self.world_size, self.config.zero.stage)
        optimizer = self.engine.optimizer
        with torch.serialization.safe_globals(_saved_types()):
            state = torch.load(folder / _share(self.rank), map_location="cpu", weights_only=True)
        if self.config.zero.stage == 3:
            optimizer.checkpoint_event_prologue()
        optimizer.load_state_dict({self.rank: state}, load_from_fp32_weights=True)
        if self.config.zero.stage == 3:
            optimizer.checkpoint_event_epilogue()
        else:
            optimizer.update_lp_params()

    def export(self, folder: Path) -> None:
        """All weights in the dtype that they are trained in, as the optimiser rounded them and exams saw them."""
        weights = self._whole_weights()
        if self.rank == 0:
            write_weights(self.model, folder, weights)

    def _start(self, loss: nn.Module, settings: dict[str, Any]) -> Any:
        if self.config.zero.stage == 3:
            # Shares out one weight after the other, so the whole model need not fit into a GPU; leaves buffers alone.
            self.deepspeed.zero.Init(module=loss, config_dict_or_path=settings)
            for buffer in loss.buffers():
                buffer.data = buffer.to(self.device)
            for weight in self.model.get_output_embeddings().parameters():
                self.deepspeed.zero.register_external_parameter(loss.head, weight)
        engine, *_ = self.deepspeed.initialize(model=loss, config=settings, dist_init_required=False)
        return engine

    def _whole_weights(self) -> dict[str, torch.Tensor]:
        """Copies in host memory on the first worker; tied weights are one tensor."""
        copies: dict[int, torch.Tensor] = {}
        whole = {}
        for name, weight in self.model.state_dict(keep_vars=True).items():
            if id(weight) not in copies:
                with self.deepspeed.zero.GatheredParameters([weight]):
                    copies[id(weight)] = weight.detach().to("cpu", copy=True) if self.rank == 0 else weight.new_empty(0)
            whole[name] = copies[id(weight)]
        return whole


def deal(micro_batches: Sequence[MicroBatch], rank: int, world_size: int) -> list[MicroBatch]:
    """From the largest to the smallest, in turn: workers wait for each other, so their n-th passes should be alike.

    Who would be left without one in the last round gets the smallest once more, with nothing in it supervised.
    """
    order = sorted(micro_batches, key=lambda batch: (-batch.area, batch.number))
    fillers = -len(order) % world_size
    return [*order, *[replace(order[-1], supervised=0)] * fillers][rank::world_size]


class _LossInOneCall(SupervisedLoss):
    """DeepSpeed follows which modules are called, the same on all workers: the head is called once, not per chunk."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.head = _Head()

    def summed(self, hidden: torch.Tensor, targets: torch.Tensor, head: nn.Module) -> torch.Tensor:
        return self.head(hidden, targets, head.forward)  # not `head`, whose every call DeepSpeed would see


class _Head(nn.Module):
    """Stage 3 gathers the head's weight when this is called, and once more for its backward pass."""

    def forward(self, hidden: torch.Tensor, targets: torch.Tensor, project: Project) -> torch.Tensor:
        return summed_loss(hidden, targets, project)


def engine_settings(config: FinetuneConfig, dtype: torch.dtype) -> dict[str, Any]:
    """DeepSpeed's configuration; what is not named here is its default."""
    on_gpu, offload = torch.cuda.is_available(), config.zero.offload == "cpu"
    zero: dict[str, Any] = {"stage": config.zero.stage}
    if offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": on_gpu}
    if offload and config.zero.stage == 3:
        zero["offload_param"] = {"device": "cpu", "pin_memory": on_gpu}
    adam = {
        "lr": config.learning_rate,
        "weight_decay": config.weight_decay,
        "torch_adam": not _wants_cpu_adam(config),
    }
    precision = {torch.bfloat16: {"bf16": {"enabled": True}}, torch.float16: {"fp16": {"enabled": True}}}
    return {
        "train_micro_batch_size_per_gpu": 1,  # of these two it wants to know; `backward` says when a step ends
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.max_grad_norm,
        "zero_optimization": zero,
        "optimizer": {"type": "AdamW", "params": adam},
        **precision.get(dtype, {}),
    }


def _wants_cpu_adam(config: FinetuneConfig) -> bool:
    """DeepSpeed's own AdamW for host memory; without a GPU torch's does, and nothing has to be compiled."""
    return config.zero.offload == "cpu" and torch.cuda.is_available()


def _import_deepspeed() -> Any:
    """What DeepSpeed finds in the environment is set before it is imported."""
    if torch.cuda.is_available():
        os.environ["LOCAL_RANK"] = str(torch.cuda.current_device())  # the GPU that DeepSpeed takes
    else:
        os.environ["DS_ACCELERATOR"] = "cpu"
        os.environ.setdefault("LOCAL_RANK", "0")
    try:
        import deepspeed
    except ImportError:
        raise UserError("zero.stage: stages 2 and 3 need DeepSpeed; install it (pip install deepspeed)") from None
    # Two collectives that it calls have newer names in torch.
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    if not torch.cuda.is_available():
        # On a CPU it would compile an exchange through shared memory, which only its inference uses.
        deepspeed.ops.__compatible_ops__ = {}
    return deepspeed


def _group_of_one() -> None:
    """DeepSpeed wants a process group even for a single worker."""
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)


def _build_cpu_adam() -> None:
    """Compiled at the first start on a machine; where that fails, all workers stop together."""
    from deepspeed.ops.op_builder import CPUAdamBuilder

    try:
        CPUAdamBuilder().load()
        error = None
    except Exception as failure:  # no compiler, no ninja, or whatever the compiler says
        error = (str(failure) or type(failure).__name__).splitlines()[0]
    if error := group.agree(error):
        raise UserError(
            f"zero.offload: DeepSpeed's CPU optimiser could not be compiled ({error}); "
            "install a C++ compiler (g++) and ninja on every machine, or set zero.offload to none"
        )


def _saved_types() -> list[Any]:
    """What DeepSpeed's state holds beside tensors and plain values."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]


def _share(rank: int) -> str:
    return f"zero-{rank:04d}.pt"


def _check_layout(folder: Path, world_size: int, stage: int) -> None:
    """A checkpoint fits only the number of workers and the stage that wrote it."""
    layout = json.loads((folder / LAYOUT).read_text("utf-8"))
    if layout["world_size"] != world_size:
        raise UserError(
            f"workers.count: the checkpoint in {folder} was written by {layout['world_size']} workers, found "
            f"{world_size}; give workers.count {layout['world_size']}, or start anew in another folder"
        )
    if layout["stage"] != stage:
        raise UserError(
            f"zero.stage: the checkpoint in {folder} was written with stage {layout['stage']}, found {stage}; "
            f"give zero.stage {layout['stage']}, or start anew in another folder"
        )
