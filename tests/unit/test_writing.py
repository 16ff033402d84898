"""What full training leaves: its weights as the base stores them, all else as the base has it, readable by others."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from jmed.errors import UserError
from jmed.models import writing
from jmed.models.source import find_model, fingerprint, stored_dtype
from jmed.training.backend import Backend
from jmed.training.checkpoints import write_together
from jmed.training.fence import Fence
from jmed.training.files import BEST, RESULT, STATE
from jmed.training.loop import Loop
from jmed.training.model import load_learner
from jmed.training.run import Job, _leave_result, make_backend
from jmed.training.schedule import Schedule
from tests.unit.training_kit import configured, sequences, tiny

FULL: dict[str, Any] = {"tuning": "full", "zero": {"stage": 0}, "learning_rate": 1e-3, "epochs": 1}
SAME = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json", "LICENSE")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in bfloat16 as transformers 4 wrote it, with settings that transformers 5 would write otherwise."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(tiny(folder / "wide", hidden=32), folder / "base")
    AutoModelForCausalLM.from_pretrained(folder / "wide", dtype=torch.bfloat16).save_pretrained(folder / "base")
    file = folder / "base" / "config.json"
    config = json.loads(file.read_text("utf-8"))
    del config["dtype"], config["rope_parameters"]
    config |= {"rope_theta": 5e5, "torch_dtype": "bfloat16", "transformers_version": "4.41.2"}
    file.write_text(json.dumps(config), "utf-8")
    settings = {"eos_token_id": [1, 2], "do_sample": False, "temperature": 0.5, "repetition_penalty": 1.1}
    (folder / "base" / "generation_config.json").write_text(json.dumps(settings), "utf-8")
    (folder / "base" / "LICENSE").write_text("terms", "utf-8")
    return folder / "base"


def train(model: Path, folder: Path, **keys: Any) -> tuple[Path, Backend]:
    """A run of one worker to its end; the folder of the result, and the backend."""
    config = configured(model, **keys)
    source = find_model(config.model, True)
    loaded = load_learner(source, config, torch.device("cpu"))
    backend = make_backend(loaded, config, torch.float32)
    work = folder / "unfinished"
    work.mkdir(parents=True)
    fence = Fence.new(work / "attempt")
    Loop(config, backend, Schedule(sequences(), config), None, folder, work, fence, loaded.pad_id).run()  # type: ignore[arg-type]
    if config.checkpoint.keep == "best":
        write_together(backend, work / BEST, backend.export, {"step": 1, "accuracy": 0.5})
    _leave_result(Job(config, source, folder, work, fence, None), backend, loaded, source)
    return work / RESULT, backend


def modes(folder: Path) -> set[int]:
    return {file.stat().st_mode & 0o777 for file in folder.iterdir() if file.is_file()}


@pytest.fixture(scope="module", params=["last", "best"])
def trained(request: Any, base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Backend]:
    more = {} if request.param == "last" else {"evaluate": {"benchmarks": ["mini"]}}
    keep = {"checkpoint": {"every_steps": 2, "keep": request.param}, **more}
    return train(base, tmp_path_factory.mktemp("run"), **FULL, **keep)


def test_weights_are_rounded_once_to_what_the_base_stores(base: Path, trained: tuple[Path, Backend]) -> None:
    folder, backend = trained
    weights = load_file(folder / "model.safetensors")
    before = load_file(base / "model.safetensors")
    assert weights.keys() == before.keys()
    assert "lm_head.weight" not in weights  # tied
    exact = {name: weight.detach() for name, weight in backend.model.named_parameters()}
    assert {weight.dtype for weight in exact.values()} == {torch.float32}
    for name, weight in weights.items():
        assert weight.dtype == torch.bfloat16
        assert torch.equal(weight, exact[name].to(torch.bfloat16))
    assert any(not torch.equal(weights[name], before[name]) for name in weights)


def test_all_else_is_as_the_base_has_it(base: Path, trained: tuple[Path, Backend]) -> None:
    folder, _ = trained
    own = json.loads((base / "config.json").read_text("utf-8"))
    assert json.loads((folder / "config.json").read_text("utf-8")) == own
    for name in SAME:
        assert (folder / name).read_bytes() == (base / name).read_bytes()
    assert {file.name for file in folder.iterdir()} == {"config.json", "model.safetensors", STATE, *SAME}
    changed = {name for name, digest in fingerprint(base).items() if fingerprint(folder)[name] != digest}
    assert changed == {"config.json", "model.safetensors"}  # the first in its spaces alone


def test_others_may_read_it(trained: tuple[Path, Backend], tmp_path: Path) -> None:
    (tmp_path / "any").touch()
    assert modes(trained[0]) == modes(tmp_path)


def test_plain_transformers_loads_it(trained: tuple[Path, Backend]) -> None:
    folder, backend = trained
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.dtype == torch.bfloat16
    assert model.config.rope_parameters["rope_theta"] == 5e5
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    ids = AutoTokenizer.from_pretrained(folder)("アスピリン", return_tensors="pt").input_ids
    backend.model.eval()
    with torch.no_grad():
        wide = model.float()(input_ids=ids).logits
        assert (wide - backend.model(input_ids=ids).logits).abs().max() < 0.05 * wide.abs().max()


def test_a_base_in_float32_stays_so_and_a_large_model_comes_in_shards(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "SHARD", "40KB")
    folder, backend = train(base.with_name("wide"), tmp_path, **FULL)
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    assert len(modes(folder)) == 1
    assert stored_dtype(folder) == "float32"
    model = AutoModelForCausalLM.from_pretrained(folder)
    exact = dict(backend.model.named_parameters())
    assert all(torch.equal(weight, exact[name]) for name, weight in model.named_parameters())


def test_weights_that_the_dtype_cannot_hold_are_refused(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base.with_name("wide"), tmp_path / "half")
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16).save_pretrained(folder)
    config = configured(folder, **FULL)
    loaded = load_learner(find_model(config.model, True), config, torch.device("cpu"))
    backend = make_backend(loaded, config, torch.float32)
    with torch.no_grad():
        loaded.model.model.norm.weight[0] = 1e5
    with pytest.raises(UserError, match=r"its files are float16, which cannot hold .*norm.weight \(1 to 100000\)"):
        backend.export(tmp_path / "out")


def test_an_adapter_is_readable_too(base: Path, tmp_path: Path) -> None:
    folder, _ = train(base, tmp_path, epochs=1)
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= {
        file.name for file in folder.iterdir()
    }
    assert len(modes(folder)) == 1


class Alone:
    """As much of a backend as a checkpoint needs."""

    rank = 0


def test_a_full_disk_under_safetensors_is_the_users_to_mend(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(UserError, match=r"a checkpoint could not be written .*No space left on device"):
        write_together(Alone(), tmp_path / "step", write, {})  # type: ignore[arg-type]
    assert not (tmp_path / "step").exists()
