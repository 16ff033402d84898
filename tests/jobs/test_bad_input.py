"""What the user can mend: exit status 2, one message that says how, no traceback, nothing written, Ray not started."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from jmed.configuration.schema import EvaluateConfig
from jmed.evaluation.folder import EvaluationFolder
from jmed.evaluation.identity import evaluation_identity
from jmed.evaluation.plan import plan_evaluation
from jmed.models.source import find_model
from jmed.models.tiny import build_tiny_model
from tests.jobs.conftest import run_job

QUESTION = {"question_id": "q1", "language": "en", "question": "Which?", "choices": ["x", "y"], "answer": "a"}
Refused = Callable[..., str]


def flags(**keys: Any) -> list[str]:
    """`limit=3, model__path="m"` as `--limit 3 --model.path m`; a list as JSON."""
    found = []
    for key, value in keys.items():
        found += [f"--{key.replace('__', '.')}", json.dumps(value) if isinstance(value, list) else str(value)]
    return found


def jsonl(file: Path, *rows: Any) -> Path:
    """Write rows, one a line; text stands as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, the lock aside, with its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Run a job that must be refused; returns its message, without the name of the program.

    Checks what holds for every refusal: status 2, one line on standard error and nothing on standard output, no
    traceback, the output folder (`out`, if not given) as it was before, and no trace of a Ray.
    """

    def run(job: str, **keys: Any) -> str:
        keys = {"output_dir": tmp_path / "out", **keys}
        output, ray_folder = Path(keys["output_dir"]), tmp_path / "ray"
        before = contents(output) if output.is_dir() else None
        done = run_job(job, *flags(**keys), RAY_ADDRESS="", RAY_TMPDIR=str(ray_folder), COLUMNS="80")
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        assert done.stderr.startswith(f"{job}.py: ")
        assert done.stderr.count("\n") == 1
        assert (contents(output) if output.is_dir() else None) == before
        assert not ray_folder.exists()
        return done.stderr.removeprefix(f"{job}.py: ").rstrip("\n")

    return run


@pytest.fixture
def evaluate(refused: Refused, tiny_model: Path) -> Refused:
    """The evaluation job on the tiny model and the questions of jmed, with one mistake."""

    def run(**keys: Any) -> str:
        defaults = {"model__path": tiny_model, "benchmarks": ["mini"], "method": "letters", "offline": "true"}
        return refused("evaluate", **{**defaults, **keys})

    return run


@pytest.fixture
def score(refused: Refused, tmp_path: Path) -> Refused:
    """The scoring job on one answer to one question, with one mistake."""

    def run(**keys: Any) -> str:
        defaults = {
            "benchmark": f"jsonl:{jsonl(tmp_path / 'own.jsonl', QUESTION)}",
            "language": "en",
            "predictions": jsonl(tmp_path / "answers.jsonl", {"question_id": "q1", "prediction": "a"}),
        }
        return refused("score", **{**defaults, **keys})

    return run


# --- keys


def test_an_unknown_key_of_a_flag_or_a_file(evaluate: Refused, score: Refused, tmp_path: Path) -> None:
    assert evaluate(limt=3) == "unknown key --limt; did you mean 'limit'?; --help lists every key"
    assert score(benchmrk="mini") == "unknown key --benchmrk; did you mean 'benchmark'?; --help lists every key"
    file = tmp_path / "c.yaml"
    file.write_text("limit: 3\nworkers:\n  cout: 2\n")
    message = evaluate(config=file)
    assert message == f"{file}:3: unknown key 'workers.cout'; did you mean 'workers.count'?; --help lists every key"


def test_a_wrong_value_is_named_with_what_is_expected(evaluate: Refused, tmp_path: Path) -> None:
    message = evaluate(method="letter")
    assert message.startswith("--method: method: found 'letter'; expected: Input should be 'generate', 'letters' or")
    file = tmp_path / "c.yaml"
    file.write_text("\nlimit: ten\n")
    assert evaluate(config=file).startswith(f"{file}:2: limit: found 'ten'; expected: ")
    file.write_text("limit: [\n")
    assert evaluate(config=file).startswith(f"{file}:2: not YAML: ")


# --- benchmarks


def test_an_unknown_benchmark_is_named_with_the_nearest(evaluate: Refused, score: Refused, tmp_path: Path) -> None:
    message = evaluate(benchmarks=["mini", "igakqa"])
    assert message.startswith("benchmark 'igakqa' is not known; did you mean 'igakuqa'? Known: igakuqa, jmmlu, ")
    assert score(benchmark="mini2").startswith("benchmark 'mini2' is not known; did you mean 'mini'?")
    missing = tmp_path / "none.jsonl"
    assert score(benchmark=f"jsonl:{missing}") == f"benchmark 'jsonl:{missing}': there is no file {missing}"


def test_missing_data_are_named_with_the_path_and_the_publisher(
    evaluate: Refused, score: Refused, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    message = evaluate(benchmarks=["igakuqa-2018"], data_root=root)
    assert f"files are missing; looked for {root / 'igakuqa/data/2018/112-A.jsonl'}" in message
    assert "It is published at github.com/jungokasai/IgakuQA" in message
    assert f"python -m jmed.data fetch igakuqa --data_root {root}" in message
    message = score(benchmark="medqa", data_root=root)
    assert f"looked for {root / 'medqa/phrases_no_exclude_test.jsonl'}" in message
    assert "published at github.com/jind11/MedQA" in message
    message = score(benchmark="medqa", data_root=tmp_path / "dta")
    assert message.startswith(f"data_root: there is no folder {tmp_path / 'dta'}; benchmark 'medqa' was looked for at ")
    assert "published at github.com/jind11/MedQA" in message


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in QUESTION.items() if name != key}


WRONG_LINES: dict[str, tuple[list[Any], str]] = {
    "not JSON": (
        [QUESTION, '{"question_id": "q2",'],
        "{file}:2: not JSON: Expecting property name enclosed in double quotes at column 22; expected a JSON object",
    ),
    "a field missing": (
        [QUESTION, "", without("choices")],
        "{file}:3: field 'choices' is missing; fields found: question_id, language, question, answer",
    ),
    "a letter that no choice has": (
        [{**QUESTION, "answer": "c"}],
        "{file}:1: the answer 'c' of question 'q1' is none of its 2 choices; expected a to b",
    ),
    "an id twice": (
        [QUESTION, {**QUESTION, "question_id": "q2"}, QUESTION],
        "{file}:3: question 'q1' (en) is already at {file}:1; expected it once",
    ),
    "no lines": ([], "benchmark 'jsonl:{file}' holds no questions in en: {file}"),
}


@pytest.mark.parametrize("wrong", WRONG_LINES)
def test_a_wrong_line_is_named_with_its_file_and_number(score: Refused, tmp_path: Path, wrong: str) -> None:
    rows, expected = WRONG_LINES[wrong]
    file = jsonl(tmp_path / "wrong.jsonl", *rows)
    assert score(benchmark=f"jsonl:{file}") == expected.format(file=file)


@pytest.mark.parametrize("wrong", ["not JSON", "an id twice", "no lines"])
def test_the_evaluation_says_the_same(evaluate: Refused, tmp_path: Path, wrong: str) -> None:
    """The same reader stands behind both jobs; here are the places where the evaluation reads on its own."""
    rows, expected = WRONG_LINES[wrong]
    file = jsonl(tmp_path / "wrong.jsonl", *rows)
    assert evaluate(benchmarks=["mini", f"jsonl:{file}"], languages=["en"]) == expected.format(file=file)


def test_a_language_that_a_benchmark_lacks(evaluate: Refused, score: Refused, tmp_path: Path) -> None:
    name = f"jsonl:{jsonl(tmp_path / 'english.jsonl', QUESTION)}"
    assert evaluate(benchmarks=["mini", name], languages=["ja"]) == f"languages: {name} has only en, not ja"
    assert score(benchmark=name, language="ja") == f"benchmark {name!r} has no questions in 'ja'; it has en"


# --- prompts


def test_a_template_without_a_placeholder(evaluate: Refused, tmp_path: Path) -> None:
    file = tmp_path / "prompts.yaml"
    file.write_text('mine: "{question} Answer:"\n')
    message = evaluate(prompt_file=file, prompt="mine", method="generate")
    assert message == (
        f"{file}: template 'mine' lacks the placeholder {{choices}} or {{input}}, where the choices would stand"
    )


# --- models and adapters


@pytest.fixture(scope="module")
def wide_adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real LoRA adapter of a model twice as wide as the tiny one."""
    folder = tmp_path_factory.mktemp("wide")
    base = build_tiny_model(folder / "base", AutoTokenizer.from_pretrained(tiny_model), hidden=128, layers=1)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=2, target_modules=["q_proj"]))
    model.save_pretrained(folder / "adapter")
    return folder / "adapter"


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda model: (model / "model.safetensors").unlink(), "has no weights; expected model.safetensors or its"),
        (lambda model: (model / "tokenizer.json").unlink(), "has no tokenizer; expected one of tokenizer.json, "),
        (
            lambda model: (model / "config.json").unlink(),
            "has no config.json; expected a folder in transformers layout",
        ),
        (lambda model: os.truncate(model / "model.safetensors", 500_000), "has 500,000 bytes, its header says"),
        (shutil.rmtree, "; expected a model folder, or a hub id such as"),
    ],
    ids=["weights", "tokenizer", "config", "cut short", "gone"],
)
def test_a_model_that_is_not_whole(
    evaluate: Refused, tiny_model: Path, tmp_path: Path, damage: Callable[[Path], Any], expected: str
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    damage(model)
    message = evaluate(model__path=model)
    assert str(model) in message
    assert expected in message


def test_a_hub_model_that_is_not_here(evaluate: Refused) -> None:
    message = evaluate(model__path="nobody-at-all/no-such-model-7b")
    assert message.startswith("model.path: no folder nobody-at-all/no-such-model-7b here, and as a hub id it cannot")


def test_an_adapter_for_another_base(evaluate: Refused, tiny_model: Path, wide_adapter: Path) -> None:
    message = evaluate(model__adapter=wide_adapter)
    assert message.startswith(
        f"model.adapter: {wide_adapter} was trained for another base ({wide_adapter.parent}/base)"
    )
    assert "its lora_A of model.layers.0.self_attn.q_proj is 128 wide" in message
    assert f"but in {tiny_model} model.layers.0.self_attn.q_proj has [64, 64]" in message
    assert evaluate(model__adapter=tiny_model).startswith(f"model.adapter: {tiny_model} has no adapter_config.json")


# --- the output folder


def test_an_output_folder_that_cannot_be_written(evaluate: Refused, score: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    output = tmp_path / "file" / "out"
    expected = f"output_dir: {output} cannot be written (Not a directory); give another folder"
    assert evaluate(output_dir=output) == expected
    assert score(output_dir=output) == expected
    assert (tmp_path / "file").read_text() == "mine"


def test_the_output_folder_of_another_evaluation(evaluate: Refused, tiny_model: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"benchmarks": ["mini"], "method": "letters", "limit": 5}
    config = EvaluateConfig.model_validate({**keys, "model": {"path": str(tiny_model)}, "output_dir": "o"})
    source = find_model(config.model, offline=True)
    plan = plan_evaluation(config, AutoTokenizer.from_pretrained(tiny_model), 4096)
    folder = EvaluationFolder(tmp_path / "out", evaluation_identity(config, source, plan))
    with folder.claim():
        folder.begin(config, {})
    assert evaluate(**{**keys, "limit": 4}) == (
        f"output_dir: {folder.path} belongs to a run with another configuration (limit: 5 there, 4 here); "
        "give another folder, or the configuration of that run"
    )


def test_a_relative_output_folder_in_a_submitted_job(tiny_model: Path) -> None:
    keys = flags(model__path=tiny_model, benchmarks=["mini"], output_dir="runs/lost")
    done = run_job("evaluate", *keys, RAY_JOB_CONFIG_JSON_ENV_VAR="{}")
    assert done.returncode == 2
    assert done.stderr.startswith("evaluate.py: output_dir: runs/lost is relative, and a submitted job runs in a ")
    assert "give an absolute path" in done.stderr


# --- answers that were produced elsewhere


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            [{"question_id": "mini-001", "prediction": "a"}, {"question_id": "mini-0002", "prediction": "a"}],
            "{file}:2: question 'mini-0002' is not in mini; did you mean 'mini-002'?; expected answers to this",
        ),
        (
            [{"problem_id": "mini-001", "prediction": "a"}, {"question_id": "mini-001", "response": "b"}],
            "{file}:2: question 'mini-001' was answered already at {file}:1; keep one",
        ),
        (
            [{"question_id": "mini-001", "answer": "a"}],
            "{file}:1: expected either 'prediction' (letters) or 'response' (free text); found question_id, answer",
        ),
        (
            [{"question_id": "mini-001", "prediction": "a", "response": "a"}],
            "{file}:1: expected either 'prediction' (letters) or 'response' (free text); found prediction and response",
        ),
        (
            [{"id": "mini-001", "prediction": "a"}],
            "{file}:1: field 'question_id' (or 'problem_id') is missing; found id, prediction",
        ),
        ([{"question_id": "mini-001", "prediction": ["a"]}], "{file}:1: field 'prediction' is a list; expected text"),
        (["{"], "{file}:1: not JSON: Expecting property name enclosed in double quotes at column"),
        ([], "predictions: {file} hold no lines; expected one answer a line"),
    ],
    ids=["unknown", "twice", "neither", "both", "no id", "a list", "not JSON", "no lines"],
)
def test_a_wrong_answer_file(score: Refused, tmp_path: Path, lines: list[Any], expected: str) -> None:
    file = jsonl(tmp_path / "wrong.jsonl", *lines)
    assert expected.format(file=file) in score(benchmark="mini", predictions=file)


def test_no_answer_file_at_all(score: Refused, tmp_path: Path) -> None:
    pattern = tmp_path / "*.josnl"
    assert score(predictions=pattern).startswith(f"predictions: no file matches '{pattern}'; expected a path or glob")


def test_after_mending_the_same_folder_serves_and_then_belongs_to_that_run(score: Refused, tmp_path: Path) -> None:
    """A refusal leaves nothing that a later run would take for its own, and no later run is taken for another."""
    output, file = tmp_path / "out", tmp_path / "wrong.jsonl"
    jsonl(file, {"question_id": "q1", "prediction": "a"}, "{")
    assert f"{file}:2: not JSON" in score(predictions=file)
    jsonl(file, {"question_id": "q1", "prediction": "a"})
    keys = {"benchmark": f"jsonl:{tmp_path / 'own.jsonl'}", "language": "en", "predictions": file}
    done = run_job("score", *flags(output_dir=output, **keys))
    assert done.returncode == 0, done.stderr
    scores = json.loads((output / "results.json").read_text("utf-8"))["scores"]
    assert [(one["correct"], one["n"]) for one in scores] == [(1, 1)]
    assert score(predictions=file, name="another") == (
        f"output_dir: {output} belongs to a run with another configuration (name: imported there, another here); "
        "give another folder, or the configuration of that run"
    )
    jsonl(file, {"question_id": "q1", "prediction": "b"})
    assert "another configuration (predictions.wrong.jsonl: " in score(predictions=file)


def test_every_answer_file_counts_also_where_names_repeat(score: Refused, tmp_path: Path) -> None:
    own = jsonl(tmp_path / "two.jsonl", QUESTION, {**QUESTION, "question_id": "q2"})
    for block, question_id in (("a", "q1"), ("b", "q2")):
        (tmp_path / block).mkdir()
        jsonl(tmp_path / block / "answers.jsonl", {"question_id": question_id, "prediction": "a"})
    keys = {"benchmark": f"jsonl:{own}", "language": "en", "predictions": tmp_path / "?" / "answers.jsonl"}
    assert run_job("score", *flags(output_dir=tmp_path / "out", **keys)).returncode == 0
    jsonl(tmp_path / "a" / "answers.jsonl", {"question_id": "q1", "prediction": "b"})
    assert "another configuration" in score(**keys)


# --- the one mistake that only a cluster shows


@pytest.mark.jobs
def test_more_workers_than_the_cluster_has(tiny_model: Path, tmp_path: Path) -> None:
    """Here Ray does start, and leaves its folder: so the folder's absence above says that it did not."""
    output = tmp_path / "out"
    ray_folder = Path(tempfile.mkdtemp(prefix="jmed-ray-"))  # short: Ray puts sockets there, whose paths have a limit
    (ray_folder / "ray").mkdir()
    (ray_folder / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")  # of a cluster that is gone
    keys = flags(model__path=tiny_model, benchmarks=["mini"], method="letters", output_dir=output, workers__count=999)
    done = run_job("evaluate", *keys, RAY_ADDRESS="", RAY_TMPDIR=str(ray_folder))
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("evaluate.py: workers: 999 workers of 1 CPUs and 0 GPUs asked for, the cluster has ")
    assert done.stderr.count("\n") == 1
    assert any(ray_folder.iterdir())
    assert not contents(output)
    shutil.rmtree(ray_folder, ignore_errors=True)
