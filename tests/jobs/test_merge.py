"""The merge job as its user starts it: exit status, messages, and a model that the other jobs take."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from jmed.configuration.schema import ModelConfig
from jmed.models.loading import load_model
from jmed.models.source import find_model
from jmed.models.tiny import build_tiny_model, train_tokenizer
from tests.jobs.conftest import run_job


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    folder = tmp_path_factory.mktemp("adapters") / "lora"
    get_peft_model(model, config).save_pretrained(folder)
    return folder


def merge(base: Path, adapter: Path, output: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    keys = {"--model.path": base, "--model.adapter": adapter, "--output_dir": output}
    flags = [part for key, value in keys.items() for part in (key, str(value))]
    return run_job("merge", *flags, "--offline", *more, RAY_ADDRESS="")


def message(done: "subprocess.CompletedProcess[str]") -> str:
    """The one line of a job that was refused."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    return done.stderr.removeprefix("merge.py: ").rstrip("\n")


def test_a_merged_model_is_written_once_and_answers_as_base_and_adapter(
    tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    output = tmp_path / "merged"
    done = merge(tiny_model, adapter, output)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("logits with and without merging differ by ")
    assert second == f"merged model: {output}"
    assert done.stderr == f"merging {tiny_model.name}+lora in float32\n"
    with torch.no_grad():
        beside, merged = (
            load_model(find_model(config, offline=True)).model(input_ids=torch.arange(200)[None]).logits
            for config in (ModelConfig(path=str(tiny_model), adapter=str(adapter)), ModelConfig(path=str(output)))
        )
    assert (beside - merged).abs().max() < 1e-4
    times = {path: path.stat().st_mtime_ns for path in output.iterdir() if path.name != ".lock"}
    again = merge(tiny_model, adapter, output)
    assert (again.returncode, again.stdout) == (0, "")
    assert again.stderr == f"{output} holds this merged model, finished; nothing is done again\n"
    other = message(merge(tiny_model, adapter, output, "--model.dtype", "bfloat16"))
    assert f"output_dir: {output} belongs to a run with another configuration" in other
    assert times == {path: path.stat().st_mtime_ns for path in output.iterdir() if path.name != ".lock"}


def test_what_the_user_can_mend_is_said_in_one_line(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    output = tmp_path / "merged"
    wide = build_tiny_model(tmp_path / "wide", train_tokenizer(["words"], vocabulary=300), hidden=32)
    assert "was trained for another base" in message(merge(wide, adapter, output))
    config = json.loads((wide / "config.json").read_text())
    (wide / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))
    found = message(merge(wide, adapter, output))
    assert f"merge into the 16-bit base: the adapter names {tiny_model}" in found
    found = message(merge(tiny_model, adapter, output, "--model.quantization", "nf4"))
    assert "an adapter is folded into the 16-bit base, never into a 4-bit one" in found
    done = run_job("merge", "--model.path", str(tiny_model), "--output_dir", str(output))
    assert "model.adapter is required" in message(done)
    assert not output.exists()
