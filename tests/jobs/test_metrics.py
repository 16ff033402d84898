"""What Prometheus would find on a machine's endpoint after a job."""

import json
import shutil
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.jobs.test_evaluate import evaluate
from tests.jobs.test_finetune import finetune, logged


@pytest.fixture
def metered_model(tmp_path: Path, tiny_model: Path) -> Path:
    """A model under a name of its own: totals outlive the workers of other tests."""
    return shutil.copytree(tiny_model, tmp_path / f"metered-{tmp_path.name}")


def scrape(model: Path) -> dict[str, float]:
    """jmed's series of this model, summed over workers."""
    import ray

    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    text = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10).read().decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("model") == model.name and not sample.name.endswith("_bucket"):
                assert set(sample.labels) >= {"job", "model", "worker", "NodeAddress"}
                name = f"{sample.labels['job']} {sample.name}"
                found[name] = found.get(name, 0) + sample.value
    return found


def eventually(model: Path, complete: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """Ray reports every 10 seconds."""
    deadline = time.monotonic() + 40
    while not complete(found := scrape(model)):
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    return found


def test_an_evaluation_counts_its_questions(tmp_path: Path, ray_address: str, metered_model: Path) -> None:
    rows = [
        {"question_id": str(i), "language": "en", "question": stem, "choices": ["x", "y"], "answer": "a"}
        for i, stem in enumerate(["short", "long " * 6000, "short too"])
    ]
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run = evaluate(
        tmp_path / "out", metered_model, benchmarks=[f"jsonl:{file}", "mini"], limit=5, method="letters",
        batch_tokens=1000, workers={"count": 2},
    )  # fmt: skip
    answers = pq.read_table(run / "answers.parquet").to_pylist()
    assert len(answers) == 13
    found = eventually(metered_model, lambda found: found.get("evaluate ray_jmed_questions_total") == 13)
    assert found["evaluate ray_jmed_errors_total"] == 1
    assert found["evaluate ray_jmed_tokens_in_total"] == sum(answer["tokens_in"] for answer in answers)
    assert found["evaluate ray_jmed_batch_seconds_count"] > 1
    assert found["evaluate ray_jmed_batch_seconds_sum"] > 0
    record = json.loads((run / "progress.json").read_text("utf-8"))
    assert (record["done"], record["errors"], record["state"]) == (13, 1, "finished")


def test_a_training_counts_its_steps(tmp_path: Path, ray_address: str, metered_model: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": f"A text about hearts, {n}. " * 9}) + "\n" for n in range(40)), "utf-8")
    run = finetune(
        tmp_path / "out", metered_model, stage="pretrain", tuning="lora", steps=5, global_batch_size=4,
        data=[{"path": str(file), "format": "text"}], sequence_length=128, workers={"count": 1},
    )  # fmt: skip
    rows = logged(run)
    found = eventually(metered_model, lambda found: found.get("finetune ray_jmed_steps_total") == 5)
    assert found["finetune ray_jmed_trained_tokens_total"] == sum(row["tokens"] for row in rows)
    assert found["finetune ray_jmed_step_seconds_count"] == 5
    assert found["finetune ray_jmed_loss"] == pytest.approx(rows[-1]["loss"])
