"""Files that strangers wrote: whatever is in them, a clear message or plain data, little memory and no wait."""

import ast
import gzip
import json
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jmed.configuration.command import parse
from jmed.configuration.schema import EvaluateConfig, ModelConfig, ScoreConfig
from jmed.data import catalogue
from jmed.data.corpora import read_examples
from jmed.data.lines import MAX_NAME, read_csv, read_jsonl, read_object
from jmed.errors import UserError
from jmed.evaluation.folder import is_answered
from jmed.evaluation.imported import read_predictions, score
from jmed.evaluation.table import RAW_ANSWERS
from jmed.models.source import find_model
from jmed.models.tiny import build_tiny_model, train_tokenizer
from jmed.prompts.template import find_template
from jmed.report.terminal import print_results
from jmed.runs.files import write_table
from jmed.runs.hashes import sha256_file
from jmed.untrusted import MAX_BYTES, MAX_MESSAGE, message, printable, shown
from tests.conftest import ROOT

Reader = Callable[[Path], Any]
FORMATS = ("text", "alpaca", "chat", "mcqa")
DATA_READERS: dict[str, Reader] = {
    "lines": lambda file: list(read_jsonl(file)),
    "object": read_object,
    "csv": lambda file: list(read_csv(file, ["x", "y"])),
    "questions": lambda file: catalogue.load(f"jsonl:{file}", "en", None),
    "predictions": lambda file: read_predictions([file], [], "mini"),
    **{format: lambda file, format=format: list(read_examples(file, format, None)) for format in FORMATS},
}
YAML_READERS: dict[str, Reader] = {
    "config": lambda file: parse(ScoreConfig, "score.py", ["--config", str(file)]),
    "prompt_file": lambda file: find_template("mine", "en", "mini", str(file)),
}
READERS = {**DATA_READERS, **YAML_READERS}
ROW = {"question_id": "q1", "language": "en", "question": "Which?", "choices": ["x", "y"], "answer": "a"}
MOST_MEMORY = 250 * 1024**2  # bytes of a process that reads; importing what the readers need takes some 100 MB
EVIL = "\x1b]0;owned\x07\x1b[2Jq\r\u202e\x00\x85\u2028x"  # escape sequences, writing reversed, line ends


@pytest.fixture(autouse=True)
def no_wait() -> Iterator[None]:
    """No test waits for ever: a pipe that is opened the usual way does."""

    def give_up(*_: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)


def refused(work: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        work()
    return str(caught.value)


def write_rows(file: Path, *rows: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


# --- files that are no text


def make_parquet(file: Path) -> None:
    pq.write_table(pa.table({"question": ["Which?"]}), file)


def make_parquet_bomb(file: Path) -> None:
    """A few kilobytes that unpack to a gigabyte."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["x" * 1_000_000]))
    pq.write_table(pa.table({"question": text}), file, compression="zstd")
    assert file.stat().st_size < 10_000


def make_gzip(file: Path) -> None:
    file.write_bytes(gzip.compress(b"\0" * 10_000_000))


def make_workbook(file: Path) -> None:
    file.write_bytes(b"PK\x03\x04" + b"\0" * 100)


@pytest.mark.parametrize("reader", DATA_READERS)
@pytest.mark.parametrize(
    ("make", "found"),
    [
        (make_parquet, "a Parquet file"),
        (make_parquet_bomb, "a Parquet file"),
        (make_gzip, "compressed by gzip"),
        (make_workbook, "a zip archive (as Excel files are)"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, make: Reader, found: str, reader: str) -> None:
    file = tmp_path / "data"
    make(file)
    expected = "expected plain UTF-8 text (JSON lines, JSON or CSV): convert or unpack it"
    assert refused(lambda: READERS[reader](file)) == f"{file}: is {found}; {expected}"


@pytest.mark.parametrize("reader", READERS)
def test_pipes_devices_and_folders_are_refused_at_once(tmp_path: Path, reader: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        found = refused(lambda file=tmp_path / name: READERS[reader](file))
        assert "it is a pipe or a device; expected a file" in found
        assert name in found
    assert "Is a directory" in refused(lambda: READERS[reader](tmp_path))


def test_hashing_does_not_wait_either(tmp_path: Path) -> None:
    """Training data are hashed before they are read."""
    os.mkfifo(tmp_path / "pipe")
    assert refused(lambda: sha256_file(tmp_path / "pipe")).endswith("it is a pipe or a device; expected a file")
    assert refused(lambda: sha256_file(Path("/dev/zero"))).endswith("it is a pipe or a device; expected a file")


READ_ALL = """
import sys
from pathlib import Path
from tests.unit.test_hostile import READERS
from jmed.errors import UserError
for name, read in READERS.items():
    try:
        read(Path(sys.argv[1]))
    except UserError as error:
        print(name, error)
"""


def measured(arguments: list[str]) -> tuple[list[str], int]:
    """The lines that a process printed and the most memory that it held, in bytes."""
    with subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return lines, usage.ru_maxrss * 1024


def test_a_line_of_a_gigabyte_is_refused_in_little_memory(tmp_path: Path) -> None:
    """And a file of a gigabyte, where a format is read as a whole."""
    file = tmp_path / "long"
    with file.open("wb") as stream:
        stream.write(b'{"question_id": "')
        stream.truncate(1024**3)
    _, importing = measured(["-c", "import tests.unit.test_hostile"])
    lines, memory = measured(["-c", READ_ALL, str(file)])
    assert [line.split()[0] for line in lines] == list(READERS)
    for line in lines:
        name, found = line.split(" ", 1)
        if name in YAML_READERS:
            assert "it is larger than 256 KiB" in found
        elif name in ("object", "csv"):
            assert found == f"{file}: is larger than 16 MiB; expected a benchmark's file, which is smaller"
        else:
            assert found == f"{file}:1: the line is longer than 16 MiB; expected one object a line"
    assert memory - importing < 4 * MAX_BYTES


def test_a_line_below_the_limit_is_read(tmp_path: Path) -> None:
    long = "x" * (MAX_BYTES - 100)
    (example,) = read_examples(write_rows(tmp_path / "long", {"text": long}), "text", None)
    assert example.text == long


# --- files that grow while they are parsed


@pytest.mark.parametrize("reader", YAML_READERS)
def test_a_yaml_file_of_aliases_is_refused(tmp_path: Path, reader: str) -> None:
    """The "billion laughs": 40 lines that stand for 10^40 values."""
    bomb = 'a0: &a0 ["ha"]\n' + "".join(
        f"a{n}: &a{n} {{{', '.join(f'k{i}: *a{n - 1}' for i in range(10))}}}\n" for n in range(1, 40)
    )
    file = tmp_path / "bomb.yaml"
    file.write_text(bomb)
    found = refused(lambda: YAML_READERS[reader](file))
    assert "found the alias *a0; write its value out" in found
    file.write_text("base: &b {x: 1}\nlimit:\n  <<: *b\n")
    assert "found the alias *b" in refused(lambda: YAML_READERS[reader](file))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": ' * 20_000, "- " * 20_000 + "x"])
def test_endless_nesting_is_refused(tmp_path: Path, reader: str, content: str) -> None:
    file = tmp_path / "deep"
    file.write_text(content)
    assert str(file) in refused(lambda: READERS[reader](file))


def test_nesting_on_the_command_line() -> None:
    arguments = ["--model.path", "m", "--output_dir", "o", "--benchmarks", "[" * 100_000]
    assert "--benchmarks: benchmarks: found" in refused(lambda: parse(EvaluateConfig, "evaluate.py", arguments))


def test_a_repeated_field_among_very_many_is_found_soon(tmp_path: Path) -> None:
    file = tmp_path / "data"
    names = [f'"{n}": 1' for n in range(200_000)]
    file.write_text("{" + ", ".join([*names, names[-1]]) + "}\n")
    begun = time.monotonic()
    assert "field '199999' appears twice" in refused(lambda: list(read_jsonl(file)))
    assert time.monotonic() - begun < 10


# --- names


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("q\x1b[2J", r"holds the sign \x1b"),
        ("a\0b", r"holds the sign \x00"),
        ("q\n1", r"holds the sign \n"),
        ("q\u202e1", r"holds the sign \u202e"),
        ("q\u20281", r"holds the sign \u2028"),
        ("q" * 10_000_000, f"has 10,000,000 characters; expected at most {MAX_NAME}"),
        (" \u3000", "is empty; expected text"),
    ],
)
def test_ids_that_could_not_be_shown_are_refused(tmp_path: Path, name: str, found: str) -> None:
    questions = write_rows(tmp_path / "own", {**ROW, "question_id": name})
    assert f"own:1: field 'question_id' {found}" in refused(lambda: catalogue.load(f"jsonl:{questions}", "en", None))
    answers = write_rows(tmp_path / "answers", {"problem_id": name, "prediction": "a"})
    assert f"answers:1: field 'problem_id' {found}" in refused(lambda: read_predictions([answers], [], "mini"))


def test_half_a_surrogate_pair_in_an_id(tmp_path: Path) -> None:
    questions = write_rows(tmp_path / "own", {**ROW, "question_id": "q\ud83d"})
    assert "half of a surrogate pair" in refused(lambda: catalogue.load(f"jsonl:{questions}", "en", None))


PATHS = ["../../etc/passwd", "/etc/passwd", "..", ".", "a/b", "a%2Fb", "~", "C:\\x", "-rf", "$(id)", "x;y", "é", "必修"]


def test_ids_like_paths_are_only_names(tmp_path: Path) -> None:
    """Scored like any others: nothing is written but the run folder's own files, and no two ids become one."""
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    questions = write_rows(inside / "own", *({**ROW, "question_id": name} for name in PATHS))
    answers = write_rows(inside / "answers", *({"question_id": name, "prediction": "a"} for name in PATHS))
    score_run(inside / "out", questions, answers)
    rows = pq.read_table(inside / "out" / "answers.parquet").to_pylist()
    assert sorted(row["question_id"] for row in rows) == sorted(PATHS)
    assert len({row["item_id"] for row in rows}) == len(PATHS)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        "a/b/own", "a/b/answers", "a/b/out/.lock", "a/b/out/run.yaml", "a/b/out/answers.parquet",
        "a/b/out/results.json", "a/b/out/report.html",
    }  # fmt: skip


def score_run(output_dir: Path, questions: Path, answers: Path, **keys: Any) -> None:
    given = {"benchmark": f"jsonl:{questions}", "predictions": str(answers), "output_dir": str(output_dir), **keys}
    score(ScoreConfig.model_validate({"language": "en", **given}))


@given(st.text(max_size=20))
def test_any_id_is_refused_or_kept_as_it_is(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    file = write_rows(tmp_path_factory.getbasetemp() / "any", {**ROW, "question_id": name})
    if name.strip() and all(map(shown, name)):
        (question,) = catalogue.load(f"jsonl:{file}", "en", None)
        assert question.question_id == name
    else:
        assert "field 'question_id' " in refused(lambda: catalogue.load(f"jsonl:{file}", "en", None))


# --- what reaches a reader


def test_what_a_terminal_is_shown_neither_moves_nor_colours_it(tmp_path: Path) -> None:
    """Every name in the file is hostile; the message is one line."""
    questions = write_rows(tmp_path / "own", ROW)
    for row in ({EVIL: 1, "prediction": "a"}, {"question_id": "q1", "prediction": EVIL, EVIL: 1, "response": "a"}):
        answers = write_rows(tmp_path / "answers", row)
        done = score_job(tmp_path / "out", questions, answers)
        assert done.returncode == 2
        assert all(map(shown, done.stderr.removesuffix("\n"))), done.stderr
        assert done.stdout == ""
    assert r"\x1b]0;owned\x07" in score_job(tmp_path / "out", questions, write_rows(answers, {EVIL: 1})).stderr


def score_job(output_dir: Path, questions: Path, answers: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable, "jobs/score.py", "--benchmark", f"jsonl:{questions}", "--language", "en",
            "--predictions", str(answers), "--output_dir", str(output_dir),
        ],
        cwd=ROOT, capture_output=True, encoding="utf-8", check=False, timeout=60,
    )  # fmt: skip


def test_hostile_text_reaches_neither_terminal_nor_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    markup = "<script>alert(1)</script>[red]"
    row = {**ROW, "question": EVIL + markup, "choices": [EVIL, markup]}
    answers = write_rows(tmp_path / "answers", {"question_id": "q1", "response": EVIL + markup})
    questions = write_rows(tmp_path / f"own{EVIL.replace(chr(0), '')}", row)
    score_run(tmp_path / "out", questions, answers, name=f"{EVIL.replace(chr(0), '')}{markup.replace('/', '')}")
    out, err = capsys.readouterr()
    assert all(shown(sign) or sign == "\n" for sign in out + err)
    assert "[red]" in out
    assert "<script>alert" not in (tmp_path / "out" / "report.html").read_text("utf-8")
    (answer,) = pq.read_table(tmp_path / "out" / "answers.parquet").to_pylist()
    assert answer["response"] == EVIL + markup  # data are kept as they are
    assert answer["choices"] == [EVIL, markup]


def test_names_of_a_results_file_are_shown_harmlessly(capsys: pytest.CaptureFixture[str]) -> None:
    keys = ("benchmark", "language", "prompt", "method", "metric")
    one = {**dict.fromkeys(keys, EVIL), "correct": 1, "n": 2, "value": 0.5, "ci_low": 0.1, "ci_high": 0.9}
    count = {"benchmark": EVIL, "language": EVIL, "asked": 1, "left_out": {EVIL: 1}, "unread": 1, "errors": 1}
    print_results({"model": EVIL, "scores": [one], "exams": [], "counts": [count]})
    assert all(shown(sign) or sign == "\n" for sign in capsys.readouterr().out)


@given(st.text())
def test_a_message_shows_every_sign_harmlessly(text: str) -> None:
    assert all(shown(sign) or sign == "\n" for sign in message(text))
    assert all(map(shown, printable(text)))
    if all(map(shown, text)):
        assert printable(text) == text


def test_a_message_has_an_end() -> None:
    assert len(message("x" * 10_000_000)) < MAX_MESSAGE + 100
    assert message("必修\n問題 é") == "必修\n問題 é"


# --- models


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny"), train_tokenizer(["a few words"], vocabulary=300), layers=1)


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    """A copy of a tiny model, to be spoilt."""
    return shutil.copytree(tiny, tmp_path / "model")


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


def change(file: Path, **keys: Any) -> None:
    there = json.loads(file.read_text("utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**there, **keys}), encoding="utf-8")


def look(model: Path, **keys: Any) -> Any:
    return find_model(ModelConfig(path=str(model), **keys), offline=True)


def test_neither_code_nor_pickles_of_a_model_folder_are_run(model: Path, tmp_path: Path) -> None:
    """Of a model that transformers knows they are passed over; the model itself is used."""
    from jmed.models.loading import load_model

    sprung = tmp_path / "sprung"
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()  # the trap works
    sprung.unlink()
    for name in ("training_args.bin", "optimizer.pt", "pytorch_model.bin", "tokenizer.pkl", "rng_state.pth"):
        (model / name).write_bytes(pickle.dumps(Trap(sprung)))
    (model / "evil.py").write_text(f"open({str(sprung)!r}, 'w')\n")
    change(model / "config.json", auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"})
    change(model / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Slow", "evil.Fast"]})
    load_model(look(model))
    assert not sprung.exists()


def test_a_model_that_needs_its_own_code_is_refused(model: Path, tmp_path: Path) -> None:
    from jmed.models.loading import load_config

    sprung = tmp_path / "sprung"
    (model / "evil.py").write_text(f"open({str(sprung)!r}, 'w')\n")
    change(model / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.Config"})
    found = refused(lambda: load_config(look(model)))
    assert "contains custom code" in found
    assert "code that comes with a model is never run" in found
    assert not sprung.exists()


def test_pickled_weights_are_refused(model: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    assert "has no adapter_model.safetensors" in refused(lambda: look(model, adapter=str(adapter)))
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    assert "pytorch_model.bin, which could run code when read" in refused(lambda: look(model))


def test_a_chat_template_stays_in_its_sandbox(model: Path) -> None:
    from jmed.evaluation.plan import plan_evaluation
    from jmed.models.loading import load_tokenizer

    config = EvaluateConfig.model_validate(
        {"model": {"path": str(model)}, "benchmarks": ["mini"], "prompt": "chat", "output_dir": "o", "limit": 1}
    )
    for template in ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "{% for i in range(10**9) %}{% endfor %}"):
        (model / "chat_template.jinja").write_text(template)
        tokenizer = load_tokenizer(look(model))
        found = refused(lambda tokenizer=tokenizer: plan_evaluation(config, tokenizer, 512, 1.0))
        assert f"prompt: the chat template of {model} fails: " in found


def sparse(file: Path, start: bytes = b"{", size: int = 1024**3) -> None:
    with file.open("wb") as stream:
        stream.write(start)
        stream.truncate(size)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors"])
def test_a_gigabyte_in_a_model_folder_is_refused_unread(model: Path, name: str) -> None:
    start = struct.pack("<Q", 1024**3 - 8) + b"{" if name == "model.safetensors" else b"{"
    (model / name).unlink(missing_ok=True)
    sparse(model / name, start)
    begun = time.monotonic()
    assert str(model / name) in refused(lambda: look(model))
    assert time.monotonic() - begun < 5


def test_pipes_in_a_model_folder_do_not_hold_a_job(model: Path) -> None:
    os.mkfifo(model / "more.safetensors")
    os.mkfifo(model / "more.json")
    assert look(model).folder == model.resolve()
    (model / "model.safetensors").unlink()
    os.mkfifo(model / "model.safetensors")
    assert "has no weights" in refused(lambda: look(model))


def test_a_folder_of_links_as_the_hub_cache_has_them(tiny: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for file in tiny.iterdir():
        (linked / file.name).symlink_to(file)
    (linked / "gone.json").symlink_to(tmp_path / "nowhere")
    assert look(linked).folder == linked


# --- a run's own files


def write_answers(file: Path, *, response: str = "a", rows: int = 2) -> None:
    row = {"response": response, "logprobs": [], "tokens_in": 1, "tokens_out": 1, "error": None}
    table = pa.Table.from_pylist([{"item_id": str(n), **row} for n in range(rows)], RAW_ANSWERS)
    write_table([table], RAW_ANSWERS, file)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(b"PAR1 garbage PAR1"),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-20]),
        lambda file: file.write_bytes(file.read_bytes().replace(b"\x28\xb5\x2f\xfd", b"\0\0\0\0")),
        make_parquet,
        make_parquet_bomb,
        partial(write_answers, rows=3),
        partial(write_answers, response="x" * 70_000_000),
        lambda file: (file.unlink(), os.mkfifo(file)),
        lambda file: (file.unlink(), file.mkdir()),
    ],
)
def test_answers_that_were_spoilt_are_asked_again(tmp_path: Path, spoil: Reader) -> None:
    file = tmp_path / "000000.parquet"
    write_answers(file)
    assert is_answered(file, ["0", "1"])
    spoil(file)
    assert not is_answered(file, ["0", "1"])


# --- the code itself


def calls() -> Iterator[tuple[str, str, dict[str, str]]]:
    """(file, function, named arguments) of every call in jmed and jobs."""
    for file in sorted([*(ROOT / "jmed").rglob("*.py"), *(ROOT / "jobs").glob("*.py")]):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                named = {one.arg: ast.unparse(one.value) for one in node.keywords if one.arg}
                yield file.relative_to(ROOT).as_posix(), ast.unparse(node.func), named


def test_nothing_in_the_code_runs_what_it_reads() -> None:
    # What the driver of the same run has pickled; what the process itself has put into a file that nobody else sees.
    loads_own_job = {"jmed/distributed/train_worker.py", "jmed/spool.py"}
    for file, function, named in calls():
        assert function not in ("eval", "exec", "os.system", "pickle.load", "torch.hub.load"), f"{file}: {function}"
        assert function != "pickle.loads" or file in loads_own_job, file
        if function == "torch.load":
            assert named.get("weights_only") == "True", file
        if function == "yaml.load":
            assert named.get("Loader") == "PlainLoader", file
        assert named.get("trust_remote_code", "False") == "False", file
        assert named.get("shell", "False") == "False", file
