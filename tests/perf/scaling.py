"""What limits 8, 64 and 1,000 workers: a simulator and a calculator for docs/scaling.md.

    python tests/perf/scaling.py

prints every table of that page; tests/unit/test_scaling.py holds that they are equal. What was measured lies in
scaling.json (written by scaling_measure.py), what is assumed stands here as constants. No Ray, no GPU, a few seconds.
"""

import heapq
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

WORKERS = (8, 64, 1000)
QUESTIONS = (1_000, 20_000, 1_000_000)
METHODS = ("letters", "options", "generate")
MEASURED: dict[str, Any] = json.loads(Path(__file__).with_name("scaling.json").read_text("utf-8"))

# What the code does (held by the test)
BATCH_TOKENS = 8192  # tokens, the default of batch_tokens
FILLED = 0.6  # jmed.evaluation.plan
IN_FLIGHT = 1  # batches a worker, max_tasks_in_flight_per_actor
NEW_TOKENS = 256  # tokens, the default of max_new_tokens
CHECKPOINTS = 3  # on disk at once: two are kept while the next is written
TRAIN_BATCH, TRAIN_TOKENS, SEQUENCE = 32, 4096, 2048  # global_batch_size, batch_tokens, sequence_length of finetune

# The model: Qwen2-7B, from its config.json
HIDDEN, LAYERS, INTERMEDIATE, VOCABULARY = 3584, 28, 18944, 152064
KEY_VALUES = 4 * 128  # width of keys and values: 4 heads of 128
RANK = 16  # lora.r

# The GPU: an assumption, of the class that a hospital has. 121 TFLOP/s (bfloat16, dense) and 300 GB/s are the data
# sheet of an NVIDIA L4; the shares that are reached are guesses.
FLOPS = 0.30 * 121e12  # a second
BANDWIDTH = 0.60 * 300e9  # bytes a second
STEPS = 64  # new tokens until the last answer of a batch has ended: guess; the bound is NEW_TOKENS
OVERHEAD = 0.05  # seconds a batch beside the GPU (tokenising, Arrow, commit, Ray notices its end): guess

BUDGET_CASES = ((8, 20_000), (64, 20_000), (1000, 1_000_000))  # workers, questions

# Disturbances
STRAGGLER = 3.0  # times as slow
OUTAGE = 600.0  # seconds that a node is away
NODE = 8  # workers on it
LOADING = 60.0  # seconds to load the model again
STARTING = 120.0  # seconds between the first worker that is ready and the last

# Storage and network: assumptions
LATENCIES = (0.0002, 0.001, 0.005)  # seconds a round trip: good, usual and busy NFS
LINKS = (1, 10, 25)  # Gbit/s of the file server
NETWORKS = (1, 10, 25, 100)  # Gbit/s between workers
WIRE = 0.9  # of a link's rate carries data
DISK = 2e9  # bytes a second, a local NVMe disk
# Round trips of NFS v4 a batch, from the system calls (strace). Commit: open, write, commit, close, open, close,
# rename, remove; mark in `attempts`: open, close, list, remove; two notes: open, write, commit, close each; one look.
COMMIT_TRIPS, MARK_TRIPS, NOTE_TRIPS, LOOK_TRIPS = 8, 4, 8, 1
READ_TRIPS = 3  # open, read, close

# Ray (read in its documentation and source, not measured)
INLINE = 100 * 1024  # bytes; smaller results go through the driver's memory, not through the object store
OPEN_FILES = 65535  # ulimit -n that Ray's guide to large clusters asks for


@dataclass(frozen=True)
class Batch:
    """Rows of one width, padding included."""

    width: int  # tokens
    rows: int
    questions: int


@dataclass(frozen=True)
class Away:
    """A worker does nothing from `start` to `end`; what it was at is asked again, by the same worker."""

    start: float
    end: float


@dataclass(frozen=True)
class Outcome:
    """A simulated run, in seconds."""

    seconds: float
    work: float  # useful seconds of all workers
    lost: float  # of work that had to be done again
    done: int  # batches


@lru_cache(maxsize=64)
def plan(method: str, questions: int, budget: int = BATCH_TOKENS) -> tuple[Batch, ...]:
    """Batches of so many questions with the lengths of the real benchmarks."""
    return tuple(group(_stretched(MEASURED["plan"]["mix"][method], questions), budget))


def _stretched(mix: Sequence[Sequence[int]], questions: int) -> Iterator[tuple[int, int, int]]:
    """The mix with another number of questions, in the same shares; (length, rows, questions), longest first."""
    total, seen, given = sum(count for *_, count in mix), 0, 0
    for length, rows, count in mix:
        seen += count
        until = (seen * questions + total // 2) // total
        if until > given:
            yield length, rows, until - given
        given = until


def group(lengths: Iterator[tuple[int, int, int]], budget: int) -> list[Batch]:
    """What `make_batches` does, for runs of equal questions."""
    batches: list[Batch] = []
    for length, rows, count in lengths:
        left = count
        while left:
            last = batches[-1] if batches else Batch(0, 0, 0)
            room = (budget // last.width - last.rows) // rows if last.width and length >= FILLED * last.width else 0
            if room > 0:
                taken = min(room, left)
                batches[-1] = Batch(last.width, last.rows + taken * rows, last.questions + taken)
            else:
                taken = 1
                batches.append(Batch(length, rows, 1))
            left -= taken
    return batches


def service(method: str, batch: Batch) -> float:
    """Seconds that a worker needs for a batch."""
    new = NEW_TOKENS if method == "generate" else 0
    reading = 2 * parameters() * batch.rows * (batch.width - new) / FLOPS
    writing = STEPS * 2 * parameters() / BANDWIDTH if new else 0.0
    return OVERHEAD + reading + writing


def dispatch_seconds() -> float:
    """Of the driver a batch: measured with idle workers, the slower pool."""
    return 1 / min(pool["rate"] for pool in MEASURED["ray"]["pools"])


def simulate(
    work: Sequence[float],
    workers: int,
    in_flight: int = IN_FLIGHT,
    dispatch: float = 0.0,
    slow: dict[int, float] | None = None,
    away: dict[int, Away] | None = None,
) -> Outcome:
    """Hand out `work` (seconds a batch) in order, each to the worker that has least in hand.

    `slow` gives factors by worker. One driver hands out all, `dispatch` seconds each. A batch that was handed out stays
    with its worker, also if that one is away: so Ray's actors do it.
    """
    slow, away = slow or {}, away or {}
    loads, free = [0] * workers, [0.0] * workers
    slots = [(0, worker) for worker in range(workers)]
    events: list[tuple[float, int, int]] = []  # time, worker, batches that it has finished then
    now = lost = end = 0.0
    for seconds in work:
        now, worker = _next_worker(now, slots, events, loads, in_flight, away)
        now += dispatch
        loads[worker] += 1
        if loads[worker] < in_flight:
            heapq.heappush(slots, (loads[worker], worker))
        took = seconds * slow.get(worker, 1.0)
        free[worker], again = _finish(max(now, free[worker]), took, away.get(worker))
        heapq.heappush(events, (free[worker], worker, 1))
        lost += again
        end = max(end, free[worker])
    return Outcome(end, math.fsum(work), lost, len(work))


def _next_worker(
    now: float,
    slots: list[tuple[int, int]],
    events: list[tuple[float, int, int]],
    loads: list[int],
    in_flight: int,
    away: dict[int, Away],
) -> tuple[float, int]:
    """Wait until a worker has room; that with least in hand."""
    while True:
        while events and (events[0][0] <= now or not slots):
            moment, worker, finished = heapq.heappop(events)
            now = max(now, moment)
            loads[worker] -= finished
            heapq.heappush(slots, (loads[worker], worker))
        load, worker = heapq.heappop(slots)
        if load != loads[worker] or load >= in_flight:
            continue  # an older entry
        gone = away.get(worker)
        if gone and gone.start <= now < gone.end:
            heapq.heappush(events, (gone.end, worker, 0))
            continue
        return now, worker


def _finish(start: float, seconds: float, gone: Away | None) -> tuple[float, float]:
    """When a batch is done that could begin at `start`, and the seconds that were lost."""
    if gone is None or start >= gone.end or start + seconds <= gone.start:
        return start + seconds, 0.0
    return gone.end + seconds, max(0.0, gone.start - start)


@lru_cache(maxsize=512)
def run(method: str, questions: int, workers: int, budget: int = BATCH_TOKENS) -> Outcome:
    """A whole evaluation, once the models are loaded, in which nothing goes wrong."""
    return run_with(method, questions, workers, budget)


def run_with(method: str, questions: int, workers: int, budget: int = BATCH_TOKENS, **disturbed: Any) -> Outcome:
    """The same with what `simulate` takes."""
    batches = plan(method, questions, budget)
    work = [service(method, batch) for batch in batches]
    return simulate(work, min(workers, len(work)), dispatch=dispatch_seconds(), **disturbed)


def share(outcome: Outcome, workers: int) -> float:
    """Of the ideal: all workers at work all the time, and no driver."""
    return outcome.work / workers / outcome.seconds


# Calculations


@lru_cache(maxsize=1)
def parameters() -> int:
    """Of Qwen2-7B: embedding, head, and by layer four attention matrices, three of the MLP, biases and norms."""
    attention = 2 * HIDDEN * HIDDEN + 2 * HIDDEN * KEY_VALUES + HIDDEN + 2 * KEY_VALUES
    layer = attention + 3 * HIDDEN * INTERMEDIATE + 2 * HIDDEN
    return 2 * VOCABULARY * HIDDEN + LAYERS * layer + HIDDEN


def adapter_parameters(rank: int = RANK) -> int:
    """LoRA on every linear layer but the head: r × (inputs + outputs) each."""
    widths = [2 * HIDDEN] * 2 + [HIDDEN + KEY_VALUES] * 2 + [HIDDEN + INTERMEDIATE] * 3
    return LAYERS * rank * sum(widths)


def transfer(size: float, gigabits: float) -> float:
    """Seconds for so many bytes."""
    return size * 8 / (gigabits * 1e9 * WIRE)


def all_reduce(size: float, workers: int, gigabits: float) -> float:
    """Seconds of a ring: every worker sends and receives 2 (n-1)/n of the bytes."""
    return 2 * (workers - 1) / workers * transfer(size, gigabits)


def cache_bytes() -> int:
    """Of keys and values in 16 bits, a token."""
    return 2 * LAYERS * KEY_VALUES * 2


def micro_batches() -> int:
    """Of a training step with full sequences: no more workers than that have anything to do."""
    return math.ceil(TRAIN_BATCH / (TRAIN_TOKENS // SEQUENCE))


def lora_step(workers: int, gigabits: float) -> tuple[float, float]:
    """Seconds of computing and of exchange. 6 P FLOP a token: forward, again for the backward pass, and backward."""
    mine = math.ceil(micro_batches() / workers)
    return mine * 6 * parameters() * TRAIN_TOKENS / FLOPS, all_reduce(4 * adapter_parameters(), workers, gigabits)


def zero_step(workers: int, gigabits: float) -> tuple[float, float]:
    """Stage 3: every pass gathers the weights twice and scatters the gradients once, in 16 bits; 8 P FLOP a token."""
    mine = math.ceil(micro_batches() / workers)
    travel = 3 * (workers - 1) / workers * transfer(2 * parameters(), gigabits)
    return mine * 8 * parameters() * TRAIN_TOKENS / FLOPS, mine * travel


def head_memory(questions: int, workers: int) -> float:
    """Bytes that driver, GCS and raylet need: measured with few questions and with many, and every actor's share."""
    first, *_, last = MEASURED["ray"]["actors"]
    each = sum(last[kind] - first[kind] for kind in ("driver", "gcs_server")) / last["actors"]
    own = first["gcs_server"] + first["raylet"]
    few, many = MEASURED["many"]["runs"]
    more = (many["memory"] - few["memory"]) / (many["questions"] - few["questions"])
    return own + few["memory"] + more * max(0, questions - few["questions"]) + workers * each


def open_files(process: str, workers: int) -> int:
    """Open files of a process by a straight line through the measured ones."""
    first, *_, last = MEASURED["ray"]["actors"]
    each = (last[f"{process}_files"] - first[f"{process}_files"]) / last["actors"]
    return round(first[f"{process}_files"] + each * workers)


def mean_service(method: str, budget: int = BATCH_TOKENS) -> float:
    batches = plan(method, QUESTIONS[1], budget)
    return math.fsum(service(method, batch) for batch in batches) / len(batches)


def batch_bytes(method: str, budget: int = BATCH_TOKENS) -> float:
    batches = plan(method, QUESTIONS[1], budget)
    return MEASURED["plan"]["arrow_bytes"] * QUESTIONS[1] / len(batches)


def enough_questions(
    method: str, workers: int, wanted: float, budget: int = BATCH_TOKENS, most: int = QUESTIONS[-1]
) -> int | None:
    """The least of 100, 200, 500, 1,000, … `most` questions from which on workers reach a share; None: none does."""
    found = None
    for questions in sorted((first * 10**power for power in range(2, 7) for first in (1, 2, 5)), reverse=True):
        if questions <= most:
            if share(run(method, questions, workers, budget), workers) < wanted:
                break
            found = questions
    return found


# Tables


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def clock(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}" if count < 100 * factor else f"{count / factor:.0f} {unit}"
    return f"{count:.0f} B"


def speed_table() -> str:
    rows = []
    for method in METHODS:
        for questions in QUESTIONS:
            cells = []
            for workers in WORKERS:
                outcome = run(method, questions, workers)
                cells.append(f"{share(outcome, workers):.0%} ({clock(outcome.seconds)})")
            rows.append([method, f"{questions:,}", f"{len(plan(method, questions)):,}", *cells])
    return table(["method", "questions", "batches", *(f"{workers:,} workers" for workers in WORKERS)], rows)


def budget_table() -> str:
    rows = []
    for budget in (4096, 8192, 16384, 32768):
        cells = [f"{budget:,}"]
        for method in ("letters", "generate"):
            cells += [clock(run(method, questions, workers, budget).seconds) for workers, questions in BUDGET_CASES]
        rows.append([*cells, size(batch_bytes("letters", budget)), size(budget * cache_bytes())])
    columns = [f"{workers:,} workers, {questions:,}" for workers, questions in BUDGET_CASES]
    head = [f"{method}: {name}" for method in ("letters", "generate") for name in columns]
    return table(["`batch_tokens`", *head, "requests of a batch (letters)", "keys and values on the GPU"], rows)


def enough_table() -> str:
    rows = []
    for method in ("letters", "generate"):
        for wanted in (0.8, 0.9, 0.95):
            cells = []
            for workers in WORKERS:
                found = enough_questions(method, workers, wanted)
                each = f"{len(plan(method, found)) / workers:.1f} batches a worker" if found else ""
                cells.append(f"{found:,} ({each})" if found else "never: the driver is too slow")
            rows.append([method, f"{wanted:.0%}", *cells])
    return table(["method", "share of the ideal", *(f"{workers:,} workers" for workers in WORKERS)], rows)


def disturbed(method: str, questions: int, workers: int) -> Iterator[tuple[str, Outcome]]:
    """The same run with one thing wrong."""
    half = run(method, questions, workers).seconds / 2
    count = min(workers, len(plan(method, questions)))
    node = {worker: Away(half, half + OUTAGE + LOADING) for worker in range(min(NODE, count))}
    spare = {worker: Away(half, half + LOADING) for worker in range(min(NODE, count))}
    late = {worker: Away(0.0, STARTING * worker / count) for worker in range(1, count)}
    yield "nothing", run(method, questions, workers)
    yield "2 batches in hand instead of 1", run_with(method, questions, workers, in_flight=2)
    yield f"1 worker {STRAGGLER:g} times as slow", run_with(method, questions, workers, slow={0: STRAGGLER})
    yield "the same, 2 batches in hand", run_with(method, questions, workers, in_flight=2, slow={0: STRAGGLER})
    yield f"a node of {NODE} is lost half-way, spare room elsewhere", run_with(method, questions, workers, away=spare)
    yield f"it comes back after {clock(OUTAGE)}, no spare room", run_with(method, questions, workers, away=node)
    yield f"workers become ready one by one over {clock(STARTING)}", run_with(method, questions, workers, away=late)


def trouble_table() -> str:
    cases = [(QUESTIONS[1], 8), (QUESTIONS[1], 64), (QUESTIONS[2], 64), (QUESTIONS[2], 1000)]
    columns = [list(disturbed("letters", questions, workers)) for questions, workers in cases]
    rows = []
    for number, (name, _) in enumerate(columns[0]):
        extra = [column[number][1].seconds - column[0][1].seconds for column in columns]
        first = [clock(column[0][1].seconds) for column in columns]
        rows.append([name, *(first if number == 0 else [f"{'-' if t < 0 else '+'}{clock(abs(t))}" for t in extra])])
    return table(["what goes wrong", *(f"{workers:,} workers, {q:,} questions" for q, workers in cases)], rows)


def driver_table() -> str:
    rows = []
    limit = 1 / dispatch_seconds()
    for method in METHODS:
        for budget in (BATCH_TOKENS, 4 * BATCH_TOKENS):
            seconds = mean_service(method, budget)
            needed = [f"{workers / seconds:.0f}" for workers in WORKERS]
            rows.append([method, f"{budget:,}", clock(seconds), *needed, f"{int(limit * seconds):,}"])
    head = ["method", "`batch_tokens`", "a batch takes", *(f"batches/s for {w:,}" for w in WORKERS), "workers at most"]
    return table(head, rows)


def memory_table() -> str:
    rows = [[f"{q:,}", *(size(head_memory(q, workers)) for workers in WORKERS)] for q in QUESTIONS]
    return table(["questions", *(f"{workers:,} workers" for workers in WORKERS)], rows)


def files_table() -> str:
    names = {"driver": "driver", "gcs_server": "GCS", "raylet": "raylet, if all actors were on its node"}
    rows = [[name, *(f"{open_files(key, workers):,}" for workers in WORKERS)] for key, name in names.items()]
    return table(["open files", *(f"{workers:,} workers" for workers in WORKERS)], rows)


def commit_table() -> str:
    trips = COMMIT_TRIPS + MARK_TRIPS + NOTE_TRIPS + LOOK_TRIPS
    rows = []
    for workers in WORKERS:
        needed = min(workers / mean_service("letters"), 1 / dispatch_seconds())
        cells = [f"{workers:,}", f"{needed:.1f}", f"{needed * trips:,.0f}"]
        cells += [f"{needed * workers:,.0f}", clock(workers * READ_TRIPS * LATENCIES[1])]
        cells += [f"{trips * latency / mean_service('letters'):.1%}" for latency in LATENCIES]
        rows.append(cells)
    columns = [f"of a worker's time at {1000 * latency:g} ms" for latency in LATENCIES]
    head = ["workers", "commits/s (letters)", "NFS operations/s", "marks listed/s", "one look at the notes, 1 ms"]
    return table([*head, *columns], rows)


def reading_table() -> str:
    rows = []
    for questions in QUESTIONS:
        files = len(plan("letters", questions))
        here = clock(files / MEASURED["commits"]["checked"])
        rows.append([f"{questions:,}", f"{files:,}", here, *(clock(files * READ_TRIPS * t) for t in LATENCIES)])
    columns = [f"NFS at {1000 * latency:g} ms (calculated)" for latency in LATENCIES]
    return table(["questions", "answer files", "local disk (from the measured rate)", *columns], rows)


def loading_table() -> str:
    weights = 2 * parameters()
    rows = []
    for copies, nodes in (
        ("1 node, or the driver for its hash", 1),
        ("8 nodes", 8),
        ("64 nodes", 64),
        ("1,000 nodes", 1000),
        ("125 nodes of 8", 125),
    ):
        rows.append([copies, size(nodes * weights), *(clock(transfer(nodes * weights, link)) for link in LINKS)])
    local = clock(weights / DISK)
    rows.append(["any number, from a local disk", "–", *[local] * len(LINKS)])
    return table(["who reads", "bytes from the server", *(f"{link} Gbit/s" for link in LINKS)], rows)


def training_table() -> str:
    rows = []
    for name, step in (("LoRA r=16", lora_step), ("full, ZeRO-3", zero_step)):
        for workers in (2, 8, 16):
            compute = step(workers, 1)[0]
            travel = [step(workers, link)[1] for link in NETWORKS]
            cells = [f"{clock(seconds)} ({compute / (compute + seconds):.0%})" for seconds in travel]
            rows.append([name, f"{workers}", clock(compute), *cells])
    return table(["tuning", "workers", "computing a step", *(f"{link} Gbit/s" for link in NETWORKS)], rows)


def checkpoint_table() -> str:
    rows = []
    for name, kept, result in (
        ("LoRA r=16 (AdamW)", 12 * adapter_parameters(), 4 * adapter_parameters()),
        ("full, ZeRO (AdamW)", 12 * parameters(), 2 * parameters()),
    ):
        times = [clock(transfer(kept, link)) for link in LINKS]
        rows.append([name, size(kept), size(CHECKPOINTS * kept + result), clock(kept / DISK), *times])
    head = ["tuning", "a checkpoint", "disk needed", "written to a local disk", *(f"over {k} Gbit/s" for k in LINKS)]
    return table(head, rows)


def settings_table() -> str:
    """The settings that follow. Figures are computed, words are the conclusion."""
    budgets = (BATCH_TOKENS, BATCH_TOKENS, 4 * BATCH_TOKENS)
    most = 2 * QUESTIONS[-1]
    enough = [enough_questions("letters", *case, most) for case in zip(WORKERS, [0.9] * 3, budgets, strict=True)]
    used = max(open_files(process, WORKERS[-1]) for process in ("driver", "gcs_server"))
    store = size(2 * IN_FLIGHT * NODE * batch_bytes("letters", budgets[-1]))
    rows = [
        ["`batch_tokens`, `letters` and `options`", *(f"{budget}" for budget in budgets)],
        ["`batch_tokens`, `generate`", *["as much as the GPU holds: try 16384, then 32768"] * 3],
        ["questions for 90 % of the ideal (`letters`)", *(f"{found:,}" if found else "none" for found in enough)],
        ["`workers.cpus`", *["1 with a GPU; without one, a node's cores / its workers"] * 3],
        ["object store of a node", "256 MB", "256 MB", f"256 MB ({store} in flight for {NODE} workers)"],
        ["head: memory, 20,000 questions", *(size(head_memory(QUESTIONS[1], workers)) for workers in WORKERS)],
        ["head: memory, 1,000,000 questions", *(size(head_memory(QUESTIONS[2], workers)) for workers in WORKERS)],
        ["head: machine", "any node", "4 CPUs, `num-cpus: 0`", "8 CPUs of its own, `num-cpus: 0`"],
        ["open files (`ulimit -n`)", "1024", "1024", f"{OPEN_FILES} (about {used:,} are used)"],
        ["output folder", "any NFS", "NFS on SSD", "NFS on SSD, at most 1 ms a round trip"],
        ["model", "shared folder at 10 Gbit/s", "on each node's disk", "on each node's disk, or in the image"],
        ["`finetune`, workers", "8", f"{micro_batches()} with the defaults; more need a larger step", "not in one job"],
    ]
    return table(["setting", *(f"{workers:,} workers" for workers in WORKERS)], rows)


def measured_table() -> str:
    """What the rest rests on."""
    sizes, planning, many, commits, costs = (MEASURED[part] for part in ("plan", "planning", "many", "commits", "ray"))
    first, *_, last = costs["actors"]
    rows = [
        ["prompt (mean of seven benchmarks, both languages)", f"{size(sizes['prompt_bytes'])} a question"],
        ["a question in the workers' batches, as Arrow", size(sizes["arrow_bytes"])],
        ["the same in `batches.arrow`", size(sizes["batches_file_bytes"])],
        *[[f"the driver's own memory, {one['questions']:,} questions", size(one["memory"])] for one in many["runs"]],
        ["planning", f"{planning['questions_per_second']:,.0f} questions/s"],
        ["commits of one process (`write_table`, 27 answers)", f"{commits['empty']:.0f}/s"],
        ["the same without fsync", f"{commits['without_fsync']:.0f}/s"],
        ["the same in a folder of 100,000 files", f"{commits['full']:.0f}/s"],
        ["checking that a batch is answered", f"{commits['checked']:.0f}/s"],
        ["an answer file", size(sizes["answer_file_bytes"])],
        *[[f"batches/s through Ray Data, {one['actors']} workers", f"{one['rate']:.0f}"] for one in costs["pools"]],
        *[[f"first batch after the start, {one['actors']} workers", clock(one["first"])] for one in costs["pools"]],
        ["an idle actor on its node", f"{size(last['worker'])} of its own, {last['worker_files']:.0f} open files"],
        ["an actor in the GCS", size((last["gcs_server"] - first["gcs_server"]) / last["actors"])],
        ["an actor in the driver", size((last["driver"] - first["driver"]) / last["actors"])],
        ["starting 40 actors", clock(sum(step["seconds"] for step in costs["actors"]))],
    ]  # fmt: skip
    return table(["measured", "result"], rows)


def tables() -> dict[str, str]:
    """Every table of docs/scaling.md by name."""
    return {
        "settings": settings_table(),
        "measured": measured_table(),
        "speed": speed_table(),
        "batch_tokens": budget_table(),
        "enough": enough_table(),
        "trouble": trouble_table(),
        "driver": driver_table(),
        "memory": memory_table(),
        "files": files_table(),
        "commits": commit_table(),
        "reading": reading_table(),
        "loading": loading_table(),
        "training": training_table(),
        "checkpoints": checkpoint_table(),
    }


if __name__ == "__main__":
    for name, text in tables().items():
        print(f"{name}\n\n{text}\n")
