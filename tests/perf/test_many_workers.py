"""64 workers, one of them three times as slow, by simulation; and very many questions through the real pipeline."""

from pathlib import Path

from tests.perf import scaling
from tests.perf.conftest import Row
from tests.perf.kit import build_model
from tests.perf.million import answered_at_once

WORKERS, SLOWER, QUESTIONS = 64, 3.0, 100_000
MANY = (100_000, 1_000_000)
METHOD = "generate"


def test_a_slow_worker_among_many(table: list[Row]) -> None:
    """The simulator of docs/scaling.md deals out batches of the real lengths as the pipeline does; 64 real processes
    of Ray need more than two cores."""
    outcome = scaling.run_with(METHOD, QUESTIONS, WORKERS, slow={0: SLOWER})
    share = outcome.work / (WORKERS - 1 + 1 / SLOWER) / outcome.seconds
    even = scaling.run_with(METHOD, QUESTIONS, WORKERS)
    later = outcome.seconds - even.seconds
    note = f"{QUESTIONS:,} questions, {outcome.done:,} batches; {later:.1f} s more than equal ones"
    table.append(Row(f"share of the ideal, {WORKERS} workers, one slow", "simulated", (share,), 0.95, note=note))


def test_very_many_questions(tmp_path: Path, qwen2_tokenizer: Path, table: list[Row]) -> None:
    model = build_model(tmp_path / "model", qwen2_tokenizer, hidden=64, layers=1)
    few, many = (answered_at_once(model, count) for count in MANY)
    rate = MANY[1] / many["seconds"]
    note = f"{MANY[1]:,} questions in {many['seconds']:.0f} s, planning, marks, tables and page included"
    table.append(Row("questions a second, answered at once", "–", (rate,), 5000, note=note))
    note = f"{few['memory'] / 2**20:.0f} and {many['memory'] / 2**20:.0f} MiB of its own at most"
    work = f"the driver's memory, {MANY[1]:,} questions"
    table.append(Row(work, f"{MANY[0]:,}", (many["memory"] / few["memory"],), 1.1, below=True, note=note))
