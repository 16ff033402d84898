"""Flags and file into one typed configuration, and errors that name key, place, what was found and expected."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from jmed.configuration.command import parse
from jmed.configuration.finetune import FinetuneConfig, MergeConfig
from jmed.configuration.job import run_job
from jmed.configuration.schema import CompareConfig, EvaluateConfig, ScoreConfig
from jmed.errors import UserError
from tests.conftest import ROOT, seconds_of_children

REQUIRED = ["--model.path", "m", "--benchmarks", '["mini"]', "--output_dir", "out"]


def read(*arguments: str) -> EvaluateConfig:
    return parse(EvaluateConfig, "evaluate.py", [*REQUIRED, *arguments])


def message(model: type[BaseModel], *arguments: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(model, "job", arguments)
    return str(caught.value)


def test_flags_alone_are_enough() -> None:
    config = read("--workers.count", "2", "--languages", '["en"]', "--offline", "--limit", "3")
    assert (config.workers.count, config.languages, config.offline, config.limit) == (2, ["en"], True, 3)


def test_a_flag_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("limit: 5\nshots: 2\nmodel: {path: other, dtype: float32}\nworkers:\n  cpus: 2\n")
    config = read("--config", str(file), "--limit", "7", "--workers.count", "3")
    assert (config.limit, config.shots, config.model.path, config.model.dtype) == (7, 2, "m", "float32")
    assert (config.workers.cpus, config.workers.count) == (2, 3)


def test_defaults_are_those_of_the_contract() -> None:
    config = read()
    assert (config.languages, config.method, config.scoring) == (["ja", "en"], "generate", "strict")
    assert (config.model.quantization, config.model.dtype, config.workers.count) == ("none", "auto", "auto")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("limt: 3", "{file}:1: unknown key 'limt'; did you mean 'limit'?"),
        ("model:\n  pth: x", "{file}:2: unknown key 'model.pth'; did you mean 'model.path'?"),
        ("\nmethod: letter", "{file}:2: method: found 'letter'; expected: Input should be 'generate', 'letters'"),
        ("workers: {count: 0}", "{file}:1: workers.count: found 0; expected: Input should be greater than 0"),
        ("limit: 1\nlimit: 2", "{file}:2: key 'limit' stands already in line 1"),
        ("limit: [", "{file}:1: not YAML"),
        ("- limit", "{file}:1: found list; expected keys and values"),
        ("languages: [fr]", "{file}:1: languages: found 'fr'; expected: Input should be 'ja' or 'en'"),
        ("model: 3", "{file}:1: model: found 3"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    arguments = ["--config", str(file), "--benchmarks", '["mini"]', "--output_dir", "o"]
    given = [] if "model" in text else ["--model.path", "m"]
    assert expected.format(file=file) in message(EvaluateConfig, *arguments, *given)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--modl.path", "x"], "unknown key --modl.path; did you mean 'model.path'?"),
        (["--limit", "ten"], "--limit: limit: found 'ten'"),
        (["--benchmarks", "mini"], "a list on the command line is JSON"),
        (["--limit"], "argument --limit: expected one argument"),
        (["mini"], "unexpected argument 'mini'"),
        (["--config", "missing.yaml"], "missing.yaml: cannot be read"),
        ([], "model.path is required: give --model.path VALUE"),
    ],
)
def test_a_wrong_flag_is_named(arguments: list[str], expected: str) -> None:
    assert expected in message(EvaluateConfig, *arguments)


INSTRUCT = ["--model.path", "m", "--output_dir", "o", "--stage", "instruct"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (['[{"path": "x"}]'], "--data: data[0]: found {'path': 'x'}; expected: \"format\" (text, alpaca, chat, mcqa)"),
        (['[{"path": "x", "format": "mcqa", "weigth": 1}]'], "unknown key 'data[0].weigth'; did you mean 'weight'?"),
        (['[{"path": "x", "format": "csv"}]'], "--data: data[0].format: found 'csv'; expected: Input should be 'text'"),
        (
            ['[{"benchmark": "mini", "weight": 0}]'],
            "--data: data[0].weight: found 0; expected: Input should be greater",
        ),
        (['[{"path": "x", "format": "text"}]'], "--data: data[0]: found format 'text'; stage instruct takes alpaca"),
        (["[]"], "--data: data: found []; expected"),
    ],
)
def test_an_item_of_a_list_is_named_by_its_place(arguments: list[str], expected: str) -> None:
    assert expected in message(FinetuneConfig, *INSTRUCT, "--data", *arguments)


def test_a_rule_between_keys_names_the_line_of_the_one_to_change(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("data: [{path: x, format: mcqa}]\ntuning: full\nworkers:\n  count: [1, 2]\n")
    found = message(FinetuneConfig, *INSTRUCT, "--config", str(file))
    assert found.startswith(f"{file}:4: workers.count: [min, max] needs tuning lora or qlora")


def test_merging_needs_an_adapter_and_a_base_in_16_bits() -> None:
    needed = ["--model.path", "m", "--output_dir", "o"]
    assert "model.adapter is required" in message(MergeConfig, *needed)
    assert "never into a 4-bit one" in message(
        MergeConfig, *needed, "--model.adapter", "a", "--model.quantization", "nf4"
    )


@pytest.mark.parametrize("file", sorted(ROOT.glob("configs/**/*.yaml")), ids=lambda file: file.parent.name + file.name)
def test_every_shipped_configuration_is_valid(file: Path) -> None:
    text = file.read_text("utf-8")
    job = FinetuneConfig if "\nstage:" in text else CompareConfig if "\nruns:" in text else EvaluateConfig
    parse(job, "job", ["--config", str(file)])


@pytest.mark.parametrize("job", ["evaluate", "score", "finetune", "merge", "compare"])
def test_help_is_fast_and_complete(job: str) -> None:
    """Under a second of the processor (the machine may be busy), and every key with type and meaning."""
    before = seconds_of_children()
    done = subprocess.run(
        [sys.executable, f"jobs/{job}.py", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert seconds_of_children() - before < 1
    models = {"evaluate": EvaluateConfig, "score": ScoreConfig, "finetune": FinetuneConfig, "merge": MergeConfig}
    model = {**models, "compare": CompareConfig}[job]
    for name, field in model.model_fields.items():
        assert f"--{name}" in done.stdout
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            assert str(field.description)[:60] in done.stdout


def test_importing_jmed_and_its_configuration_loads_neither_torch_nor_ray() -> None:
    code = "import sys, jmed.configuration.job, jmed.configuration.schema; print({'torch', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("job", "more"),
    [
        ("evaluate", ["--benchmarks", '["mini"]']),
        ("finetune", ["--stage", "instruct", "--data", '[{"benchmark": "mini"}]']),
    ],
)
def test_a_model_that_is_not_there_is_told_before_torch_and_ray_are_imported(
    tmp_path: Path, job: str, more: list[str]
) -> None:
    """That takes seconds."""
    code = (
        "import runpy, sys\n"
        f"try: runpy.run_path('jobs/{job}.py', run_name='__main__')\n"
        "except SystemExit as end: print(end.code, {'torch', 'ray'} & set(sys.modules))"
    )
    keys = ["--model.path", str(tmp_path / "nowhere"), "--output_dir", str(tmp_path / "run"), *more]
    done = subprocess.run([sys.executable, "-c", code, *keys], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "model.path: no folder" in done.stderr
    assert done.stdout.strip() == "2 set()"


@pytest.mark.parametrize(("output_dir", "status"), [("runs/lost", 2), ("/runs/kept", 0), ("~/kept", 0)])
@pytest.mark.parametrize("submitted", [True, False])
def test_a_submitted_job_must_not_write_into_its_copy_of_the_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output_dir: str, status: int, submitted: bool
) -> None:
    """Before anything is done, and for every job alike."""
    keys = ["--model.path", "base", "--model.adapter", "adapter", "--output_dir", output_dir]
    monkeypatch.setattr(sys, "argv", ["merge.py", *keys])
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}" if submitted else "")
    worked: list[MergeConfig] = []
    refused = submitted and status == 2
    assert run_job("merge.py", MergeConfig, worked.append) == (2 if refused else 0)
    assert bool(worked) is not refused
    said = capsys.readouterr().err
    assert said.startswith("merge.py: output_dir: runs/lost is relative, and a submitted job" if refused else "")
    assert bool(said) is refused
