"""A job that does nothing says why; progress.json follows it to its end, and never ends it."""

import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jmed.distributed import heartbeat
from jmed.distributed.heartbeat import Heartbeat
from jmed.distributed.notes import (
    ANSWERING,
    EXAMINING,
    LOADING,
    READY,
    STARTED,
    Note,
    Notepad,
    clear_notes,
    read_notes,
)
from jmed.distributed.progress import Progress
from jmed.distributed.reasons import named, reasons
from jmed.distributed.surroundings import FolderWatch, Machine, Need, RayWatch
from jmed.errors import UserError

FINISHED = {"state": "finished", "done": 10, "total": 10, "unit": "questions", "errors": 1, "message": ""}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder that has begun."""
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "run.yaml").touch()
    return tmp_path


def beating(run: Path, stream: io.StringIO | None = None) -> Heartbeat:
    return Heartbeat("evaluate", run, run / "unfinished", stream or io.StringIO())


def record(run: Path) -> dict[str, Any]:
    return json.loads((run / "progress.json").read_text("utf-8"))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_file_follows_a_job_to_its_end(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jmed.distributed.surroundings.FOLDER_SECONDS", 0.05)
    stream = io.StringIO()
    with beating(run, stream) as heart:
        progress = Progress(10, 2, "questions")
        heart.show(progress.count(time.monotonic()))
        heart.stage("joining Ray")
        until(lambda: (run / "progress.json").exists() and record(run)["message"] == "joining Ray")
        assert (record(run)["state"], record(run)["done"]) == ("starting", 2)
        heart.show(progress.add(3))
        until(lambda: record(run)["state"] == "running")
        heart.show(progress.add(5, errors=1), last=True)
    end = record(run)
    assert {key: end[key] for key in FINISHED} == FINISHED
    assert set(end) == {
        "job", "state", "done", "total", "unit", "rate", "seconds_left", "errors", "workers", "message", "started",
        "updated",
    }  # fmt: skip
    assert stream.getvalue().startswith("10/10 questions (100 %)")
    assert {path.name for path in run.iterdir()} == {"run.yaml", "progress.json", "unfinished"}


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (KeyboardInterrupt(), "stopped", "the same command continues"),
        (SystemExit(15), "stopped", "the same command continues"),
        (UserError("output_dir: no space\nmore"), "failed", "output_dir: no space"),
        (RuntimeError("broken"), "failed", "RuntimeError: broken"),
        (ValueError(), "failed", "ValueError:"),
    ],
)
def test_how_a_job_ended_stands_in_the_file(run: Path, error: BaseException, state: str, message: str) -> None:
    heart = beating(run)

    def job() -> None:
        with heart:
            heart.show(Progress(10, 0, "questions").count(time.monotonic()))
            raise error

    with pytest.raises(type(error)):
        job()
    assert (record(run)["state"], record(run)["message"]) == (state, message)


def test_a_job_that_is_refused_or_has_nothing_to_do_leaves_no_file(run: Path) -> None:
    with beating(run):
        pass
    assert not (run / "progress.json").exists()
    (run / "run.yaml").unlink()
    with beating(run) as heart:
        heart.show(Progress(10, 0, "questions").count(time.monotonic()))
    assert not (run / "progress.json").exists()


def test_a_file_that_cannot_be_written_is_nobodys_error(run: Path) -> None:
    (run / "progress.json").mkdir()
    with beating(run) as heart:
        heart.show(Progress(10, 0, "questions").count(time.monotonic()))
    assert {path.name for path in run.iterdir()} == {"run.yaml", "progress.json", "unfinished"}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "TERMINAL_SECONDS", 0.02)
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 0.1)
    monkeypatch.setattr(heartbeat, "AGAIN_SECONDS", 0.3)


def test_silence_is_explained_now_and_then_and_ends_with_the_next_answer(run: Path, impatient: None) -> None:
    stream = io.StringIO()
    with beating(run, stream) as heart:
        heart.stage("reading and checking the data")
        until(lambda: stream.getvalue().count("\n") == 2)
        assert set(stream.getvalue().splitlines()) == {"evaluate, nothing new for 0:00: reading and checking the data"}
        progress = Progress(10, 0, "questions")
        heart.show(progress.count(time.monotonic()))
        heart.show(progress.add(4))
        until(lambda: heart.state == "waiting")
        assert "4/10 questions, nothing new for 0:00: " in stream.getvalue()
        heart.show(progress.add(4))
        assert (heart.state, heart.message) == ("running", "")


@pytest.fixture
def hung(run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A file system that does not come back: the run folder's marker is a pipe that nobody writes into."""
    monkeypatch.setattr("jmed.distributed.surroundings.LAST_WRITE_SECONDS", 0.1)
    notes = run / "unfinished" / "workers"
    notes.mkdir()
    os.mkfifo(notes / "pipe.json")
    monkeypatch.setattr("jmed.distributed.surroundings.clear_notes", lambda work: None)
    yield threading.Event()
    with (notes / "pipe.json").open("w") as pipe:
        pipe.write("{}")


def test_a_folder_that_does_not_answer_is_named_and_does_not_hold_the_job(run: Path, hung: threading.Event) -> None:
    begun = time.monotonic()
    with beating(run) as heart:
        until(lambda: heart.folder.hanging(time.monotonic()) > 0.2)
        now = time.monotonic() + 40
        assert reasons(now, now - 60, "scoring", heart.folder, None) == (
            f"output_dir: {run} has not answered for 0:40; scoring"
        )
    assert time.monotonic() - begun < 5


def test_a_worker_that_goes_on_to_its_next_batch_shows_that_something_is_done(run: Path) -> None:
    """Ray tells of several batches at once, perhaps minutes later."""
    folder = FolderWatch(run, run / "unfinished", lambda: None)
    first, anew = (Notepad(run / "unfinished", "1", "node") for _ in range(2))
    steps = [(first, LOADING), (first, READY), (first, ANSWERING), (first, ANSWERING), (first, READY)]
    steps += [(anew, LOADING), (anew, READY), (anew, ANSWERING), (anew, READY), (anew, ANSWERING)]
    went_on = []
    for number, (pad, state) in enumerate(steps):
        pad.say(state)
        before = folder.answered
        folder._look_once()
        if folder.answered != before:
            went_on.append(number)
    assert went_on == [3, 9]
    with beating(run) as heart:
        heart.asking, heart.folder.answered = True, time.monotonic() + 5
        until(lambda: heart.moved == heart.folder.answered)
        assert heart.state == "running"


def surroundings(notes: dict[str, Note], changed: dict[str, float], need: Need) -> tuple[FolderWatch, RayWatch]:
    """Two machines of 2 CPUs and a GPU, as the watchers saw them."""
    folder = FolderWatch(Path("/run"), Path("/run/unfinished"), lambda: None)
    folder.notes, folder.changed = notes, changed
    cluster = RayWatch(need)
    cluster.first = {name: Machine(f"host-{name}", {"CPU": 2.0, "GPU": 1.0}) for name in "ab"}
    cluster.alive, cluster.free = dict(cluster.first), {"CPU": 0.5, "GPU": 0.0}
    return folder, cluster


def note(state: str, node: str) -> Note:
    return Note(state, f"host-{node}", node, batches=3)


TWO = Need(2, 1, 1)


@pytest.mark.parametrize(
    ("notes", "changed", "expected"),
    [
        ({}, {}, "none of 2 workers is up yet (free in the cluster: 0.5 CPUs, 0 GPUs)"),
        ({"1": note(LOADING, "a")}, {"1": 0.0}, "1 of 2 workers is up, 1 of them loading the model (host-a)"),
        (
            {"1": note(READY, "a"), "2": note(LOADING, "b")}, {"1": 0.0, "2": 80.0},
            "2 of 2 workers are up, 1 of them loading the model (host-b)",
        ),
        (
            {"1": note(ANSWERING, "a"), "2": note(LOADING, "b")}, {"1": 9.0, "2": 8.0},
            "2 of 2 workers are up, 1 of them loading the model (host-b); no word from 1 of 2 workers (host-a)",
        ),
        (
            {"1": note(ANSWERING, "a"), "2": note(READY, "b")}, {"1": 9.0, "2": 10.0},
            "no word from 1 of 2 workers (host-a)",
        ),
        (
            {"1": note(ANSWERING, "a"), "2": note(ANSWERING, "b")}, {"1": 9.0, "2": 99.0},
            "no word from 1 of 2 workers (host-a)",
        ),
        ({"1": note(STARTED, "a"), "2": note(STARTED, "b")}, {"1": 9.0, "2": 9.0},
         "no word from 2 of 2 workers (host-a, host-b)"),
        ({"1": note(STARTED, "a"), "2": note(STARTED, "b")}, {"1": 50.0, "2": 50.0},
         "2 of 2 workers are up, 2 of them loading the model (host-a, host-b)"),
        ({"1": note(EXAMINING, "a"), "2": note(EXAMINING, "b")}, {"1": 90.0, "2": 99.0},
         "2 of 2 workers sit the exam (6 batches begun)"),
        ({"1": note(EXAMINING, "a"), "2": note(EXAMINING, "b")}, {"1": 99.0, "2": 20.0},
         "2 of 2 workers sit the exam (6 batches begun); no word from 1 of 2 workers (host-b)"),
        ({"1": note(EXAMINING, "a"), "2": note(EXAMINING, "b")}, {"1": 9.0, "2": 9.0},
         "no word from 2 of 2 workers (host-a, host-b)"),
    ],
)  # fmt: skip
def test_what_the_workers_are_at(notes: dict[str, Note], changed: dict[str, float], expected: str) -> None:
    folder, cluster = surroundings(notes, changed, TWO)
    assert reasons(100.0, 10.0, "", folder, cluster) == expected


def test_a_lost_machine_and_what_is_left_without_it() -> None:
    folder, cluster = surroundings({"1": note(READY, "a"), "2": note(ANSWERING, "b")}, {"1": 9.0, "2": 9.0}, TWO)
    del cluster.alive["b"]
    assert reasons(100.0, 10.0, "", folder, cluster) == (
        "1 of 2 machines is lost (host-b); the cluster has room for 1 of 2 workers (2 CPUs, 1 GPUs); "
        "1 of 2 workers is up"
    )


def test_a_ray_that_does_not_answer() -> None:
    folder, cluster = surroundings({}, {}, TWO)
    cluster.asked = 60.0
    assert reasons(100.0, 10.0, "", folder, cluster).startswith("Ray has not answered for 0:40; ")
    cluster.asked, cluster.problem = None, "RpcError: gone"
    assert reasons(100.0, 10.0, "", folder, cluster).startswith("Ray does not answer (RpcError: gone); ")


def test_a_disk_that_is_full_is_named() -> None:
    folder, _ = surroundings({}, {}, TWO)
    folder.problem = "No space left on device"
    assert reasons(100.0, 10.0, "stage", folder, None) == "output_dir: /run: No space left on device; stage"


@pytest.mark.parametrize(
    ("need", "room"),
    [
        (Need(4, 1, 0), 4), (Need(9, 1, 0), 4), (Need(9, 0.5, 0), 8), (Need(9, 0, 1), 2), (Need(9, 1, 0.5), 4),
        (Need(9, 0.33, 0.1), 12), (Need(2, 3, 0), 0), (Need(2, 1, 2), 0),
    ],
)  # fmt: skip
def test_room_for_workers(need: Need, room: int) -> None:
    machines = [Machine(name, {"CPU": 2.0, "GPU": 1.0}) for name in "ab"]
    assert need.room(machines) == min(room, need.count)


def test_names_are_counted_and_cut() -> None:
    assert named(["b", "a", "b"]) == "a, b 2 times"
    assert named("abcdef") == "a, b, c, d, 2 more"


def test_a_worker_that_starts_again_writes_over_its_note(tmp_path: Path) -> None:
    Notepad(tmp_path, "one", "a").say(READY)
    second = Notepad(tmp_path, "one", "b")
    second.say(LOADING)
    second.say(ANSWERING)
    (found,) = read_notes(tmp_path).values()
    assert (found.state, found.node, found.batches) == (ANSWERING, "b", 1)
    (tmp_path / "workers" / "half.json").write_text('{"state": "re', encoding="utf-8")
    assert list(read_notes(tmp_path)) == ["one"]
    clear_notes(tmp_path)
    assert read_notes(tmp_path) == {}


def test_a_note_that_cannot_be_written_stops_no_worker(tmp_path: Path) -> None:
    (tmp_path / "workers").touch()
    Notepad(tmp_path, "one", "a").say(READY)
    assert read_notes(tmp_path) == {}
