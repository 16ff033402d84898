"""The training job on a real Ray: both stages, all ways of tuning, whatever dies."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from jmed.configuration.finetune import FinetuneConfig
from tests.conftest import ROOT
from tests.jobs.conftest import job_command, run_job

PHARMACY = [{"benchmark": f"yakugakuqa-{year}", "language": "ja"} for year in range(2012, 2022)]
LOG_KEYS = [
    "step", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "supervised_tokens", "seconds", "world_size",
]  # fmt: skip


def finetune(output_dir: Path, model_path: Path, **keys: Any) -> Path:
    from jmed.distributed.finetune import finetune as run

    config = {"model": {"path": str(model_path)}, "output_dir": str(output_dir), "offline": True, **keys}
    run(FinetuneConfig.model_validate(config))
    return output_dir


def logged(run: Path, name: str = "train_log.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / name).read_text("utf-8").splitlines()]


def check_run(run: Path, steps: int, result: str) -> None:
    """Every file of the contract, each step once, a loss that falls."""
    rows = logged(run)
    assert [row["step"] for row in rows] == list(range(1, steps + 1))
    assert list(rows[0]) == LOG_KEYS
    third = max(1, steps // 3)
    first, last = (sum(row["loss"] for row in part) / third for part in (rows[:third], rows[-third:]))
    assert last < first, [row["loss"] for row in rows]
    assert {path.name for path in run.iterdir()} >= {
        result, "train_log.jsonl", "preflight.json", "contamination.json", "run.yaml", "tensorboard",
    }  # fmt: skip
    assert not (run / "unfinished").exists()
    assert json.loads((run / "preflight.json").read_text("utf-8"))["fits"] is True
    assert (run / result / "README.md").read_text("utf-8").startswith("---\n")
    assert json.loads((run / result / "lineage.json").read_text("utf-8"))["data"]
    assert list((run / "tensorboard").glob("events.*"))
    record = yaml.safe_load((run / "run.yaml").read_text("utf-8"))
    assert record["configuration"]["offline"] is True
    assert record["data"][0]["tokens"] > 0


def check_evaluation(output_dir: Path, model: Path, *arguments: str, ray_address: str) -> None:
    """`evaluate` examines what came out."""
    done = run_job(
        "evaluate", "--model.path", str(model), "--benchmarks", '["mini"]', "--method", "letters", "--limit", "3",
        "--output_dir", str(output_dir), "--offline", "true", *arguments, RAY_ADDRESS=ray_address,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(json.loads((output_dir / "results.json").read_text("utf-8"))["scores"]) == 2


def test_instruction_tuning_of_an_nf4_model_on_two_workers(
    tmp_path: Path, ray_address: str, qwen2_model: Path, data_root: Path
) -> None:
    """YakugakuQA 2012 to 2021 in QLoRA, the real tokenizer and vocabulary, an exam in the loop."""
    run = finetune(
        tmp_path / "run", qwen2_model, stage="instruct", tuning="qlora", data=PHARMACY, data_root=str(data_root),
        steps=15, global_batch_size=8, batch_tokens=2048, learning_rate=5e-3, warmup=0.1,
        contamination={"benchmarks": ["igakuqa", "yakugakuqa-2022"], "action": "drop"},
        evaluate={"benchmarks": ["mini"], "limit": 4, "method": "letters"}, workers={"count": 2},
    )  # fmt: skip
    check_run(run, 15, "adapter")
    assert {row["world_size"] for row in logged(run)} == {2}
    exams = logged(run, "exam_log.jsonl")
    assert {(row["step"], row["language"], row["n"]) for row in exams} == {
        (step, language, 4) for step in (0, 15) for language in ("ja", "en")
    }
    assert all(row["ci_low"] <= row["value"] <= row["ci_high"] for row in exams)
    gate = json.loads((run / "contamination.json").read_text("utf-8"))
    assert gate["examples"] > 2000
    assert gate["questions"] > 2000
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(qwen2_model)
    PeftModel.from_pretrained(base, run / "adapter")
    weights = load_file(run / "adapter" / "adapter_model.safetensors")
    assert all(torch.isfinite(weight).all() for weight in weights.values())
    assert any(float(weight.abs().max()) > 0 for name, weight in weights.items() if "lora_B" in name)
    check_evaluation(
        tmp_path / "exam", qwen2_model, "--model.adapter", str(run / "adapter"), "--model.quantization", "nf4",
        ray_address=ray_address,
    )  # fmt: skip


@pytest.mark.parametrize("stage", [2, 3])
def test_continued_pretraining_of_all_weights_with_deepspeed(
    tmp_path: Path, ray_address: str, qwen2_model: Path, data_root: Path, stage: int
) -> None:
    corpora = [
        {"path": str(file), "format": "text", "language": "ja"} for file in sorted((data_root / "corpora").iterdir())
    ]
    run = finetune(
        tmp_path / "run", qwen2_model, stage="pretrain", tuning="full", data=corpora, zero={"stage": stage},
        steps=9, global_batch_size=4, sequence_length=256, batch_tokens=512, learning_rate=3e-3, warmup=0.1,
        workers={"count": 2}, checkpoint={"every_steps": 5},
    )  # fmt: skip
    check_run(run, 9, "model")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(run / "model")
    before, after = (AutoModelForCausalLM.from_pretrained(folder) for folder in (qwen2_model, run / "model"))
    changed = [
        name
        for (name, one), other in zip(before.named_parameters(), after.parameters(), strict=True)
        if not torch.equal(one, other)
    ]
    assert len(changed) == len(list(before.parameters()))
    check_evaluation(tmp_path / "exam", run / "model", ray_address=ray_address)


def slow_job(output_dir: Path, model: Path, data: Path) -> list[str]:
    """A few dozen steps that take a while, with dropout."""
    return job_command(
        "finetune", "--model.path", str(model), "--output_dir", str(output_dir), "--stage", "instruct",
        "--tuning", "qlora", "--data", json.dumps([{"path": str(data), "format": "mcqa"}]), "--steps", "60",
        "--global_batch_size", "8", "--batch_tokens", "1500", "--learning_rate", "0.003", "--checkpoint.every_steps",
        "10", "--workers.count", "2", "--offline", "true",
    )  # fmt: skip


def start(command: list[str], ray_address: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "RAY_ADDRESS": ray_address}
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )


def wait_for_step(job: subprocess.Popen[str], output_dir: Path, step: int, times: int = 1) -> None:
    """Until the log holds the step (and has been shorter before, for more than one time)."""
    deadline = time.monotonic() + 600
    while True:
        file = output_dir / "train_log.jsonl"
        if file.exists() and file.read_text("utf-8").count("\n") >= step:
            return
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline, "the job made no steps"
        time.sleep(0.02)


def test_a_finished_run_is_left_alone_and_another_configuration_refused(
    tmp_path: Path, ray_address: str, tiny_model: Path, training_questions: Path
) -> None:
    job = start([*slow_job(tmp_path / "run", tiny_model, training_questions), "--steps", "2"], ray_address)
    assert job.wait(600) == 0, job.communicate()
    finished_is_left_alone(tmp_path / "run", tiny_model, training_questions)


def finished_is_left_alone(folder: Path, model: Path, data: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.name != ".lock"}
    job = [*slow_job(folder, model, data), "--steps", "2"]
    done = subprocess.run(job, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "nothing is trained again" in done.stderr
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.name != ".lock"} == before
    other = [*job, "--learning_rate", "0.1"]
    refused = subprocess.run(other, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "learning_rate: 0.003 there, 0.1 here" in refused.stderr
