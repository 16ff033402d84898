"""The evaluation job on a real Ray: the same answers however the work is spread, and whatever dies."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from jmed.configuration.schema import EvaluateConfig
from jmed.evaluation.table import ANSWERS
from tests.conftest import ROOT
from tests.jobs.conftest import job_command, run_job

FAMILIES = ["igakuqa", "jmmlu", "mmlu", "medqa", "medmcqa", "pubmedqa", "yakugakuqa"]
SCORE_KEYS = {
    "benchmark", "language", "prompt", "method", "metric", "correct", "n", "value", "ci_low", "ci_high"
}  # fmt: skip


def evaluate(output_dir: Path, model_path: Path, **keys: Any) -> Path:
    from jmed.distributed.evaluate import evaluate as run

    config = {"model": {"path": str(model_path)}, "output_dir": str(output_dir), "offline": True, **keys}
    run(EvaluateConfig.model_validate(config))
    return output_dir


def answers(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "answers.parquet").to_pylist()


@pytest.mark.parametrize("method", ["generate", "letters", "options"])
def test_one_and_two_workers_give_identical_answers_on_every_benchmark(
    tmp_path: Path, ray_address: str, qwen2_model: Path, data_root: Path, method: str
) -> None:
    runs = [
        evaluate(
            tmp_path / str(count), qwen2_model, benchmarks=FAMILIES, method=method, limit=3,
            max_new_tokens=8, data_root=str(data_root), workers={"count": count},
        )
        for count in (1, 2)
    ]  # fmt: skip
    one, two = (pq.read_table(run / "answers.parquet") for run in runs)
    assert one.equals(two)
    assert one.schema.equals(ANSWERS)
    rows = one.to_pylist()
    ids = [row["item_id"] for row in rows]
    assert ids == sorted(set(ids))
    asked = {(row["benchmark"], row["language"]) for row in rows}
    assert asked == {
        ("igakuqa", "ja"), ("igakuqa", "en"), ("jmmlu", "ja"), ("mmlu", "en"), ("medqa", "en"),
        ("medmcqa", "en"), ("pubmedqa", "en"), ("yakugakuqa", "ja"),
    }  # fmt: skip
    assert len(rows) == 3 * len(asked)
    assert not any(row["error"] for row in rows)
    for row in rows:
        assert (
            len(row["option_logprobs"])
            == len(row["continuations"])
            == (0 if method == "generate" else len(row["choices"]))
        )
        assert row["prompt_text"]
    check_results(runs[0], rows, method)


def check_results(run: Path, rows: list[dict[str, Any]], method: str) -> None:
    results = json.loads((run / "results.json").read_text("utf-8"))
    assert sum(score["n"] for score in results["scores"]) == len(rows)
    for score in results["scores"]:
        assert set(score) == SCORE_KEYS
        assert (score["metric"], score["method"]) == ("accuracy", method)
        right = [
            row["correct"]
            for row in rows
            if (row["benchmark"], row["language"]) == (score["benchmark"], score["language"])
        ]
        assert (score["correct"], score["n"]) == (sum(right), len(right))
        assert score["ci_low"] <= score["value"] <= score["ci_high"]
    left_out = {(count["benchmark"], count["language"]): count["left_out"] for count in results["counts"]}
    assert left_out["igakuqa", "ja"]["needs an image"] == 430
    assert (run / "report.html").stat().st_size > 1000
    record = yaml.safe_load((run / "run.yaml").read_text("utf-8"))
    assert record["configuration"]["method"] == method
    assert "model.safetensors" in record["identity"]["model"]
    assert len(record["identity"]["data"]["medqa/phrases_no_exclude_test.jsonl"]) == 64
    assert not (run / "unfinished").exists()


def test_adapter_on_nf4_with_the_chat_prompt_and_shots(tmp_path: Path, ray_address: str, tiny_model: Path) -> None:
    """Everything that can be combined runs together: NF4 base, unmerged adapter, chat template, two shots."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    adapter = tmp_path / "adapter"
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)).save_pretrained(adapter)
    model = {"path": str(tiny_model), "adapter": str(adapter), "quantization": "nf4"}
    run = evaluate(
        tmp_path / "out", tiny_model, model=model, benchmarks=["mini"], limit=4, method="generate",
        prompt="chat", shots=2, max_new_tokens=8, workers={"count": 1}, scoring="paper",
    )  # fmt: skip
    rows = answers(run)
    assert len(rows) == 8
    assert not any(row["error"] for row in rows)
    assert all(row["prompt_text"].count("<|im_start|>user") == 3 for row in rows)
    assert all(row["model"] == f"{tiny_model.name}+adapter" for row in rows)
    metrics = {score["metric"] for score in json.loads((run / "results.json").read_text("utf-8"))["scores"]}
    assert metrics == {"accuracy", "exact_match", "gestalt_accuracy"}


def test_a_question_too_long_for_the_model_is_an_error_on_its_row(
    tmp_path: Path, ray_address: str, tiny_model: Path
) -> None:
    stems = ["short", "long " * 6000, "short too"]
    rows = [
        {"question_id": str(i), "language": "en", "question": stem, "choices": ["x", "y"], "answer": "a"}
        for i, stem in enumerate(stems)
    ]
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run = evaluate(tmp_path / "out", tiny_model, benchmarks=[f"jsonl:{file}"], method="letters", workers={"count": 1})
    found = {row["question_id"]: row for row in answers(run)}
    assert "the model takes 4,096" in found["1"]["error"]
    assert (found["1"]["correct"], found["1"]["prediction"]) == (False, "")
    assert found["0"]["error"] is None
    assert found["2"]["error"] is None
    counts = json.loads((run / "results.json").read_text("utf-8"))["counts"]
    assert (counts[0]["asked"], counts[0]["errors"]) == (3, 1)


def test_a_run_in_which_everything_fails_is_no_result(tmp_path: Path, ray_address: str, tiny_model: Path) -> None:
    file = tmp_path / "own.jsonl"
    row = {"question_id": "1", "language": "en", "question": "long " * 6000, "choices": ["x", "y"], "answer": "a"}
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match="every question failed, so nothing was written; the first error: prompt"):
        evaluate(tmp_path / "out", tiny_model, benchmarks=[f"jsonl:{file}"], method="letters", workers={"count": 1})
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"run.yaml", ".lock", "progress.json"}


def job(model: Path, output_dir: Path) -> list[str]:
    return job_command(
        "evaluate", "--model.path", str(model), "--benchmarks", '["mini"]', "--output_dir", str(output_dir),
        "--method", "letters", "--limit", "6", "--workers.count", "2", "--offline", "true",
    )  # fmt: skip


def test_a_finished_run_is_left_alone_and_another_configuration_refused(
    tmp_path: Path, ray_address: str, tiny_model: Path
) -> None:
    done = run_job("evaluate", *job(tiny_model, tmp_path / "out")[2:], RAY_ADDRESS=ray_address)
    assert done.returncode == 0, done.stderr
    finished_is_left_alone(tmp_path / "out", tiny_model)
    other_configuration_is_refused(tmp_path / "out", tiny_model)


def finished_is_left_alone(folder: Path, model: Path) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    done = subprocess.run(job(model, folder), cwd=ROOT, capture_output=True, text=True, check=True)
    assert "nothing is asked again" in done.stderr
    assert str(folder / "report.html") in done.stdout
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir() if file.name != ".lock"} == {
        name: changed for name, changed in before.items() if name != ".lock"
    }


def other_configuration_is_refused(folder: Path, model: Path) -> None:
    done = run_job("evaluate", *job(model, folder)[2:], "--limit", "5")
    assert done.returncode == 2
    assert "limit: 6 there, 5 here" in done.stderr


def test_what_the_cluster_cannot_give_is_refused_by_name(tmp_path: Path, ray_address: str, tiny_model: Path) -> None:
    done = run_job(
        "evaluate", "--model.path", str(tiny_model), "--benchmarks", '["mini"]', "--output_dir", str(tmp_path / "out"),
        "--workers.count", "64", RAY_ADDRESS=ray_address,
    )  # fmt: skip
    assert done.returncode == 2
    assert "workers: 64 workers of 1 CPUs and 0 GPUs asked for, the cluster has 2 CPUs" in done.stderr
    assert "Traceback" not in done.stderr
