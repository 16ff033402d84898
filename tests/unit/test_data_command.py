"""The command `python -m jmed.data`, as a user runs it."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jmed.data.download import mirrored
from jmed.data.sources import sources
from tests.conftest import seconds_of_children


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    proxies = ("http_proxy", "https_proxy", "all_proxy")
    clean = {name: value for name, value in os.environ.items() if name.lower() not in proxies}
    command = [sys.executable, "-m", "jmed.data", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=clean | environment, timeout=60, check=False)


@pytest.fixture
def mirror() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A mirror on 127.0.0.1: its address, and its pages by path, to be filled."""
    pages: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", pages
    server.shutdown()
    server.server_close()


def pages_of(family: str, data_root: Path) -> dict[str, bytes]:
    """What a mirror of a family's addresses holds."""
    files = [file for file in sources()[family].files if file.url]
    return {
        mirrored(file.url, "http://m").removeprefix("http://m"): (data_root / file.path).read_bytes() for file in files
    }


def without_traceback(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr
    return done.stderr


# ---- fetch


def test_fetch_and_fetch_again(mirror: tuple[str, dict[str, bytes]], data_root: Path, tmp_path: Path) -> None:
    url, pages = mirror
    pages |= pages_of("pubmedqa", data_root)
    arguments = ["fetch", "pubmedqa", "--data_root", tmp_path / "new", "--mirror", url]
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "licence: MIT" in done.stdout
    assert done.stdout.index("licence") < done.stdout.index("ori_pqal.json")
    assert (tmp_path / "new/pubmedqa/ori_pqal.json").read_bytes() == (data_root / "pubmedqa/ori_pqal.json").read_bytes()
    again = run(*arguments[:-2], "--data-root", tmp_path / "new")  # needs no network, and both spellings are right
    assert again.returncode == 0
    assert "pubmedqa: 0 fetched, 2 already there" in again.stdout


def test_a_fetched_family_is_listed_and_complete(
    mirror: tuple[str, dict[str, bytes]], data_root: Path, tmp_path: Path
) -> None:
    url, pages = mirror
    pages |= pages_of("jmmlu", data_root)
    assert run("fetch", "jmmlu", "--data_root", tmp_path, "--mirror", url).returncode == 0
    done = run("list", "--data_root", tmp_path)
    assert re.search(r"^ jmmlu +ja +1551 +0 +0 +present +CC BY-SA 4\.0$", done.stdout, re.MULTILINE)


def test_a_changed_file_is_refused(mirror: tuple[str, dict[str, bytes]], data_root: Path, tmp_path: Path) -> None:
    url, pages = mirror
    pages |= dict.fromkeys(pages_of("pubmedqa", data_root), b"something else")
    done = run("fetch", "pubmedqa", "--data_root", tmp_path, "--mirror", url)
    assert done.returncode == 2
    assert "has changed" in without_traceback(done)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_users_own_file_is_kept_until_forced(
    mirror: tuple[str, dict[str, bytes]], data_root: Path, tmp_path: Path
) -> None:
    url, pages = mirror
    pages |= pages_of("medqa", data_root)
    mine = tmp_path / "medqa/phrases_no_exclude_test.jsonl"
    mine.parent.mkdir()
    mine.write_text("mine")
    done = run("fetch", "medqa", "--data_root", tmp_path, "--mirror", url)
    assert done.returncode == 2
    assert "--force" in without_traceback(done)
    assert mine.read_text() == "mine"
    assert run("fetch", "medqa", "--data_root", tmp_path, "--mirror", url, "--force").returncode == 0
    assert mine.stat().st_size == 2075679


def test_no_network(tmp_path: Path) -> None:
    done = run("fetch", "jmmlu", "--data_root", tmp_path, HTTPS_PROXY="http://127.0.0.1:9")
    assert done.returncode == 2
    message = without_traceback(done)
    assert "0 of 11 files are in place; the same command goes on from here" in message
    assert "In a browser: https://raw.githubusercontent.com/nlp-waseda/JMMLU/" in message


def test_a_family_to_be_fetched_by_hand_does_not_stop_the_others(
    mirror: tuple[str, dict[str, bytes]], data_root: Path, tmp_path: Path
) -> None:
    url, pages = mirror
    pages |= pages_of("pubmedqa", data_root)
    done = run("fetch", "medmcqa", "pubmedqa", "--data_root", tmp_path, "--mirror", url)
    assert done.returncode == 2
    assert "pubmedqa: 2 fetched" in done.stdout
    message = without_traceback(done)
    assert "drive.google.com" in message
    assert f"Put it at {tmp_path / 'medmcqa/dev.json'} (2594517 bytes" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch", "pubmedqa", "igakuka", "--data_root", "unused"], "'igakuka' is not known; did you mean 'igakuqa'?"),
        (["fetch", "igakuqa-2018", "--data_root", "unused"], "did you mean 'igakuqa'?"),
        (["fetch", "igakuqa"], "--data_root"),
        (["fetch", "--data_root", "unused"], "FAMILY"),
        (["fetch", "igakuqa", "--data_root", "unused", "--mirror", "here"], "--mirror is 'here'"),
        (["list", "--data_root", "unused"], "there is no folder unused"),
        ([], "fetch|list"),
        (["lst"], "lst"),
    ],
)
def test_what_the_user_can_mend_exits_with_2(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in without_traceback(done)
    assert not Path("unused").exists()


# ---- list


def test_list_counts_what_is_there(data_root: Path) -> None:
    done = run("list", "--data_root", data_root)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert any(re.fullmatch(r" igakuqa +ja +1600 +\d+ +\d+ +present +no licence file", line) for line in lines)
    assert any(re.fullmatch(r" igakuqa +en +1600 +\d+ +\d+ +present +no licence file", line) for line in lines)
    assert any(re.fullmatch(r" medmcqa +en +4183 +0 +0 +present +MIT", line) for line in lines)
    assert "igakuqa-YEAR: 2018, 2019, 2020, 2021" in lines
    assert "To fetch" not in done.stdout


def test_list_in_a_pipe_is_plain_text(data_root: Path) -> None:
    done = run("list", "--data_root", data_root, COLUMNS="40", FORCE_COLOR="1")
    assert "\x1b" not in done.stdout
    assert not [line for line in done.stdout.splitlines() if line != line.rstrip()]
    assert re.search(r"^ yakugakuqa +ja +3795 +\d+ +\d+ +present +CC BY-SA 4\.0$", done.stdout, re.MULTILINE)


def test_list_says_how_to_fetch_what_is_missing(data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "jmmlu").mkdir()
    (tmp_path / "jmmlu/anatomy.csv").write_bytes((data_root / "jmmlu/anatomy.csv").read_bytes())
    done = run("list", "--data_root", tmp_path)
    assert done.returncode == 0
    assert re.search(r"^ jmmlu +ja +132 +0 +0 +1 of 11 files ", done.stdout, re.MULTILINE)
    assert re.search(r"^ medqa +en +missing +MIT$", done.stdout, re.MULTILINE)
    every = "igakuqa jmmlu mmlu medqa medmcqa pubmedqa yakugakuqa"
    assert f"python -m jmed.data fetch {every} --data_root {tmp_path}" in done.stdout


def test_list_goes_on_after_an_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "medqa").mkdir()
    (tmp_path / "medqa/phrases_no_exclude_test.jsonl").write_text("{not json\n")
    done = run("list", "--data_root", tmp_path)
    assert done.returncode == 0
    assert re.search(r"^ medqa +en +unreadable +MIT$", done.stdout, re.MULTILINE)
    assert "phrases_no_exclude_test.jsonl:1: not JSON" in done.stdout


def test_list_without_a_folder_looks_for_nothing() -> None:
    done = run("list")
    assert done.returncode == 0
    assert len(re.findall("not looked for", done.stdout)) == 8  # seven families, one in two languages
    assert re.search(r"^ mini +ja +\d+ .*shipped", done.stdout, re.MULTILINE)
    assert "--data_root DIR" in done.stdout


def test_list_where_the_terminal_knows_no_japanese_or_lines() -> None:
    assert run("list", PYTHONIOENCODING="ascii").returncode == 0


def test_help_is_quick_and_complete() -> None:
    before = seconds_of_children()
    done = run("fetch", "--help")
    assert seconds_of_children() - before < 1
    assert done.returncode == 0
    for flag in ("--data_root", "--mirror", "--force"):
        assert flag in done.stdout
