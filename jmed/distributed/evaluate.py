"""The evaluation job: plan, spread the batches over workers with Ray Data, mark, report."""

import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jmed.configuration.schema import EvaluateConfig
from jmed.distributed.collection import collect_seldom
from jmed.distributed.heartbeat import Heartbeat
from jmed.distributed.progress import Progress
from jmed.evaluation.finish import already_finished, write_results
from jmed.evaluation.folder import EvaluationFolder
from jmed.evaluation.identity import evaluation_identity
from jmed.evaluation.inputs import localise
from jmed.evaluation.marks import mark_answers
from jmed.evaluation.plan import Plan, plan_evaluation
from jmed.inference.allocator import give_back_large_memory
from jmed.models.source import ModelSource, find_model
from jmed.offline import forbid_network, forbid_telemetry


def evaluate(config: EvaluateConfig) -> None:
    """Run the whole job; the same command again continues where an unfinished one stopped."""
    forbid_telemetry()
    if config.offline:
        forbid_network()
    collect_seldom()
    give_back_large_memory()
    config = localise(config)
    source = find_model(config.model, config.offline)
    plan = _plan(config, source)
    folder = EvaluationFolder(
        Path(config.output_dir).expanduser().absolute(), evaluation_identity(config, source, plan)
    )
    with folder.claim(), Heartbeat("evaluate", folder.path, folder.work) as heart:
        if folder.finished:
            already_finished(folder)
            return
        begun = time.monotonic()
        asked = _ask(config, source, plan, folder, heart)
        answers = folder.read_answers(plan)
        timing = _timing(time.monotonic() - begun, asked, answers)
        pieces = mark_answers(plan, answers, config.scoring)
        exam_questions, left_out = plan.exam_questions, plan.left_out
        del plan, answers  # of very many questions tens of megabytes, which the page need not find in its way
        write_results(folder, source.name, pieces, exam_questions, left_out, timing)


def _plan(config: EvaluateConfig, source: ModelSource) -> Plan:
    from jmed.models.loading import context_length, load_tokenizer, model_penalty
    from jmed.models.quiet import quiet_libraries

    quiet_libraries()
    penalty = model_penalty(source) if config.repetition_penalty == "model" else config.repetition_penalty
    return plan_evaluation(config, load_tokenizer(source), context_length(source), penalty)


def _ask(config: EvaluateConfig, source: ModelSource, plan: Plan, folder: EvaluationFolder, heart: Heartbeat) -> int:
    """Ask what has no answer yet; returns the number of questions asked now."""
    from jmed.distributed import capacity, session
    from jmed.distributed.pipeline import stream
    from jmed.distributed.termination import interrupt, on_sigterm
    from jmed.distributed.worker import Task

    numbers = folder.unanswered(plan)
    missing = sum(map(plan.batches.size, numbers))
    progress = Progress(len(plan.items), len(plan.items) - missing, "questions")
    heart.show(progress.count(time.monotonic()))
    if not numbers:
        return 0
    if missing < len(plan.items):
        print(f"continuing: {len(plan.items) - missing} of {len(plan.items)} questions are answered", file=sys.stderr)
    heart.stage("joining Ray")
    joined = session.connect()
    heart.stage("finding room for the workers")
    workers = capacity.plan_workers(config.workers, len(numbers), _model_bytes(source))
    print(
        f"{source.name}: {missing} questions in {len(numbers)} batches, {workers.count} workers "
        f"({workers.gpus:g} GPUs, {workers.cpus} CPUs each)",
        file=sys.stderr,
    )
    folders = {"model_folder": str(source.folder), "adapter_folder": str(source.adapter) if source.adapter else None}
    folder.begin(config.as_given, {**folders, "cluster": capacity.describe(workers)})
    file = folder.write_batches(plan, numbers)
    task = Task(
        source, config.model, folder.work, file, folder.answers, folder.attempts, workers.count, workers.cpus,
        config.offline,
    )  # fmt: skip
    with session.native_log(folder.work / "ray.log", leave=joined), on_sigterm(interrupt):
        heart.watch(workers.count, workers.reserved_cpus, workers.gpus)
        for row in stream(numbers, task, workers):
            heart.show(progress.add(row["questions"], row["errors"]), last=progress.done == progress.total)
        heart.stage("scoring the answers")
    return missing


def _model_bytes(source: ModelSource) -> int:
    """Memory of one copy of the weights on a CPU in float32, from files in 16 bits; twice the files is enough."""
    return 2 * sum(file.stat().st_size for file in source.folder.glob("*.safetensors"))


def _timing(seconds: float, asked: int, answers: pa.Table) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 3),
        "questions_asked": asked,
        "questions_per_second": round(asked / seconds, 3),
        "tokens_in": pc.sum(answers["tokens_in"]).as_py(),
        "tokens_out": pc.sum(answers["tokens_out"]).as_py(),
    }
