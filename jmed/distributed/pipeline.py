"""Ray Data: streaming batches through the workers of an evaluation."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.data._internal.execution import streaming_executor_state

from jmed.distributed.capacity import Workers
from jmed.distributed.stop import Stop
from jmed.distributed.worker import EvaluationWorker, Task

# Seconds. Ray waits for all running batches together, 0.1 s at most, before it looks which have ended: with two
# workers or more, each stood still for 0.1 s or more behind every batch.
LOOK = 0.02
# Very long runs: batches that a worker is given at once (MOST of them at most), so that Ray's part, milliseconds each
# time, stays small, and turns that a worker has in hand, so that it never waits for the next. Each worker keeps so many
# turns (TURNS at least) that the last ones, also of a slow worker, are little beside the whole. Otherwise one batch in
# hand: a second would wait behind it also when another worker is idle, and a slow worker would keep two at the end.
TURNS, MOST, IN_HAND = 200, 32, 2


def stream(numbers: Sequence[int], task: Task, workers: Workers) -> Iterator[dict[str, Any]]:
    """Put the batches with these numbers to the workers; yields one row a batch when its answers are on disk.

    Nodes may vanish ever so often, so Ray restarts workers without limit; what keeps killing them is found out by
    `evaluation.asking` and by the worker's own start, which end the job with a reason.
    """
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.op_resource_reservation_enabled = False  # shares memory out among operators; there is one
    streaming_executor_state.WAIT_FOR_TASK_COMPLETION_TIMEOUT_S = LOOK  # no setting for it in Ray 2.60
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Ray 2.60 has no named parameter for the two limits yet, and warns of that.
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
    stop = Stop(task.work)
    stop.prepare()
    size, in_hand = _pace(len(numbers), workers.count)
    turns = _turns(numbers, size)
    answered = ray.data.from_items(turns, override_num_blocks=len(turns)).map_batches(
        EvaluationWorker,
        fn_constructor_args=(task,),
        batch_size=1,  # a turn a call; with GPUs Ray insists on a number
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=workers.count, max_tasks_in_flight_per_actor=in_hand),
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


def _pace(batches: int, workers: int) -> tuple[int, int]:
    """Batches a turn, and turns that each worker has in hand."""
    size = batches // (workers * TURNS)
    return max(1, min(MOST, size)), IN_HAND if size else 1


def _turns(numbers: Sequence[int], size: int) -> list[dict[str, Any]]:
    """Rows of what a worker is given at once: numbers of batches, and the row of the first one's requests.

    (read_parquet makes one block of a small file, and starts a dozen processes for it.) A worker that dies in a turn
    leaves the batches that it has committed; whoever is given the turn again asks only the others.
    """
    starts = range(0, len(numbers), size)
    return [{"batches": list(numbers[start : start + size]), "row": start} for start in starts]
