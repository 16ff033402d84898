"""Folding an adapter in: the merged model answers as base and adapter do, is rounded once, and appears whole."""

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from jmed.configuration.finetune import MergeConfig
from jmed.errors import UserError
from jmed.models import folding, merging, writing
from jmed.models.merging import MergeFolder, merge
from jmed.models.source import fingerprint, read_shapes
from jmed.models.tiny import build_tiny_model, train_tokenizer
from jmed.runs.card import Card, Data, Origin, Step, read_lineage, write_card
from tests.conftest import ROOT

TEXT = "Which drug? どの薬を選ぶか。"
EVERY = {"target_modules": "all-linear"}
VARIANTS: dict[str, dict[str, Any]] = {
    "lora": EVERY,
    "rslora": {**EVERY, "use_rslora": True},
    "dora": {**EVERY, "use_dora": True},
    "ranks": {**EVERY, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"up_proj": 3}},
    "bias": {"target_modules": ["q_proj", "v_proj"], "bias": "all"},
    "lora_bias": {"target_modules": ["q_proj", "v_proj"], "lora_bias": True},
    "pissa": {"target_modules": ["q_proj"], "init_lora_weights": "pissa"},
    "norm": {"target_modules": ["q_proj"], "modules_to_save": ["norm"]},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "whole head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "whole embedding": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "both, tied": {"target_modules": ["embed_tokens", "lm_head"], "ensure_weight_tying": True},
}
UNTYING = {"head", "embedding", "whole head", "whole embedding", "both, tied"}


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models: `tied`, `untied` and `wide` in float32, `tied-16` and `untied-16` in bfloat16."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = train_tokenizer([TEXT, "a few words, いくつかの言葉"], vocabulary=300)
    build_tiny_model(folder / "tied", tokenizer, hidden=32)
    build_tiny_model(folder / "wide", tokenizer, hidden=64)
    model = AutoModelForCausalLM.from_pretrained(folder / "tied")
    model.config.tie_word_embeddings = False
    torch.manual_seed(1)
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) / 5)
    save_model(model, tokenizer, folder / "untied")
    for name in ("tied", "untied"):
        model = AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.bfloat16)
        save_model(model, tokenizer, folder / f"{name}-16")
    return folder


Adapter = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def adapter(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """An adapter of a variant for a base, made once; none of its weights is at its start value."""
    folder = tmp_path_factory.mktemp("adapters")

    def make(base: str, variant: str) -> Path:
        path = folder / f"{base}-{variant.replace(' ', '-')}"
        if not path.is_dir():
            torch.manual_seed(2)
            model = AutoModelForCausalLM.from_pretrained(models / base)
            config = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", **VARIANTS[variant]}
            with warnings.catch_warnings(action="ignore"), torch.no_grad():
                tuned = get_peft_model(model, LoraConfig(**config))
                for parameter in tuned.parameters():
                    if parameter.requires_grad:
                        parameter.add_(torch.randn_like(parameter) / 10)
                tuned.save_pretrained(path)
        return path

    return make


def config_of(base: Path, adapter: Path, output: Path, dtype: str = "auto") -> MergeConfig:
    model = {"path": str(base), "adapter": str(adapter), "dtype": dtype}
    return MergeConfig(model=model, output_dir=str(output), offline=True)  # type: ignore[arg-type]


@pytest.fixture
def merged(models: Path, adapter: Adapter, tmp_path: Path) -> Callable[..., Path]:
    """The folder of a merged model."""

    def run(base: str, variant: str = "lora", dtype: str = "auto") -> Path:
        merge(config_of(models / base, adapter(base, variant), tmp_path / "out", dtype))
        return tmp_path / "out"

    return run


def refused(base: Path, adapter: Path, output: Path, dtype: str = "auto") -> str:
    """The message of a merge that is refused and leaves everything as it was."""
    before = contents(output)
    with pytest.raises(UserError) as caught:
        merge(config_of(base, adapter, output, dtype))
    assert contents(output) == before
    return str(caught.value)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder, the lock aside, with its bytes and the time it was written."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def tokens(folder: Path) -> torch.Tensor:
    return AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt").input_ids


def logits_unmerged(base: Path, adapter: Path) -> torch.Tensor:
    """As peft computes them, all in float32."""
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        return PeftModel.from_pretrained(model, str(adapter))(input_ids=tokens(base)).logits


def logits(folder: Path) -> torch.Tensor:
    """Of a model that plain transformers loads, nothing missing and nothing left over, in float32."""
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        return model(input_ids=tokens(folder)).logits


# --- what comes out


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("base", ["tied", "untied"])
def test_the_merged_model_answers_as_base_and_adapter(
    models: Path, adapter: Adapter, merged: Callable[..., Path], base: str, variant: str
) -> None:
    folder = merged(base, variant)
    expected = logits_unmerged(models / base, adapter(base, variant))
    plain = AutoModelForCausalLM.from_pretrained(models / base)(input_ids=tokens(folder)).logits
    assert (plain - expected).abs().max() > 0.1  # the adapter does something
    scale = max(1.0, float(expected.abs().max()))
    assert (logits(folder) - expected).abs().max() < 2e-6 * scale  # measured: at most 6e-7
    tied = base == "tied" and variant not in UNTYING
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is tied
    assert ("lm_head.weight" in read_shapes(folder / "model.safetensors")) is not tied


@pytest.mark.parametrize(
    ("base", "dtype", "expected"),
    [
        ("untied-16", "auto", torch.bfloat16),
        ("tied-16", "auto", torch.bfloat16),
        ("tied", "auto", torch.float32),
        ("tied", "bfloat16", torch.bfloat16),
        ("tied", "float16", torch.float16),
        ("tied-16", "float16", torch.float16),
        ("tied-16", "float32", torch.float32),
    ],
)
def test_every_weight_is_summed_in_float32_and_rounded_once(
    models: Path, adapter: Adapter, merged: Callable[..., Path], base: str, dtype: str, expected: torch.dtype
) -> None:
    before = load_file(models / base / "model.safetensors")
    parts = load_file(adapter(base, "lora") / "adapter_model.safetensors")
    after = load_file(merged(base, "lora", dtype) / "model.safetensors")
    assert after.keys() == before.keys()
    twice = 0
    for name, weight in before.items():
        key = f"base_model.model.{name.removesuffix('.weight')}.lora_"
        if f"{key}A.weight" in parts:
            delta = parts[f"{key}B.weight"] @ parts[f"{key}A.weight"] * 2.0  # alpha / r
            twice += int((weight + delta.to(weight.dtype) != (weight.float() + delta).to(weight.dtype)).sum())
            weight = weight.float() + delta
        assert after[name].dtype == expected
        assert torch.equal(after[name], weight.to(expected))
    assert (twice > 0) == base.endswith("-16")  # where peft alone rounds twice, it gives other weights
    assert json.loads((merged(base, "lora", dtype) / "config.json").read_text())["dtype"] == str(expected)[6:]


def test_the_rest_is_as_the_base_has_it(models: Path, merged: Callable[..., Path], tmp_path: Path) -> None:
    base = models / "tied"
    (base / "LICENSE").write_text("terms")
    folder = merged("tied", dtype="bfloat16")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json", "LICENSE"):
        assert (folder / name).read_bytes() == (base / name).read_bytes()
        assert (folder / name).stat().st_mode == (folder / "model.safetensors").stat().st_mode
    config, own = (json.loads((path / "config.json").read_text()) for path in (folder, base))
    assert config == {**own, "dtype": "bfloat16"}
    assert {path.name for path in folder.iterdir()} == {
        ".lock", "run.yaml", "README.md", "lineage.json", "config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json", "chat_template.jinja", "generation_config.json", "LICENSE",
    }  # fmt: skip
    run = yaml.safe_load((folder / "run.yaml").read_text("utf-8"))
    assert run["identity"]["job"] == "merge"
    assert run["model_folder"] == str(base.resolve())


def test_an_old_config_keeps_its_keys(models: Path, adapter: Adapter, tmp_path: Path) -> None:
    """As transformers 4 wrote it; without rope_theta it would compute positions wrongly."""
    base = shutil.copytree(models / "tied", tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    del config["dtype"], config["rope_parameters"]
    old = {**config, "rope_theta": 1e6, "torch_dtype": "float32", "transformers_version": "4.41.2"}
    (base / "config.json").write_text(json.dumps(old))
    merge(config_of(base, adapter("tied", "lora"), tmp_path / "out", "float16"))
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == {**old, "torch_dtype": "float16"}


def test_transformers_alone_loads_it(merged: Callable[..., Path], models: Path) -> None:
    folder = merged("tied-16")
    code = f"""
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({str(folder)!r})
model = AutoModelForCausalLM.from_pretrained({str(folder)!r})
ids = tokenizer({TEXT!r}, return_tensors="pt").input_ids
print(model.dtype, model.config.tie_word_embeddings, ids.tolist(), float(model(input_ids=ids).logits.float().sum()))
chat = tokenizer.apply_chat_template([{{"role": "user", "content": "x"}}], tokenize=False)
assert chat == "<|im_start|>user\\nx<|im_end|>\\n", chat
assert not {{"jmed", "peft"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"torch.bfloat16 True {tokens(models / 'tied-16').tolist()} ")


def test_a_large_model_comes_in_shards(merged: Callable[..., Path], monkeypatch: Any, models: Path) -> None:
    monkeypatch.setattr(writing, "SHARD", "20KB")
    folder = merged("untied-16")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    assert not (folder / "model.safetensors").exists()
    sharded = logits(folder)
    shutil.rmtree(folder)
    monkeypatch.undo()
    assert torch.equal(sharded, logits(merged("untied-16")))


def test_a_base_in_two_precisions_is_said_to_be_rounded(
    models: Path, adapter: Adapter, tmp_path: Path, capsys: Any
) -> None:
    base = shutil.copytree(models / "untied-16", tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"].float() + 1e-5
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    merge(config_of(base, adapter("untied-16", "lora"), tmp_path / "out"))
    said = capsys.readouterr().err
    assert "model.path: 32 of " in said
    assert "values of the base are float32; like the others they become bfloat16 (--model.dtype float32 keeps" in said
    merge(config_of(base, adapter("untied-16", "lora"), tmp_path / "exact", "float32"))
    kept = load_file(tmp_path / "exact" / "model.safetensors")["model.norm.weight"]
    assert torch.equal(kept, weights["model.norm.weight"])


def test_the_check_is_told_and_raises_where_merging_changes_the_answers(
    merged: Callable[..., Path], monkeypatch: Any, capsys: Any, tmp_path: Path
) -> None:
    merged("tied-16")
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("logits with and without merging differ by ")
    assert float(first.split(" by ")[1].split()[0]) < 1e-4
    assert 1e-4 < float(first.split(" by ")[2].split()[0]) < 1
    shutil.rmtree(tmp_path / "out")
    right = folding._merge_layer

    def wrong(layer: Any) -> None:
        layer.scaling["default"] *= 1.01
        right(layer)

    monkeypatch.setattr(folding, "_merge_layer", wrong)
    with pytest.raises(RuntimeError, match="the merged model's logits differ by"):
        merged("tied-16")
    assert not (tmp_path / "out").exists()


# --- the card


def trained(base: Path, folder: Path, **changes: Any) -> Step:
    """Give an adapter's or model's folder a card, as the training job writes one."""
    data = Data(name="naika.jsonl", format="text", language="ja", examples=1, sequences=1, tokens=1)
    step: dict[str, Any] = {
        "kind": "adapter", "name": "igaku", "stage": "instruct", "data": [data],
        "base": Origin(name=base.name, files=fingerprint(base)), **changes,
    }  # fmt: skip
    write_card(folder, Card(**step, parents=read_lineage(base)))
    return Step(**step)


def test_the_lineage_of_base_and_adapter_is_carried_on(models: Path, adapter: Adapter, tmp_path: Path) -> None:
    base = shutil.copytree(models / "tied", tmp_path / "model")
    part = shutil.copytree(adapter("tied", "lora"), tmp_path / "adapter")
    first = trained(models / "tied", base, kind="model", name="naika", stage="pretrain")
    second = trained(base, part, name="igaku")
    merge(config_of(base, part, tmp_path / "out"))
    steps = read_lineage(tmp_path / "out")
    assert steps[:2] == [first, second]
    assert (steps[2].name, steps[2].stage, steps[2].base.name) == ("naika+igaku", "merge", "naika")
    assert steps[2].adapter is not None
    assert steps[2].adapter.files == fingerprint(part)
    assert steps[2].settings["dtype"] == "float32"
    assert steps[2].settings["largest_logit_difference"]["before_rounding"] < 1e-4
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "the adapter igaku merged into naika" in card
    assert "`naika.jsonl`" in card
    assert "tied" in card


def test_an_adapter_without_lineage_has_an_unknown_training(merged: Callable[..., Path]) -> None:
    folder = merged("tied")
    assert [step.stage for step in read_lineage(folder)] == ["unknown", "merge"]
    assert "THE TRAINING IS UNKNOWN" in (folder / "README.md").read_text("utf-8")


def test_a_base_of_the_same_shape_with_other_weights_is_refused(models: Path, adapter: Adapter, tmp_path: Path) -> None:
    part = shutil.copytree(adapter("tied", "lora"), tmp_path / "adapter")
    trained(models / "tied", part)
    message = refused(models / "tied-16", part, tmp_path / "out")
    assert message == (
        f"model.adapter: {part} was trained on other weights than those of {models / 'tied-16'}: "
        "its lineage.json names tied with other hashes; give that base"
    )


# --- what is refused


def test_a_base_of_another_width_is_refused(models: Path, adapter: Adapter, tmp_path: Path) -> None:
    assert "was trained for another base" in refused(models / "wide", adapter("tied", "lora"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_four_bit_base_is_refused(models: Path, adapter: Adapter, tmp_path: Path) -> None:
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = AutoModelForCausalLM.from_pretrained(models / "tied-16", quantization_config=nf4, device_map={"": "cpu"})
    save_model(model, AutoTokenizer.from_pretrained(models / "tied"), tmp_path / "nf4")
    message = refused(tmp_path / "nf4", adapter("tied-16", "lora"), tmp_path / "out")
    assert message == (
        f"model.path: the weights of {tmp_path / 'nf4'} are quantised (quantization_config in its config.json: "
        f"bitsandbytes); merge into the 16-bit base: the adapter names {models / 'tied-16'}"
    )


def changed(folder: Path, copy: Path, **changes: Any) -> Path:
    """A copy of an adapter with other settings."""
    shutil.copytree(folder, copy)
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**config, **changes}))
    return copy


def test_what_is_no_fixed_change_of_a_weight_is_refused(models: Path, adapter: Adapter, tmp_path: Path) -> None:
    lora = adapter("tied", "lora")
    part = changed(lora, tmp_path / "alora", alora_invocation_tokens=[1, 2])
    assert "was trained with alora_invocation_tokens" in refused(models / "tied", part, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(models / "tied")
    config = IA3Config(target_modules=["q_proj"], feedforward_modules=[], task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained(tmp_path / "ia3")
    assert "is of peft_type 'IA3'; expected LORA" in refused(models / "tied", tmp_path / "ia3", tmp_path / "out")


def rewritten(folder: Path, copy: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """A copy of an adapter with other weights."""
    shutil.copytree(folder, copy)
    weights = load_file(copy / "adapter_model.safetensors")
    change(weights)
    save_file(weights, copy / "adapter_model.safetensors")
    return copy


def test_a_broken_adapter_is_refused(models: Path, adapter: Adapter, tmp_path: Path) -> None:
    lora, output = adapter("tied", "lora"), tmp_path / "out"
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"

    def empty(weights: dict[str, torch.Tensor]) -> None:
        weights[key][0, 0] = float("nan")

    def huge(weights: dict[str, torch.Tensor]) -> None:
        weights[key][0, 0] = 1e6

    part = rewritten(lora, tmp_path / "nan", empty)
    assert "computes NaN or infinity; train it again" in refused(models / "tied", part, output)
    part = rewritten(lora, tmp_path / "part", lambda weights: weights.__delitem__(key))
    message = refused(models / "tied", part, output)
    assert message.startswith(f"model.adapter: {part} is not whole; copy it again (Found missing adapter keys")
    part = rewritten(lora, tmp_path / "huge", huge)
    message = refused(models / "tied", part, output, "float16")
    assert message.startswith("model.dtype: float16 cannot hold the merged weights of ")
    assert message.endswith("give bfloat16 or float32")
    part = changed(adapter("tied", "lora_bias"), tmp_path / "bias", r=5)
    assert refused(models / "tied", part, output).startswith("model.adapter: peft cannot fold it in: ")
    assert not output.exists()


def test_a_base_that_lacks_weights_is_refused(models: Path, adapter: Adapter, tmp_path: Path) -> None:
    base = shutil.copytree(models / "untied", tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    message = refused(base, adapter("untied", "lora"), tmp_path / "out")
    assert message == f"model.path: {base} lacks 1 weights, such as lm_head.weight; copy it again"


# --- the folder


def test_a_finished_run_is_left_alone_and_another_one_refused(
    models: Path, adapter: Adapter, merged: Callable[..., Path], capsys: Any, tmp_path: Path
) -> None:
    folder = merged("tied")
    before = contents(folder)
    capsys.readouterr()
    assert merged("tied") == folder
    assert capsys.readouterr().err == f"{folder} holds this merged model, finished; nothing is done again\n"
    assert contents(folder) == before
    message = refused(models / "tied", adapter("tied", "lora"), folder, "bfloat16")
    assert "belongs to a run with another configuration (dtype: auto there, bfloat16 here)" in message
    assert "another configuration" in refused(models / "tied", adapter("tied", "dora"), folder)


def test_a_folder_that_lost_its_weights_is_not_finished(merged: Callable[..., Path]) -> None:
    folder = merged("tied")
    before = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(before[:-1])
    merged("tied")
    assert (folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("name", ["config.json", "model-00001-of-00002.safetensors", "README.md", "tokenizer.json"])
def test_somebody_elses_folder_is_refused(models: Path, adapter: Adapter, tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("{}")
    message = refused(models / "tied", adapter("tied", "lora"), tmp_path / "out")
    assert message == f"output_dir: {tmp_path / 'out'} holds {name} but no run.yaml; give another folder"


def test_neither_base_nor_adapter_is_overwritten(models: Path, adapter: Adapter) -> None:
    base, part = models / "tied", adapter("tied", "lora")
    for folder in (base, part):
        assert "but no run.yaml; give another folder" in refused(base, part, folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_before_the_work_begins(models: Path, adapter: Adapter, small_disk: Path) -> None:
    message = refused(models / "tied", adapter("tied", "lora"), small_disk / "out")
    assert message == (
        f"output_dir: {small_disk / 'out'} has room for 0.0 GB; the merged model needs 0.1 GB: free some, or give a "
        "folder on another disk"
    )
    assert not (small_disk / "out").exists()


@pytest.mark.parametrize("part", ["weights", "tokenizer"])
def test_a_disk_that_fills_up_leaves_nothing(
    models: Path, adapter: Adapter, small_disk: Path, monkeypatch: Any, part: str
) -> None:
    """There is no room for the weights, or for them and no more than 12 kB."""
    monkeypatch.setattr(merging, "_check_room", lambda *_: None)
    weights = (models / "tied" / "model.safetensors").stat().st_size
    room = weights // 2 if part == "weights" else weights + 3 * 4096
    (small_disk / "other").write_bytes(bytes(1024**2 - room))
    message = refused(models / "tied", adapter("tied", "lora"), small_disk / "out")
    assert message.startswith(f"output_dir: {small_disk / 'out'} cannot be written (No space left on device")
    assert message.endswith("no model was left there: free space, or give a folder on another disk")
    assert not (small_disk / "out").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from jmed.configuration.finetune import MergeConfig
from jmed.models import merging
from jmed.runs import card

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

base, adapter, output, moment = sys.argv[1:]
replace, moved = Path.replace, []

def move(self, target):
    if self.parent.name == "unfinished" and Path(target).parent.name != "unfinished":
        moved.append(target)
        if moment == "first" or (moment == "last" and Path(target).name == "config.json"):
            die()
    return replace(self, target)

Path.replace = move
if moment == "writing":
    merging.write_card = die
merging.merge(MergeConfig(model={"path": base, "adapter": adapter}, output_dir=output, offline=True))
"""


@pytest.mark.parametrize("moment", ["writing", "first", "last"])
def test_a_killed_job_leaves_nothing_that_looks_whole_and_the_next_one_completes(
    models: Path, adapter: Adapter, merged: Callable[..., Path], tmp_path: Path, moment: str
) -> None:
    command = [sys.executable, "-c", KILLED, str(models / "tied"), str(adapter("tied", "lora")), str(tmp_path / "out")]
    done = subprocess.run([*command, moment], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = tmp_path / "out"
    there = {path.name for path in folder.iterdir()}
    assert "unfinished" in there
    assert ("model.safetensors" in there) is (moment == "last")
    assert not MergeFolder(folder, {}).finished
    with pytest.raises((OSError, ValueError)):
        AutoModelForCausalLM.from_pretrained(folder)
    merged("tied")
    assert not (folder / "unfinished").exists()
    assert MergeFolder(folder, {}).finished
    expected = logits_unmerged(models / "tied", adapter("tied", "lora"))
    assert (logits(folder) - expected).abs().max() < 1e-4
