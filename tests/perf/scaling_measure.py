"""Measures what tests/perf/scaling.py computes with, and keeps it in tests/perf/scaling.json.

    python -m tests.perf.scaling_measure plan DATA_ROOT TOKENIZER
    python -m tests.perf.scaling_measure planning DATA_ROOT TOKENIZER
    python -m tests.perf.scaling_measure many TOKENIZER
    python -m tests.perf.scaling_measure commits FOLDER
    python -m tests.perf.scaling_measure ray

Each part takes less than a minute on two cores (`many`: some minutes) and replaces only its own part of the file.
"""

import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from jmed.configuration.schema import EvaluateConfig, ModelConfig
from jmed.evaluation.batches import TokenCounter, lengths_of
from jmed.evaluation.folder import EvaluationFolder, answer_file, is_answered
from jmed.evaluation.plan import Plan, plan_evaluation
from jmed.evaluation.table import RAW_ANSWERS, REQUESTS
from jmed.inference.request import Request
from jmed.runs.files import write_batches, write_table

FILE = Path(__file__).with_suffix("").with_name("scaling.json")
BENCHMARKS = ["igakuqa", "yakugakuqa", "jmmlu", "mmlu", "medqa", "medmcqa", "pubmedqa"]
METHODS = ("letters", "options", "generate")
MAX_LENGTH = 32768  # tokens, Qwen2-7B's context
ROWS = 27  # answers a file; at 8,192 tokens a batch of generate holds about 19, one of letters 60
SECONDS = 5.0  # of each timing
CROWD = 100_000  # files in a full folder
ACTORS = (0, 20, 40)
MANY = (100_000, 1_000_000)
POOLS = (2, 8)  # actors of a pool
STREAMED = 1500  # batches through a pool


def measure_plan(data_root: str, tokenizer_folder: str) -> dict[str, Any]:
    """Real plans over all benchmarks in both languages: length mix, memory, sizes."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
    mixes, plans = {}, {}
    for method in METHODS:
        plans[method] = plan_evaluation(_config(data_root, method), tokenizer, MAX_LENGTH)
        counted = Counter(lengths_of(plans[method].items, TokenCounter(tokenizer)))
        mixes[method] = [[length, 1, count] for length, count in sorted(counted.items(), reverse=True)]
    plan = plans["generate"]
    del plans
    return {
        "benchmarks": BENCHMARKS,
        "mix": mixes,
        "questions": len(plan.items),
        "prompt_bytes": sum(len(item.request.prompt.encode()) for item in plan.items) / len(plan.items),
        **_batch_sizes(plan),
    }


def _config(data_root: str, method: str) -> EvaluateConfig:
    return EvaluateConfig(
        model=ModelConfig(path="none"), output_dir="none", data_root=data_root, benchmarks=BENCHMARKS, method=method
    )


def _batch_sizes(plan: Plan) -> dict[str, float]:
    """Bytes a question of the batches as Arrow, as the workers' file, and of their answers' files."""

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        work = EvaluationFolder(path / "run", {})
        file = work.write_batches(plan, list(range(len(plan.batches))))
        answers = [_answer(item.request.item_id) for item in plan.items[:ROWS]]
        _commit(answers, answer_file(path, 0))
        return {
            "arrow_bytes": sum(plan.batches.requests(n).nbytes for n in range(len(plan.batches))) / len(plan.items),
            "batches_file_bytes": file.stat().st_size / len(plan.items),
            "answer_file_bytes": answer_file(path, 0).stat().st_size,
        }


def _answer(item_id: str) -> dict[str, Any]:
    response = "The right answer is b, since the others do not explain the fever."
    return {
        "item_id": item_id, "response": response, "logprobs": [], "tokens_in": 300, "tokens_out": 20, "error": None,
    }  # fmt: skip


def _commit(answers: list[dict[str, Any]], file: Path) -> None:
    write_table([pa.Table.from_pylist(answers, RAW_ANSWERS)], RAW_ANSWERS, file)


def measure_planning(data_root: str, tokenizer_folder: str) -> dict[str, Any]:
    """Questions a second that are read, rendered, counted and grouped."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
    begun = time.perf_counter()
    plan = plan_evaluation(_config(data_root, "generate"), tokenizer, MAX_LENGTH)
    return {"questions_per_second": len(plan.items) / (time.perf_counter() - begun)}


def measure_many(tokenizer_folder: str) -> dict[str, Any]:
    """Whole evaluations of very many questions, answered at once: seconds, and the driver's own memory at most."""
    from tests.perf.kit import build_model
    from tests.perf.million import answered_at_once

    with tempfile.TemporaryDirectory() as folder:
        model = build_model(Path(folder) / "model", Path(tokenizer_folder), hidden=64, layers=1)
        return {"runs": [{"questions": count, **answered_at_once(model, count)} for count in MANY]}


def measure_commits(folder: str) -> dict[str, Any]:
    """Commits a second of one process, in an empty and in a full folder, and reading answers back."""
    rows = [_answer(f"igakuqa/112-A-{number}/ja/choice-text/generate") for number in range(ROWS)]
    found: dict[str, Any] = {"filesystem": _filesystem(folder)}
    with tempfile.TemporaryDirectory(dir=folder) as name:
        path = Path(name)
        found["empty"] = _rate(lambda n: _commit(rows, answer_file(path, n)))
        found["without_fsync"] = _rate_without_fsync(rows, path)
        item_ids = [row["item_id"] for row in rows]
        found["checked"] = _rate(lambda n: is_answered(answer_file(path, n % 100), item_ids))
        for number in range(CROWD):
            answer_file(path, 1_000_000 + number).touch()
        found["full"] = _rate(lambda n: _commit(rows, answer_file(path, n)))
    return found


def _rate_without_fsync(rows: list[dict[str, Any]], path: Path) -> float:
    kept, os.fsync = os.fsync, lambda fd: None
    try:
        return _rate(lambda n: _commit(rows, answer_file(path, n)))
    finally:
        os.fsync = kept


def _rate(work: Callable[[int], Any]) -> float:
    """Calls a second."""
    begun, number = time.perf_counter(), 0
    while time.perf_counter() - begun < SECONDS:
        work(number)
        number += 1
    return number / (time.perf_counter() - begun)


def _filesystem(folder: str) -> str:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    here = Path(folder).resolve()
    return max((len(point), kind) for point, kind in mounts if here.is_relative_to(point))[1]


def measure_ray() -> dict[str, Any]:
    """What actors cost the head, and how many batches a second Ray Data hands out."""
    import ray

    from tests.perf.ray_kit import local_ray

    with local_ray(cpus=10):
        return {"version": ray.__version__, "actors": _actor_costs(), "pools": [_stream(size) for size in POOLS]}


def _actor_costs() -> list[dict[str, float]]:
    import ray

    @ray.remote(num_cpus=0)
    class Idle:
        def ready(self) -> int:
            return os.getpid()

    actors: list[Any] = []
    costs = []
    for count in ACTORS:
        begun = time.perf_counter()
        actors += [Idle.remote() for _ in range(count - len(actors))]
        pids = ray.get([actor.ready.remote() for actor in actors])
        seconds = time.perf_counter() - begun
        costs.append({"actors": count, "seconds": seconds, **_processes(pids)})
    for actor in actors:
        ray.kill(actor)
    return costs


def _processes(pids: list[int]) -> dict[str, float]:
    """Resident bytes and open files of Ray's own processes and of this one; `worker` is the mean of `pids`."""
    import psutil

    me = psutil.Process()
    found: dict[str, float] = {"driver": me.memory_info().rss, "driver_files": me.num_fds()}
    for process in me.children(recursive=True):
        name = process.name()
        for wanted in ("gcs_server", "raylet"):
            if name.startswith(wanted):
                found[wanted], found[f"{wanted}_files"] = process.memory_info().rss, process.num_fds()
    if pids:
        found["worker"] = sum(psutil.Process(pid).memory_full_info().uss for pid in pids) / len(pids)
        found["worker_files"] = sum(psutil.Process(pid).num_fds() for pid in pids) / len(pids)
    return found


class _Nothing:
    """A worker that reads its requests and answers at once."""

    def __init__(self, file: str) -> None:
        self.file = pa.ipc.open_file(file)

    def __call__(self, batches: Any) -> dict[str, list[int]]:
        requests = self.file.get_batch(batches["row"][0].as_py()).to_pylist()
        return {"batch": batches["batch"].to_pylist(), "questions": [len(requests)]}


def _stream(size: int) -> dict[str, float]:
    """Batches a second from the first to the last acknowledgement: the evaluation's pipeline with idle workers."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    request = vars(Request("igakuqa/112-A-1/ja/choice-text/generate", "x" * 900))
    batch = pa.Table.from_pylist([request] * ROWS, REQUESTS)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "batches.arrow"
        write_batches([batch] * STREAMED, REQUESTS, file)
        turns = [{"batch": n, "row": n} for n in range(STREAMED)]
        answered = ray.data.from_items(turns, override_num_blocks=STREAMED).map_batches(
            _Nothing, fn_constructor_args=(str(file),), batch_size=1, batch_format="pyarrow", num_cpus=1,
            compute=ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2),
        )  # fmt: skip
        begun = time.perf_counter()
        moments = [time.perf_counter() - begun for _ in answered.iter_rows()]
    rate = (len(moments) - 1) / (moments[-1] - moments[0])
    return {"actors": size, "batches": len(moments), "first": moments[0], "rate": rate, **_processes([])}


def main(part: str, *arguments: str) -> None:
    parts: dict[str, Callable[..., dict[str, Any]]] = {
        "plan": measure_plan,
        "planning": measure_planning,
        "many": measure_many,
        "commits": measure_commits,
        "ray": measure_ray,
    }
    kept = json.loads(FILE.read_text("utf-8")) if FILE.is_file() else {}
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "date": time.strftime("%Y-%m-%d")}
    kept[part] = {"machine": machine, **parts[part](*arguments)}
    sections = [f'"{name}": {json.dumps(value, ensure_ascii=False)}' for name, value in sorted(kept.items())]
    FILE.write_text("{\n" + ",\n".join(sections) + "\n}\n", "utf-8")
    print(json.dumps({name: value for name, value in kept[part].items() if name != "mix"}, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
