"""The run folder: new, unfinished, finished, foreign, or in somebody else's hands; every file in it is whole."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jmed.configuration.schema import ScoreConfig
from jmed.data.question import Question
from jmed.errors import UserError
from jmed.evaluation.batches import Batches
from jmed.evaluation.folder import EvaluationFolder, answer_file
from jmed.evaluation.items import Item, Items, to_rows
from jmed.evaluation.plan import Plan
from jmed.evaluation.table import ANSWERS, RAW_ANSWERS, REQUESTS
from jmed.inference.request import Request
from jmed.rows import read
from jmed.runs.files import GROUP, write_batches, write_table, write_text
from jmed.runs.folder import FORMAT
from jmed.spool import View

IDENTITY = {"job": "evaluate", "method": "letters", "model": {"config.json": "abc", "model.safetensors": "def"}}
CONFIG = ScoreConfig(benchmark="mini", predictions="p.jsonl", output_dir="o")


@contextlib.contextmanager
def claimed(path: Path, **changes: Any) -> Iterator[EvaluationFolder]:
    """The folder in the hands of a run; `changes` make it another run."""
    folder = EvaluationFolder(path, {**IDENTITY, **changes})
    with folder.claim():
        yield folder


def begun(path: Path, **changes: Any) -> EvaluationFolder:
    """The folder of a run that has started and stopped."""
    with claimed(path, **changes) as folder:
        folder.begin(CONFIG, {"model_folder": "m"})
    return folder


def refused(path: Path, **changes: Any) -> str:
    with pytest.raises(UserError) as caught, claimed(path, **changes):
        pass
    return str(caught.value)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def plan_of(*batches: str, digest: str = "d") -> Plan:
    """A plan with one item a letter, in batches: plan_of("ab", "c")."""
    asked = [_item(letter) for batch in batches for letter in batch]
    items = Items([item.question for item in asked], pa.Table.from_batches([to_rows(asked)]))
    starts = [sum(map(len, batches[:number])) for number in range(len(batches))]
    by_id = sorted(range(len(asked)), key=lambda place: asked[place].request.item_id)
    return Plan(items=View(items, by_id), batches=Batches(items, starts), digest=digest)


def _item(item_id: str) -> Item:
    question = Question("b", item_id, "en", "?", ("x", "y"), (("a",),))
    return Item(question, Request(item_id, "prompt " + item_id, (" A", " B")), "letters", "letters")


def answer(folder: EvaluationFolder, batch: int, item_ids: str) -> None:
    """Commit the answers of a batch, as a worker does."""
    rows = [
        {"item_id": item_id, "response": item_id.upper(), "logprobs": [-1.5, -0.25], "tokens_in": 3, "tokens_out": 2}
        for item_id in item_ids
    ]
    write_table([pa.Table.from_pylist(rows, RAW_ANSWERS)], RAW_ANSWERS, answer_file(folder.answers, batch))


# --- new, unfinished, finished


def test_a_new_folder_is_made_with_its_parents_and_says_what_run_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    folder = begun(path)
    assert not folder.finished
    assert names(path) == {"run.yaml", ".lock"}
    record = yaml.safe_load((path / "run.yaml").read_text("utf-8"))
    assert record["identity"] == {"format": FORMAT, **IDENTITY}
    assert record["configuration"] == CONFIG.model_dump(mode="json")
    assert record["model_folder"] == "m"
    assert {"jmed", "python", "torch", "ray", "pyarrow"} <= record["versions"].keys()
    assert record["machine"].keys() == {"system", "processor"}
    assert record["started"].endswith("+00:00")


def test_an_unfinished_run_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    plan = plan_of("ab", "cd", "e")
    folder = begun(tmp_path / "o")
    with (folder.path / "run.yaml").open("a") as stream:
        stream.write("# as the first start wrote it\n")
    before = (folder.path / "run.yaml").read_bytes()
    assert folder.unanswered(plan) == [0, 1, 2]
    file = folder.write_batches(plan, [0, 1, 2])
    answer(folder, 1, "cd")
    again = begun(tmp_path / "o")
    assert (again.path / "run.yaml").read_bytes() == before  # it still says when the run began
    assert not again.finished
    assert again.unanswered(plan) == [0, 2]
    assert again.write_batches(plan, [0, 2]) == file
    batches = pa.ipc.open_file(file)
    assert [batches.get_batch(row)["item_id"].to_pylist() for row in range(batches.num_record_batches)] == [
        ["a", "b"],
        ["e"],
    ]
    assert batches.get_batch(0).to_pylist() == [
        {**vars(item.request), "continuations": list(item.request.continuations)} for item in plan.batches[0]
    ]
    assert names(again.answers) == {"000001.parquet"}


def test_answers_to_other_prompts_do_not_count(tmp_path: Path) -> None:
    """A chat template may hold the date: what was asked yesterday in other words is asked again."""
    plan = plan_of("ab", "cd")
    folder = begun(tmp_path / "o")
    folder.write_batches(plan, [0, 1])
    answer(folder, 0, "ab")
    assert folder.unanswered(plan) == [1]
    assert folder.unanswered(plan_of("ab", "cd", digest="of other words")) == [0, 1]
    assert not folder.work.exists()


def test_answers_of_another_batch_do_not_count(tmp_path: Path) -> None:
    plan = plan_of("ab", "cd")
    folder = begun(tmp_path / "o")
    folder.write_batches(plan, [0, 1])
    answer(folder, 0, "ba")
    answer(folder, 1, "c")
    assert folder.unanswered(plan) == [0, 1]
    answer(folder, 0, "ab")
    assert folder.unanswered(plan) == [1]


def test_results_end_the_run_and_its_working_files(tmp_path: Path) -> None:
    folder = begun(tmp_path / "o")
    folder.write_batches(plan_of("a"), [0])
    write_table([], ANSWERS, folder.path / "answers.parquet")
    assert not folder.finished
    folder.end({"model": "名", "scores": []})
    assert folder.finished
    assert names(folder.path) == {"run.yaml", ".lock", "answers.parquet", "results.json"}
    assert "名" in (folder.path / "results.json").read_text("utf-8")
    with claimed(tmp_path / "o") as again:
        assert again.finished


# --- reading the answers


def test_answers_are_read_in_the_order_of_the_plan(tmp_path: Path) -> None:
    folder, plan = begun(tmp_path / "o"), plan_of("cb", "a")
    folder.write_batches(plan, [0, 1])
    answer(folder, 0, "cb")
    answer(folder, 1, "a")
    answers = folder.read_answers(plan)
    assert answers["item_id"].to_pylist() == ["c", "b", "a"]  # as they were asked
    found = [row for (piece,) in read(plan.items.order, answers) for row in piece.to_pylist()]
    assert [item.request.item_id for item in plan.items] == ["a", "b", "c"]
    assert [row["response"] for row in found] == ["A", "B", "C"]
    assert found[0]["logprobs"] == [-1.5, -0.25]
    assert found[0]["error"] is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("a", "c"), "1 questions have no answer and 0 answers no question"),
        (("abx", "c"), "0 questions have no answer and 1 answers no question"),
        (("x", ""), "000000.parquet: 2 questions have no answer and 1 answers no question"),
        (("ab", ""), "000001.parquet: 1 questions have no answer and 0 answers no question"),
        (("ba", "c"), "000000.parquet: the answers are in another order"),
    ],
)
def test_a_missing_or_strange_answer_is_never_passed_over(
    tmp_path: Path, given: tuple[str, str], expected: str
) -> None:
    folder, plan = begun(tmp_path / "o"), plan_of("ab", "c")
    folder.write_batches(plan, [0, 1])
    for number, item_ids in enumerate(given):
        answer(folder, number, item_ids)
    with pytest.raises(RuntimeError, match=expected):
        folder.read_answers(plan)


def test_a_missing_batch_is_an_error(tmp_path: Path) -> None:
    folder, plan = begun(tmp_path / "o"), plan_of("ab", "c")
    folder.write_batches(plan, [0, 1])
    answer(folder, 0, "ab")
    with pytest.raises(FileNotFoundError):
        folder.read_answers(plan)


# --- foreign


def test_another_configuration_is_refused_and_what_differs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "o"
    begun(path)
    before = (path / "run.yaml").read_bytes()
    message = refused(path, method="options", limit=3, model={"config.json": "abc", "model.safetensors": "xyz"})
    assert message == (
        f"output_dir: {path} belongs to a run with another configuration (limit: None there, 3 here; "
        "method: letters there, options here; model.model.safetensors: def there, xyz here); "
        "give another folder, or the configuration of that run"
    )
    assert (path / "run.yaml").read_bytes() == before
    with claimed(path):
        pass  # its own run still may


def test_a_key_that_went_away_differs_too(tmp_path: Path) -> None:
    begun(tmp_path / "o", adapter={"adapter.safetensors": "abc"})
    message = refused(tmp_path / "o", adapter=None)
    assert "(adapter: {'adapter.safetensors': 'abc'} there, None here)" in message


def test_a_folder_of_another_format_is_refused(tmp_path: Path) -> None:
    begun(tmp_path / "o", format=FORMAT + 1)
    assert f"(format: {FORMAT + 1} there, {FORMAT} here)" in refused(tmp_path / "o")


# Not U+0085, a line break of old mainframes: PyYAML writes it as a line break and reads a blank.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85"), max_size=12)
leaves = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | texts
identities = st.dictionaries(texts, leaves | st.lists(leaves, max_size=3) | st.dictionaries(texts, leaves, max_size=3))


@settings(deadline=None, max_examples=25)
@given(identities)
def test_the_same_run_is_known_again_whatever_its_names_hold(identity: dict[str, Any]) -> None:
    """What run.yaml gives back is what was written: no text that YAML reads as a date, a number or a line break."""
    with tempfile.TemporaryDirectory() as path:
        for _ in range(2):
            folder = EvaluationFolder(Path(path), identity)
            with folder.claim():
                folder.begin(CONFIG, {})


def test_results_without_their_run_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "answers.parquet").write_bytes(b"somebody's")
    assert refused(tmp_path) == f"output_dir: {tmp_path} holds answers.parquet but no run.yaml; give another folder"
    assert (tmp_path / "answers.parquet").read_bytes() == b"somebody's"
    assert names(tmp_path) <= {"answers.parquet", ".lock"}


@pytest.mark.parametrize("name", ["results.json", "report.html"])
def test_any_file_that_a_run_would_overwrite_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("somebody's")
    assert "no run.yaml" in refused(tmp_path)


def test_other_files_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    begun(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("text", ["", "just words", "- a", "configuration: {}", "a: [", "identity", "a: \x01", "3"])
def test_a_run_yaml_of_somebody_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    message = refused(tmp_path)
    assert message == f"output_dir: {tmp_path / 'run.yaml'} was not written by jmed; give another folder"
    assert (tmp_path / "run.yaml").read_text() == text


def test_a_run_yaml_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\x00")
    assert "was not written by jmed" in refused(tmp_path)


# --- not writable, or taken


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, why in (
        (tmp_path / "file" / "o", "Not a directory"),
        (tmp_path / "file", "File exists"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        assert refused(path) == f"output_dir: {path} cannot be written ({why}); give another folder"
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, in which nobody can make a folder")
def test_a_folder_in_proc_cannot_be_made() -> None:
    assert refused(Path("/proc/nope")).startswith("output_dir: /proc/nope cannot be written (")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert refused(tmp_path) == f"output_dir: {tmp_path} cannot be written (Permission denied); give another folder"
    finally:
        tmp_path.chmod(0o700)


HOLDER = """
import sys
from pathlib import Path
from jmed.evaluation.folder import EvaluationFolder

with EvaluationFolder(Path(sys.argv[1]), {}).claim():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_job_is_refused_while_the_first_one_runs_and_welcome_once_it_died(tmp_path: Path) -> None:
    path = tmp_path / "o"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert refused(path) == (f"output_dir: another job is writing {path} now; wait for it, or give another folder")
        assert names(path) == {".lock"}
    finally:
        holder.kill()
        holder.communicate()
    begun(path)


def test_the_folder_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claimed(tmp_path):
        raise ZeroDivisionError
    begun(tmp_path)
    refused(tmp_path, method="options")
    with claimed(tmp_path), pytest.raises(UserError, match="another job is writing"), claimed(tmp_path):
        pass
    with claimed(tmp_path):
        pass


# --- files whole or not at all


def test_files_are_written_over_and_leave_nothing_beside_them(tmp_path: Path) -> None:
    for text in ("one", "二\n", ""):
        write_text(text, tmp_path / "t.txt")
        assert (tmp_path / "t.txt").read_text("utf-8") == text
    for n in (3, 0, 2 * GROUP + 1_001):
        rows = [{**vars(_item("a").request), "continuations": [" A", " B"]}] * n
        table = pa.Table.from_pylist(rows, REQUESTS)
        write_table([table.slice(start, 1_000) for start in range(0, n, 1_000)], REQUESTS, tmp_path / "t.parquet")
        table = pq.read_table(tmp_path / "t.parquet")
        assert table.to_pylist() == rows
        assert table.schema.equals(REQUESTS)
        write_batches([table] * bool(n), REQUESTS, tmp_path / "t.arrow")
        assert pa.ipc.open_file(tmp_path / "t.arrow").read_all().equals(table)
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 3
    assert names(tmp_path) == {"t.txt", "t.parquet", "t.arrow"}


def test_a_row_of_the_wrong_type_changes_nothing(tmp_path: Path) -> None:
    write_table([], REQUESTS, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="does not match"):
        write_table([pa.table({"max_new_tokens": ["one"]})], REQUESTS, tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 0
    assert names(tmp_path) == {"t.parquet"}


def test_a_text_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    write_text("old", tmp_path / "t.txt")
    with pytest.raises(UnicodeEncodeError):
        write_text("half a pair: \ud83d", tmp_path / "t.txt")
    assert (tmp_path / "t.txt").read_text() == "old"


def test_a_failure_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for write in (lambda: write_text("x", tmp_path / "folder"), lambda: write_text("\ud83d", tmp_path / "t.txt")):
        with pytest.raises((OSError, UnicodeEncodeError)):
            write()
    assert names(tmp_path) == {"folder"}
