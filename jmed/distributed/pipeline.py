"""Ray Data: streaming batches through the workers of an evaluation."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext

from jmed.distributed.capacity import Workers
from jmed.distributed.stop import Stop
from jmed.distributed.worker import EvaluationWorker, Task


def stream(numbers: Sequence[int], task: Task, workers: Workers) -> Iterator[dict[str, Any]]:
    """Put the batches with these numbers to the workers; yields one row a batch when its answers are on disk.

    Nodes may vanish ever so often, so Ray restarts workers without limit; what keeps killing them is found out by
    `evaluation.asking` and by the worker's own start, which end the job with a reason.
    """
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Ray 2.60 has no named parameter for the two limits yet, and warns of that.
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
    stop = Stop(task.work)
    stop.prepare()
    # Ray hands out numbers, a block each; the workers read the requests. (read_parquet makes one block of a small file,
    # and starts a dozen processes for it.)
    blocks = [pa.table({"batch": [number], "row": [row]}) for row, number in enumerate(numbers)]
    answered = ray.data.from_arrow(blocks).map_batches(
        EvaluationWorker,
        fn_constructor_args=(task,),
        batch_size=1,  # one of ours a call; with GPUs Ray insists on a number
        batch_format="pyarrow",
        # One in hand: a second would wait behind it also when another worker is idle, and a slow worker would keep two
        # at the end. What it would hide, some milliseconds between two batches, is little beside a batch.
        compute=ActorPoolStrategy(size=workers.count, max_tasks_in_flight_per_actor=1),
        num_cpus=workers.reserved_cpus,
        num_gpus=workers.gpus,
        label_selector=workers.labels or None,
        max_restarts=-1,
        max_task_retries=-1,
    )
    try:
        yield from answered.iter_rows()
    except Exception:
        stop.raise_said()
        raise
