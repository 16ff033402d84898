"""Models and adapters are checked before anything is loaded: what is missing, cut short or does not fit is named."""

import json
import os
import shutil
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from jmed.configuration.schema import ModelConfig
from jmed.errors import UserError
from jmed.models.source import (
    ModelSource,
    check_adapter,
    check_model,
    find_model,
    fingerprint,
    read_shapes,
)
from jmed.models.tiny import build_tiny_model, train_tokenizer


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models: `tiny`, `wide` (twice the width), `deep` (more layers) and `gpt2` (modules with other names)."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = train_tokenizer(["a few words, いくつかの言葉"], vocabulary=300)
    build_tiny_model(folder / "tiny", tokenizer, hidden=32, layers=1)
    build_tiny_model(folder / "wide", tokenizer, hidden=64, layers=1)
    build_tiny_model(folder / "deep", tokenizer, hidden=32, layers=3)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(folder / "gpt2")
    tokenizer.save_pretrained(folder / "gpt2")
    return folder


@pytest.fixture(scope="module")
def adapters(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real LoRA adapter for each model, and one of all its linear layers and the head (`head`)."""
    folder = tmp_path_factory.mktemp("adapters")
    for name, base, targets in (
        ("tiny", "tiny", ["q_proj", "v_proj"]),
        ("wide", "wide", ["q_proj", "v_proj"]),
        ("deep", "deep", ["q_proj", "v_proj"]),
        ("gpt2", "gpt2", ["c_attn", "c_proj"]),
        ("head", "tiny", ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]),
    ):
        model = AutoModelForCausalLM.from_pretrained(models / base)
        config = LoraConfig(r=4, target_modules=targets, fan_in_fan_out=name == "gpt2")
        with warnings.catch_warnings(action="ignore"):  # peft warns of a head that shares the embedding's weights
            get_peft_model(model, config).save_pretrained(folder / name, save_embedding_layers=False)
    return folder


@pytest.fixture
def model(models: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be damaged."""
    return shutil.copytree(models / "tiny", tmp_path / "model")


@pytest.fixture
def adapter(adapters: Path, tmp_path: Path) -> Path:
    """A copy of its adapter, to be damaged."""
    return shutil.copytree(adapters / "tiny", tmp_path / "adapter")


def refused(work: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        work()
    return str(caught.value)


def shard(model: Path) -> list[Path]:
    """Split the weights of a model into two files with an index."""
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    files = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    place = {name: files[i % 2] for i, name in enumerate(sorted(tensors))}
    for file in files:
        save_file({name: tensors[name] for name in tensors if place[name] == file}, model / file)
    index = {"metadata": {}, "weight_map": place}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    return [model / file for file in files]


# --- the model's folder


def test_a_whole_model_is_found_and_named_after_its_folder(models: Path, adapters: Path, monkeypatch: Any) -> None:
    found = find_model(ModelConfig(path=str(models / "tiny")), offline=True)
    assert found == ModelSource("tiny", (models / "tiny").resolve(), None, "none", "auto")
    config = ModelConfig(
        path=f"{models / 'tiny'}/", adapter=str(adapters / "tiny"), quantization="nf4", dtype="float32"
    )
    found = find_model(config, offline=True)
    assert (found.name, found.adapter, found.quantization, found.dtype) == (
        "tiny+tiny", (adapters / "tiny").resolve(), "nf4", "float32",
    )  # fmt: skip
    monkeypatch.chdir(models / "tiny")
    assert find_model(ModelConfig(path="."), offline=True).name == "tiny"


def test_a_folder_without_config_is_refused(model: Path) -> None:
    (model / "config.json").unlink()
    message = refused(lambda: check_model(model))
    assert message == f"model.path: {model} has no config.json; expected a folder in transformers layout"


def test_a_folder_without_weights_is_refused(model: Path) -> None:
    (model / "model.safetensors").unlink()
    message = refused(lambda: check_model(model))
    assert message == f"model.path: {model} has no weights; expected model.safetensors or its shards"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickled_weights_are_never_read(model: Path, name: str) -> None:
    (model / "model.safetensors").rename(model / name)
    message = refused(lambda: check_model(model))
    assert f"{model} has only {name}, which could run code when read; convert it; expected model.safetensors" in message


def test_a_folder_without_tokenizer_is_refused(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    message = refused(lambda: check_model(model))
    assert message.startswith(f"model.path: {model} has no tokenizer; expected one of tokenizer.json, tokenizer.model")
    for name in ("tokenizer.model", "vocab.json"):
        (model / name).touch()
        check_model(model)
        (model / name).unlink()


def test_weights_cut_short_are_refused_with_both_sizes(model: Path) -> None:
    file = model / "model.safetensors"
    whole = file.read_bytes()
    for kept in (len(whole) - 1, len(whole) // 2):
        file.write_bytes(whole[:kept])
        assert refused(lambda: check_model(model)) == (
            f"{file}: has {kept:,} bytes, its header says {len(whole):,}; it was cut short: copy it again"
        )
    file.write_bytes(whole + b"\0")
    assert f"has {len(whole) + 1:,} bytes, its header says {len(whole):,}" in refused(lambda: check_model(model))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 100) + b'{"a": {"dtype": "F32", "shape": [1]',
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 1) + b"3",
        struct.pack("<Q", 8) + b'{"a": 3}',
        struct.pack("<Q", 2) + b"\xff\xfe",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 3000000000\n",
        b"<!DOCTYPE html><html>404</html>",
    ],
)
def test_what_is_no_safetensors_file_is_refused(model: Path, content: bytes) -> None:
    file = model / "model.safetensors"
    file.write_bytes(content)
    message = refused(lambda: check_model(model))
    assert message == f"{file}: not a safetensors file (its header cannot be read); copy it again"


@pytest.mark.parametrize(
    "header",
    [
        '{"a": {"dtype": "F32", "shape": [1], "data_offsets": []}}',
        '{"a": {"data_offsets": [0, 0]}}',
        '{"a": {"shape": [1], "data_offsets": ["0", "4"]}}',
        "[" * 100_000,
    ],
    ids=["no offsets", "no shape", "offsets as text", "deep"],
)
def test_a_header_with_nonsense_in_it_is_refused(model: Path, header: str) -> None:
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode())
    assert "not a safetensors file" in refused(lambda: check_model(model))


def test_shards_must_all_be_there(model: Path) -> None:
    whole = read_shapes(model / "model.safetensors")
    first, second = shard(model)
    check_model(model)
    assert read_shapes(first) | read_shapes(second) == whole
    second.unlink()
    message = refused(lambda: check_model(model))
    assert message == f"model.path: {model} lacks {second.name}, which its index names; copy it again"
    first.write_bytes(first.read_bytes()[:-4])
    second.write_bytes(first.read_bytes())
    assert f"{first}: has " in refused(lambda: check_model(model))


@pytest.mark.parametrize("index", ["{", "{}", "[]", '{"weight_map": []}'])
def test_an_index_that_cannot_be_read_is_refused(model: Path, index: str) -> None:
    (model / "model.safetensors.index.json").write_text(index)
    assert "model.safetensors.index.json" in refused(lambda: check_model(model))


def test_the_shapes_are_those_of_the_tensors(models: Path) -> None:
    file = models / "gpt2" / "model.safetensors"
    assert read_shapes(file) == {name: list(tensor.shape) for name, tensor in load_file(file).items()}


# --- where a model is looked for


@pytest.mark.parametrize(
    "path", ["{}/tiyn", "./tiny-model", "~/no/such/model", "tiyn", "a/b/c", "../x/y", "with blank/x"]
)
def test_a_path_that_is_not_there_is_named(tmp_path: Path, path: str) -> None:
    path = path.format(tmp_path)
    message = refused(lambda: find_model(ModelConfig(path=path), offline=False))
    assert message == (
        f"model.path: no folder {path}; expected a model folder, or a hub id such as Qwen/Qwen2-7B-Instruct"
    )


def test_a_file_is_no_model(model: Path) -> None:
    path = str(model / "model.safetensors")
    message = refused(lambda: find_model(ModelConfig(path=path), offline=True))
    assert message == f"model.path: {path} is a file; expected a folder with config and weights, or a hub id"


def test_a_hub_id_that_is_not_in_the_cache_is_refused_offline(models: Path) -> None:
    name = "nobody-at-all/no-such-model-7b"
    message = refused(lambda: find_model(ModelConfig(path=name), offline=True))
    assert message == (
        f"model.path: no folder {name} here, and as a hub id it cannot be had: offline is true and the local cache "
        "does not hold it; copy the model folder to this machine and give its path"
    )
    config = ModelConfig(path=str(models / "tiny"), adapter=name)
    assert refused(lambda: find_model(config, offline=True)).startswith(f"model.adapter: no folder {name} here")


def test_a_hub_model_is_found_in_the_cache_offline_and_again_on_another_machine(models: Path, tmp_path: Path) -> None:
    """A cache as huggingface_hub lays it out; the second machine has its own, and takes the commit of the first."""
    commit = "a" * 40
    for machine in ("first", "second"):
        cached = tmp_path / machine / "hub" / "models--some--model"
        shutil.copytree(models / "tiny", cached / "snapshots" / commit)
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text(commit if machine == "first" else "b" * 40)
    code = """
import pickle, sys
from jmed.configuration.schema import ModelConfig
from jmed.models.source import find_here, find_model
config, file = ModelConfig(path="some/model"), sys.argv[1]
if len(sys.argv) == 2:
    source = find_model(config, offline=True)
    pickle.dump(source, open(file, "wb"))
else:
    source = find_here(pickle.load(open(file, "rb")), config, offline=True)
print(source.name, source.folder)
"""

    def run(machine: str, *arguments: str) -> str:
        environment = {**os.environ, "HF_HOME": str(tmp_path / machine)}
        command = [sys.executable, "-c", code, str(tmp_path / "source"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    where = "hub/models--some--model/snapshots"
    assert run("first") == f"some/model {tmp_path}/first/{where}/{commit}"
    shutil.rmtree(tmp_path / "first")
    assert run("second", "again") == f"some/model {tmp_path}/second/{where}/{commit}"


@pytest.mark.parametrize("name", ["my--model/x", "runs/-tiny", "a/b.git", "a/" + "b" * 100])
def test_a_name_that_no_hub_model_can_have_is_no_hub_id(name: str) -> None:
    assert f"no folder {name}" in refused(lambda: find_model(ModelConfig(path=name), offline=True))


# --- adapters


@pytest.mark.parametrize("name", ["tiny", "wide", "deep", "gpt2"])
def test_an_adapter_fits_its_own_base(models: Path, adapters: Path, name: str) -> None:
    check_adapter(adapters / name, models / name)


def test_an_adapter_of_every_layer_and_of_a_tied_head_fits(models: Path, adapters: Path) -> None:
    shapes = read_shapes(adapters / "head" / "adapter_model.safetensors")
    assert len(shapes) == 2 * 8
    assert sum("lm_head" in name for name in shapes) == 2
    check_adapter(adapters / "head", models / "tiny")


def test_an_adapter_fits_a_base_in_shards(model: Path, adapters: Path) -> None:
    shard(model)
    check_adapter(adapters / "head", model)
    assert "was trained for another base" in refused(lambda: check_adapter(adapters / "wide", model))


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_must_be_whole(model: Path, adapter: Path, name: str) -> None:
    (adapter / name).unlink()
    config = ModelConfig(path=str(model), adapter=str(adapter))
    message = refused(lambda: find_model(config, offline=True))
    assert message == f"model.adapter: {adapter} has no {name}; expected a folder in PEFT layout"


def test_a_pickled_or_cut_adapter_is_refused(model: Path, adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert f"{file}: has " in refused(lambda: check_adapter(adapter, model))
    file.rename(adapter / "adapter_model.bin")
    assert "has no adapter_model.safetensors" in refused(lambda: check_adapter(adapter, model))


def test_an_adapter_for_another_width_is_refused(models: Path, adapters: Path) -> None:
    message = refused(lambda: check_adapter(adapters / "wide", models / "tiny"))
    assert message == (
        f"model.adapter: {adapters / 'wide'} was trained for another base ({models / 'wide'}): its lora_A of "
        f"model.layers.0.self_attn.q_proj is 64 wide, but in {models / 'tiny'} model.layers.0.self_attn.q_proj has "
        "[32, 32]; give the base that the adapter was trained on"
    )
    assert "is 32 wide" in refused(lambda: check_adapter(adapters / "tiny", models / "wide"))


def test_an_adapter_for_other_modules_or_more_layers_is_refused(models: Path, adapters: Path) -> None:
    for name, base, module in (
        ("tiny", "gpt2", "model.layers.0.self_attn.q_proj"),
        ("gpt2", "tiny", "transformer.h.0.attn.c_attn"),
        ("deep", "tiny", "model.layers.1.self_attn.q_proj"),
    ):
        message = refused(partial(check_adapter, adapters / name, models / base))
        assert f"{adapters / name} was trained for another base ({models / name})" in message
        assert f"in {models / base} there is no {module}; give the base" in message


def test_both_sides_of_an_adapter_are_checked(model: Path, adapter: Path) -> None:
    """The value projection of a model with other key-value heads: the same width in, another out."""
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    name = "base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight"
    save_file({**tensors, name: torch.zeros(24, 4)}, file)
    message = refused(lambda: check_adapter(adapter, model))
    assert "its lora_B of model.layers.0.self_attn.v_proj is 24 wide, but in" in message
    assert "v_proj has [16, 32]" in message


def test_an_adapter_that_fits_only_sideways_is_refused(model: Path, adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    name = "base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight"
    save_file({**tensors, name: torch.zeros(32, 4)}, file)  # v_proj is [16, 32]: 16 out, 32 in
    refused(lambda: check_adapter(adapter, model))


def test_packed_weights_are_not_compared(model: Path, adapters: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))
    check_adapter(adapters / "wide", model)


@pytest.mark.parametrize("name", ["config.json", "adapter_config.json"])
def test_an_adapter_beside_a_broken_configuration_is_refused(
    model: Path, adapters: Path, tmp_path: Path, name: str
) -> None:
    other = shutil.copytree(adapters / "wide", tmp_path / "other")
    for folder in (model, other):
        if (folder / name).is_file():
            (folder / name).write_text("{")
    assert name in refused(lambda: check_adapter(other, model))


# --- fingerprints


def test_a_fingerprint_changes_with_every_byte_that_decides_an_answer(model: Path) -> None:
    before = fingerprint(model)
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= before.keys()
    assert "chat_template.jinja" in before
    assert all(len(digest) == 64 for digest in before.values())
    for name, digest in before.items():
        content = bytearray((model / name).read_bytes())
        content[len(content) // 2] ^= 1
        (model / name).write_bytes(content)
        after = fingerprint(model)
        assert after[name] != digest
        assert {key: value for key, value in after.items() if key != name} == {
            key: value for key, value in before.items() if key != name
        }
        content[len(content) // 2] ^= 1
        (model / name).write_bytes(content)
    assert fingerprint(model) == before


def test_a_fingerprint_does_not_know_where_the_model_lies_or_what_is_written_about_it(
    model: Path, models: Path
) -> None:
    (model / "README.md").write_text("words")
    (model / "lineage.json").write_text('{"created": "2026-01-01"}')
    (model / "training_args.bin").write_bytes(b"\x80")
    assert fingerprint(model) == fingerprint(models / "tiny")
    assert fingerprint(models / "tiny") != fingerprint(models / "deep")
