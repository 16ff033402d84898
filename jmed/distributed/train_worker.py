"""One worker of a training run, as Ray Train starts it."""

import os
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jmed.distributed.collection import without_collection
from jmed.distributed.stop import Stop
from jmed.offline import forbid_network

if TYPE_CHECKING:
    from jmed.training.run import Job


def work(settings: dict[str, Any]) -> None:
    """One Ray Train worker."""
    if settings["offline"]:
        forbid_network()  # before anything is imported that looks for it
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with without_collection():
        import torch
        from ray.train import get_context
        from ray.train.torch import get_device

        from jmed.distributed.metrics import GpuMemory
        from jmed.distributed.notes import EXAMINING, STARTED, worker_notepad
        from jmed.models.quiet import quiet_libraries

        job = pickle.loads(settings["job"])  # imports what the job is made of
    torch.set_num_threads(settings["threads"])
    quiet_libraries()
    note = worker_notepad(job.work, f"rank-{get_context().get_world_rank()}")
    note.say(STARTED)
    GpuMemory("finetune", job.source.name).sample_on()
    stop = Stop(job.work)
    if stop.said() is None:
        _teach(job, get_device(), stop, lambda: note.say(EXAMINING))


def _teach(job: "Job", device: Any, stop: Stop, examining: Callable[[], None]) -> None:
    """Ray starts workers again after any error; a reason that would only repeat itself makes the new ones end."""
    from jmed.training.notice import Stopped
    from jmed.training.run import teach

    try:
        teach(job, device, _leaving, examining)
    except Stopped as stopped:
        stop.say(str(stopped), mendable=False)
        raise
    except Exception as error:
        stop.report(error, "the last checkpoint is kept")
        raise  # also where only this worker failed: the others are taken down, not left waiting


def _leaving() -> bool:
    """Whether Ray knows that a node of this run will be taken away (a spot notice, `ray drain-node`)."""
    from ray.train import get_preemption_info

    return get_preemption_info() is not None
