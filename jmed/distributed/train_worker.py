"""One worker of a training run, as Ray Train starts it."""

import errno
import os
import pickle
import traceback
from typing import TYPE_CHECKING, Any

from jmed.distributed.stop import Stop
from jmed.errors import UserError
from jmed.offline import forbid_network

if TYPE_CHECKING:
    from jmed.training.run import Job

STOPPED = "stopped.json"  # why the workers stopped for good
ERRORS = "errors.log"  # tracebacks of workers
MAKE_ROOM = "Make room or mend the disk, then the same command continues"
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def work(settings: dict[str, Any]) -> None:
    """One Ray Train worker."""
    if settings["offline"]:
        forbid_network()  # before anything is imported that looks for it
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch
    from ray.train.torch import get_device

    from jmed.models.quiet import quiet_libraries

    job = pickle.loads(settings["job"])
    torch.set_num_threads(settings["threads"])
    quiet_libraries()
    stop = Stop(job.work / STOPPED)
    if stop.said() is None:
        _teach(job, get_device(), stop)


def _teach(job: "Job", device: Any, stop: Stop) -> None:
    """Ray starts workers again after any error; a reason that would only repeat itself makes the new ones end."""
    from jmed.training.loop import GaveUp
    from jmed.training.run import teach

    try:
        teach(job, device)
    except Exception as error:
        if isinstance(error, UserError | GaveUp):
            stop.say(str(error), mendable=isinstance(error, UserError))
        elif isinstance(error, OSError) and error.errno in DISK_ERRORS:
            stop.say(f"output_dir: {error.strerror}; the last checkpoint is kept. {MAKE_ROOM}", mendable=True)
        else:
            with (job.work / ERRORS).open("a", encoding="utf-8") as stream:
                stream.write(traceback.format_exc() + "\n")
        raise  # also where only this worker failed: the others are taken down, not left waiting
