"""The evaluation job: plan, spread the batches over workers with Ray Data, mark, report."""

import logging
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jmed.configuration.schema import EvaluateConfig
from jmed.evaluation.finish import already_finished, write_results
from jmed.evaluation.folder import EvaluationFolder
from jmed.evaluation.identity import evaluation_identity
from jmed.evaluation.marks import mark_item
from jmed.evaluation.plan import Plan, plan_evaluation
from jmed.models.source import ModelSource, find_model
from jmed.offline import forbid_network, forbid_telemetry

if TYPE_CHECKING:
    from jmed.distributed.session import Workers

MAX_DEATHS = 5  # of one worker, or on one batch; then the job ends and says so, instead of dying for ever
READING_CPUS = 0.1  # the plan is read in a moment


def evaluate(config: EvaluateConfig) -> None:
    """Run the whole job; the same command again continues where an unfinished one stopped."""
    forbid_telemetry()
    if config.offline:
        forbid_network()
    source = find_model(config.model, config.offline)
    plan = _plan(config, source)
    folder = EvaluationFolder(
        Path(config.output_dir).expanduser().absolute(), evaluation_identity(config, source, plan)
    )
    with folder.claim():
        if folder.finished:
            already_finished(folder)
            return
        begun = time.monotonic()
        asked = _ask(config, source, plan, folder)
        answers = folder.read_answers(plan)
        marked = [mark_item(item, answers[item.request.item_id], source.name, config.scoring) for item in plan.items]
        timing = _timing(time.monotonic() - begun, asked, list(answers.values()))
        write_results(folder, source.name, marked, plan.exam_questions, plan.left_out, timing)


def _plan(config: EvaluateConfig, source: ModelSource) -> Plan:
    from jmed.models.loading import context_length, load_tokenizer, model_penalty
    from jmed.models.quiet import quiet_libraries

    quiet_libraries()
    penalty = model_penalty(source) if config.repetition_penalty == "model" else config.repetition_penalty
    return plan_evaluation(config, load_tokenizer(source), context_length(source), penalty)


def _ask(config: EvaluateConfig, source: ModelSource, plan: Plan, folder: EvaluationFolder) -> int:
    """Ask what has no answer yet; returns the number of questions asked now."""
    from jmed.distributed import session
    from jmed.distributed.progress import Progress

    numbers = folder.unanswered(plan)
    missing = sum(len(plan.batches[number]) for number in numbers)
    if not numbers:
        return 0
    if missing < len(plan.items):
        print(f"continuing: {len(plan.items) - missing} of {len(plan.items)} questions are answered", file=sys.stderr)
    session.connect()
    workers = session.plan_workers(config.workers, len(numbers), _model_bytes(source))
    print(
        f"{source.name}: {missing} questions in {len(numbers)} batches, {workers.count} workers "
        f"({workers.gpus:g} GPUs, {workers.cpus} CPUs each)",
        file=sys.stderr,
    )
    folder.begin(config, {"model_folder": str(source.folder), "cluster": session.describe(workers)})
    file = folder.write_batches(plan, numbers)
    with session.native_log(folder.work / "ray.log"):
        progress = Progress(len(plan.items), len(plan.items) - missing, "questions", sys.stderr)
        for row in _acknowledgements(file, workers, source, folder, config):
            progress.add(row["questions"])
        progress.close()
    return missing


def _acknowledgements(
    file: Path, workers: "Workers", source: ModelSource, folder: EvaluationFolder, config: EvaluateConfig
) -> Iterator[dict[str, Any]]:
    """Stream the batches through the workers; yields one row a batch when its answers are on disk."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    from jmed.distributed.worker import EvaluationWorker

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # read_parquet makes one block of a small file, which would give one worker everything.
    batches = ray.data.read_parquet(str(file), num_cpus=READING_CPUS).repartition(target_num_rows_per_block=1)
    # Ray 2.60 has no named parameter for the two limits yet, and warns of that.
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
    answered = batches.map_batches(
        EvaluationWorker,
        fn_constructor_args=(source, config.model, folder.answers, workers.cpus, config.offline),
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=workers.count, max_tasks_in_flight_per_actor=2),
        num_cpus=workers.reserved_cpus,
        num_gpus=workers.gpus,
        max_restarts=MAX_DEATHS,
        max_task_retries=MAX_DEATHS,
    )
    yield from answered.iter_rows()


def _model_bytes(source: ModelSource) -> int:
    """Memory of one copy of the weights on a CPU in float32, from files in 16 bits; twice the files is enough."""
    return 2 * sum(file.stat().st_size for file in source.folder.glob("*.safetensors"))


def _timing(seconds: float, asked: int, answers: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 3),
        "questions_asked": asked,
        "questions_per_second": round(asked / seconds, 3),
        "tokens_in": sum(answer["tokens_in"] for answer in answers),
        "tokens_out": sum(answer["tokens_out"] for answer in answers),
    }
