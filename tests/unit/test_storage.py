"""Object storage: what an address may be, and copies that are whole, current and safe; against a real S3 server."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import requests
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from safetensors.numpy import save_file

from jmed.configuration.finetune import FinetuneConfig
from jmed.configuration.job import run_job
from jmed.configuration.schema import EvaluateConfig, ModelConfig, ScoreConfig
from jmed.data import catalogue
from jmed.data.__main__ import main
from jmed.errors import UserError
from jmed.evaluation.imported import _files, score
from jmed.evaluation.inputs import localise
from jmed.models import source
from jmed.storage import mirror, remote
from jmed.storage.address import MAX_PART, is_url, parse_url, problem, safe_path, without_secrets
from jmed.storage.names import state_of, with_urls
from jmed.training.prepare import gate_questions
from tests.conftest import ROOT

BUCKET = "hospital"
QUESTION = '{"question_id": "1", "language": "ja", "question": "?", "choices": ["x", "y"], "answer": "a"}\n'


# --- addresses


@given(st.text(max_size=30).map(lambda text: text.replace("x", "/").replace("y", "..")))
@example("a/../../b")
@example("/etc/passwd")
@example("a//b")
@example("C:/x")
@example("a\\..\\b")
@example("a/b\0")
def test_a_safe_path_never_leaves_its_folder_and_is_the_name_itself(name: str) -> None:
    path = safe_path(name)
    if path is None:
        return
    assert str(path) == name
    root = Path("/srv/cache")
    assert os.path.normpath(root / path) == f"{root}/{name}"
    assert all(len(part.encode("utf-8", "replace")) <= MAX_PART for part in path.parts)


@pytest.mark.parametrize("name", ["model.safetensors", "data/2018/112-A.jsonl", "日本 語%20#.json", ".hidden", "a..b"])
def test_plain_names_are_safe(name: str) -> None:
    assert str(safe_path(name)) == name


@pytest.mark.parametrize("text", ["models/x", "Qwen/Qwen2-7B", "/a", "~/a", "C:\\x", "jsonl:own.jsonl", "", "://a"])
def test_what_is_no_address(text: str) -> None:
    assert not is_url(text)


def test_the_parts_of_an_address() -> None:
    address = parse_url("s3://bucket/models/my%20model/", "model.path")
    assert (address.bucket, address.path, address.name) == ("bucket", "models/my%20model", "my%20model")
    assert parse_url("gs://bucket", "data_root").name == "bucket"


@pytest.mark.parametrize(
    "url", ["s3://bucket/a/../b", "s3://bucket//a", "s3:///a", "s3://", "https://host/m", "ftp://h/x"]
)
def test_addresses_that_are_refused_by_key(url: str) -> None:
    with pytest.raises(UserError, match=r"model\.path: .*expected"):
        parse_url(url, "model.path")


SECRET = "wJalr/XUtn+FEMI"
WITH_SECRET = [
    f"s3://AKIA:{SECRET}@bucket/m", f"s3://{SECRET.replace('/', '')}@bucket/m", f"s3://b/m?secret_key={SECRET}",
    f"s3://b/m?access_key=AKIA&secret_key={SECRET}&x=1", f"https://user:{SECRET}@host/m",
]  # fmt: skip


@pytest.mark.parametrize("url", WITH_SECRET)
def test_a_secret_in_an_address_is_refused_and_not_shown(url: str) -> None:
    for part in (SECRET, SECRET.replace("/", "")):
        assert part not in problem(url)
        assert part not in without_secrets(f"model.path: found '{url}'; expected …")
    assert "AWS_SECRET_ACCESS_KEY" in problem(url)


@pytest.mark.parametrize("url", ["s3://bucket/user@site/x", "s3://bucket/preds/part-?.jsonl", "gs://b.c-d/x y"])
def test_an_address_without_secrets_is_shown_as_it_is(url: str) -> None:
    assert without_secrets(f"{url}: x") == f"{url}: x"
    assert problem(url) == ""


@pytest.mark.parametrize("key", ["model.path", "benchmarks", "output_dir", "data_root", "prompt_file", "limit"])
@pytest.mark.parametrize("url", WITH_SECRET)
def test_no_message_of_a_job_shows_a_secret(
    key: str, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the message quotes the value, as for a benchmark that is no list and a limit that is no number."""
    given = {"model.path": "m", "benchmarks": '["mini"]', "output_dir": "out", key: url}
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *(part for k, v in given.items() for part in (f"--{k}", v))])
    assert run_job("evaluate.py", EvaluateConfig, lambda config: None) == 2
    shown = capsys.readouterr().err
    assert key in shown
    assert SECRET not in shown
    assert SECRET.replace("/", "") not in shown


def evaluation(**keys: Any) -> EvaluateConfig:
    return EvaluateConfig.model_validate({"model": {"path": "m"}, "benchmarks": ["mini"], "output_dir": "out", **keys})


def test_an_address_for_the_results_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"output_dir: found s3://b/runs; .*locked.*Give a folder"):
        evaluation(output_dir="s3://b/runs")


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"model": {"path": "s3://b/m"}}, "model.path: s3://b/m"),
        ({"model": {"path": "m", "adapter": "s3://b/a"}}, "model.adapter: s3://b/a"),
        ({"data_root": "s3://b/data"}, "data_root: s3://b/data"),
        ({"benchmarks": ["mini", "jsonl:s3://b/own.jsonl"]}, r"benchmarks\[1\]: s3://b/own.jsonl"),
        ({"prompt_file": "gs://b/p.yaml"}, "prompt_file: gs://b/p.yaml"),
    ],
)
def test_offline_refuses_every_address(keys: dict[str, Any], named: str) -> None:
    evaluation(**keys)
    with pytest.raises(ValueError, match=f"{named} is in object storage, and offline is true"):
        evaluation(**keys, offline=True)


# --- copies, from a real server


class Store:
    """The server, and what lies in its bucket."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.client = boto3.client("s3", endpoint_url=endpoint)

    def write(self, name: str, content: bytes | str) -> None:
        self.client.put_object(Bucket=BUCKET, Key=name, Body=content.encode() if isinstance(content, str) else content)

    def remove(self, name: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=name)

    def url(self, name: str) -> str:
        return f"s3://{BUCKET}/{name}"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def store(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty bucket, and an empty cache."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server, "JMED_CACHE": str(tmp_path / "cache"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(mirror, "PAUSES", (0.01, 0.01))
    requests.post(f"{server}/moto-api/reset", timeout=10)
    found = Store(server)
    found.client.create_bucket(Bucket=BUCKET)
    return found


def contents(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text("utf-8") for file in folder.rglob("*") if file.is_file()}


def left_over(cache: Path) -> list[Path]:
    """Files of copies that were not finished."""
    return [file for file in cache.rglob("*") if file.is_file() and file.name.startswith(".") and file.name != ".lock"]


def test_a_file_is_copied_once_and_again_when_it_changed(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.write("日本 語%20#/own.jsonl", "one")
    url = store.url("日本 語%20#/own.jsonl")
    first = mirror.local_file(url, "data[0].path")
    assert (first.name, first.read_text()) == ("own.jsonl", "one")
    assert f"copying {url}: 1 files" in capsys.readouterr().err
    assert mirror.local_file(url, "data[0].path") == first
    assert capsys.readouterr().err == ""
    store.write("日本 語%20#/own.jsonl", "two")  # of the same size, within the same second
    second = mirror.local_file(url, "data[0].path")
    assert (first.read_text(), second.read_text()) == ("one", "two")  # a job that reads the first is not disturbed
    assert state_of(first) != state_of(second)


def test_a_folder_is_its_present_objects_and_no_others(store: Store) -> None:
    files = {"config.json": "{}", "sub/x.txt": "x", "empty.txt": ""}
    for name, text in files.items():
        store.write(f"m/{name}", text)
    store.write("m2/config.json", "a folder whose name begins alike")
    store.client.put_object(Bucket=BUCKET, Key="m/marker/")
    first = mirror.local_folder(store.url("m/"), "model.path")
    assert (first.name, contents(first)) == ("m", files)
    store.remove("m/sub/x.txt")
    assert contents(mirror.local_folder(store.url("m"), "model.path")) == {"config.json": "{}", "empty.txt": ""}


def test_many_shards_are_copied_whole(store: Store) -> None:
    shards = {f"part-{number:03}.jsonl": os.urandom(1000 + number) for number in range(40)}
    for name, content in shards.items():
        store.write(f"corpus/{name}", content)
    big = os.urandom(2 * remote.BLOCK + 17)  # more than one request
    store.write("corpus/big.bin", big)
    folder = mirror.local_folder(store.url("corpus"), "data_root")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {**shards, "big.bin": big}
    assert left_over(mirror.cache_folder()) == []


def test_files_that_were_cleared_away_are_copied_again(store: Store) -> None:
    for name in ("a", "b"):
        store.write(f"m/{name}", name)
    folder = mirror.local_folder(store.url("m"), "model.path")
    (folder / "a").unlink()
    (folder / "b").write_text("cut")
    assert mirror.local_folder(store.url("m"), "model.path") == folder
    assert contents(folder) == {"a": "a", "b": "b"}


HOSTILE = ["m/../evil.json", "m/./x.json", "m//x.json", "m/a\\..\\b.json", "m/ x", f"m/{'x' * 250}"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_and_nothing_is_written(store: Store, tmp_path: Path, name: str) -> None:
    store.write("m/config.json", "{}")
    store.write(name, "evil")
    listed = [one["Key"] for one in store.client.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert name in listed
    with pytest.raises(UserError, match=r"model\.path: s3://hospital/m holds an object that cannot be a file here"):
        mirror.local_folder(store.url("m"), "model.path")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_object_that_is_also_a_folder_is_refused(store: Store) -> None:
    store.write("m/a", "file")
    store.write("m/a/b", "below it")
    with pytest.raises(UserError, match="holds an object that cannot be a file here: 'a/b'"):
        mirror.local_folder(store.url("m"), "model.path")


def test_what_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(
        UserError, match=rf"data\[0\]\.path: there is no object s3://hospital/x\.jsonl at {store.endpoint}"
    ):
        mirror.local_file(store.url("x.jsonl"), "data[0].path")
    with pytest.raises(UserError, match=r"model\.path: found no objects below s3://hospital/none/"):
        mirror.local_folder(store.url("none"), "model.path")
    with pytest.raises(UserError, match=r"model\.path: found no objects below s3://nobucket/m/ at .*; check bucket"):
        mirror.local_folder("s3://nobucket/m", "model.path")


def test_a_folder_where_a_file_is_expected(store: Store) -> None:
    store.write("m/config.json", "{}")
    with pytest.raises(UserError, match="there is no object s3://hospital/m"):
        mirror.local_file(store.url("m"), "prompt_file")


def test_a_disk_that_is_too_small_is_refused_before_anything_is_copied(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("m/config.json", "x" * 1000)
    monkeypatch.setattr(mirror, "SPARE", shutil.disk_usage(tmp_path).total)
    with pytest.raises(UserError, match=r"model\.path: s3://hospital/m needs 1\.0 kB .*JMED_CACHE"):
        mirror.local_folder(store.url("m"), "model.path")
    assert not list(tmp_path.rglob("config.json"))


def test_a_cache_that_cannot_be_written_is_named(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("m/config.json", "{}")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JMED_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"no copy of s3://hospital/m can be kept in .*Not a directory.*JMED_CACHE"):
        mirror.local_folder(store.url("m"), "model.path")


# --- bad networks: a proxy in front of the server that misbehaves


class Proxy:
    """Passes requests on to the server; `spoil` gets an object's path and bytes and gives others, or None: hang up."""

    def __init__(self, endpoint: str, spoil: Callable[[str, bytes], bytes | None]) -> None:
        self.gets = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                skipped = ("connection", "transfer-encoding", "content-length")
                headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
                answer = requests.request(self.command, endpoint + self.path, headers=headers, timeout=10)
                body: bytes | None = answer.content
                if self.command == "GET" and "list-type" not in self.path:
                    proxy.gets += 1
                    body = spoil(self.path, answer.content)
                if body is not None:
                    self.send_response(answer.status_code)
                    for name, value in answer.headers.items():
                        if name.lower() not in skipped:
                            self.send_header(name, value)
                    size = answer.headers.get("Content-Length", str(len(answer.content)))
                    self.send_header("Content-Length", size)
                    self.end_headers()
                    self.wfile.write(body)
                if body is None or len(body) != len(answer.content):
                    self.close_connection = True

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def proxied(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Proxy]]:
    with contextlib.ExitStack() as stack:

        def start(spoil: Callable[[str, bytes], bytes | None]) -> Proxy:
            proxy = Proxy(store.endpoint, spoil)
            stack.callback(proxy.stop)
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
            return proxy

        yield start


def test_an_object_cut_short_is_no_copy(store: Store, proxied: Callable[..., Proxy], tmp_path: Path) -> None:
    store.write("m/model.safetensors", b"x" * 100_000)
    proxied(lambda path, body: body[: len(body) // 2])
    with pytest.raises(
        UserError, match=r"model\.path: s3://hospital/m/model\.safetensors cannot be read at http://127"
    ):
        mirror.local_folder(store.url("m"), "model.path")
    assert not list(tmp_path.rglob("model.safetensors"))
    assert left_over(mirror.cache_folder()) == []


def test_a_network_that_recovers_does_no_harm(store: Store, proxied: Callable[..., Proxy]) -> None:
    store.write("m/a", b"x" * 100_000)
    answers = iter([None, b"cut", None])
    proxy = proxied(lambda path, body: next(answers, body))
    assert (mirror.local_folder(store.url("m"), "model.path") / "a").read_bytes() == b"x" * 100_000
    assert proxy.gets == 4


def test_a_server_that_goes_away_midway_leaves_what_was_whole(
    store: Store, proxied: Callable[..., Proxy], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abcd":
        store.write(f"m/{name}", name * 1000)
    gone: list[str] = []
    proxied(lambda path, body: body if gone or path.endswith(("/a", "/b")) else None)
    with pytest.raises(UserError, match=r"s3://hospital/m/[cd] cannot be read"):
        mirror.local_folder(store.url("m"), "model.path")
    part = next(mirror.cache_folder().rglob(f"*{mirror.PART}"))
    whole = {file.name for file in part.rglob("*") if file.is_file()}
    assert whole <= {"a", "b"}
    assert left_over(mirror.cache_folder()) == []
    gone.append("back again")
    capsys.readouterr()
    assert contents(mirror.local_folder(store.url("m"), "model.path")) == {name: name * 1000 for name in "abcd"}
    assert f"{4 - len(whole)} files" in capsys.readouterr().err  # only what was missing


def test_a_server_that_is_not_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"s3://hospital/m cannot be read at http://127\.0\.0\.1:9: .*connect"):
        mirror.local_folder(store.url("m"), "model.path")


def test_an_object_that_changes_while_it_is_copied(store: Store, proxied: Callable[..., Proxy]) -> None:
    store.write("m/a", b"x" * 1000)

    def change(path: str, body: bytes) -> bytes:
        store.write("m/a", os.urandom(1000))
        return body

    proxied(change)
    with pytest.raises(UserError, match="changed while it was copied: run the command again"):
        mirror.local_folder(store.url("m"), "model.path")


def test_several_processes_copy_at_once(store: Store) -> None:
    for number in range(20):
        store.write(f"m/{number}", os.urandom(200_000))
    code = f"from jmed.storage import mirror; print(mirror.local_folder({store.url('m')!r}, 'model.path'))"
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        for _ in range(4)
    ]
    ends = [job.communicate(timeout=60) for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 4, ends
    (folder,) = {out for out, _ in ends}
    assert sum("copying" in errors for _, errors in ends) == 1
    assert len(list(Path(folder.strip()).iterdir())) == 20
    assert left_over(mirror.cache_folder()) == []


# --- the keys of the jobs


def test_only_the_families_that_are_named_are_copied(store: Store) -> None:
    for name in ("igakuqa/data/2018/112-A.jsonl", "medqa/phrases_no_exclude_test.jsonl", "models/big.bin"):
        store.write(f"data/{name}", "x")
    config = evaluation(benchmarks=["medqa", "mini", "no-such"], data_root=store.url("data"))
    local = localise(config)
    assert contents(Path(local.data_root)) == {"medqa/phrases_no_exclude_test.jsonl": "x"}
    assert local.as_given.model_dump() == config.model_dump()
    assert local.model_copy(update={"limit": 3}).as_given == config
    with pytest.raises(UserError, match="data_root: found no objects below s3://hospital/data/pubmedqa/"):
        localise(evaluation(benchmarks=["medqa", "pubmedqa"], data_root=store.url("data")))


def test_nothing_is_asked_for_if_nothing_is_remote() -> None:
    config = evaluation()
    assert localise(config) is config


def test_an_own_benchmark_keeps_its_name_and_messages_show_the_address(store: Store) -> None:
    name = f"jsonl:{store.url('own.jsonl')}"
    store.write("own.jsonl", QUESTION)
    localise(evaluation(benchmarks=[name]))
    (question,) = catalogue.load(name, "ja", None)
    assert question.benchmark == name
    store.write("own.jsonl", QUESTION + "{broken\n")
    localise(evaluation(benchmarks=[name]))
    with pytest.raises(UserError) as caught:
        catalogue.load(name, "ja", None)
    assert with_urls(str(caught.value)).startswith(f"{store.url('own.jsonl')}:2: ")
    assert str(mirror.cache_folder()) not in with_urls(str(caught.value))


def test_predictions_by_wildcard(store: Store) -> None:
    def found(pattern: str) -> list[str]:
        config = ScoreConfig(benchmark="mini", predictions=pattern, output_dir="out")
        return [file.name for file in _files(localise(config).predictions)]

    store.write("flat/x.jsonl", "x")
    assert found(store.url("flat/*.jsonl")) == ["x.jsonl"]
    assert found(store.url("flat/x.jsonl")) == ["x.jsonl"]
    store.write("p/2018/a_gpt4.jsonl", "")
    store.write("p/2018/deep/b_gpt4.jsonl", "")
    store.write("p/2018/a_other.jsonl", "")
    assert found(store.url("p/*/*_gpt4.jsonl")) == ["a_gpt4.jsonl"]
    assert found(store.url("p/**/?_gpt4.jsonl")) == ["a_gpt4.jsonl", "b_gpt4.jsonl"]
    with pytest.raises(UserError, match=r"predictions: found no \*\.csv below s3://hospital/flat/"):
        found(store.url("flat/*.csv"))


def test_training_files_from_addresses(store: Store) -> None:
    store.write("train/a.jsonl", QUESTION)
    store.write("prompts.yaml", 'mine: "{{question}}"')
    store.write("own.jsonl", QUESTION)
    url = store.url("train/a.jsonl")
    config = FinetuneConfig.model_validate(
        {
            "model": {"path": "m"}, "stage": "instruct", "output_dir": "out", "prompt_file": store.url("prompts.yaml"),
            "data": [{"path": url, "format": "mcqa", "weight": 0.5}, {"path": "here.jsonl", "format": "chat"}],
            "contamination": {"benchmarks": [f"jsonl:{store.url('own.jsonl')}"]},
        }
    )  # fmt: skip
    local = localise(config)
    first, second = local.data
    assert (first.name, first.weight, Path(str(first.path)).read_text()) == ("a.jsonl", 0.5, QUESTION)
    assert second == config.data[1]
    assert Path(str(local.prompt_file)).name == "prompts.yaml"
    assert len(gate_questions(local)) == 1
    assert local.as_given.data[0].path == url


def test_scoring_from_addresses_is_scoring_from_folders(store: Store, tmp_path: Path) -> None:
    options = dict(zip("ABCD", ("iron", "zinc", "copper", "lead"), strict=True))
    question = {"question": "Which is low?", "answer": "iron", "options": options, "answer_idx": "A"}
    files = {
        "data/medqa/phrases_no_exclude_test.jsonl": json.dumps(question),
        "answers/part-1.jsonl": '{"question_id": "1", "prediction": "a"}',
    }
    for name, text in files.items():
        store.write(name, text)
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    for root, output in ((f"s3://{BUCKET}", "there"), (str(tmp_path), "here")):
        score(
            ScoreConfig(
                benchmark="medqa", language="en", data_root=f"{root}/data", predictions=f"{root}/answers/part-*.jsonl",
                output_dir=str(tmp_path / output),
            )
        )  # fmt: skip
    there, here = (yaml.safe_load((tmp_path / name / "run.yaml").read_text()) for name in ("there", "here"))
    assert there["identity"]["data"] == here["identity"]["data"]
    assert there["configuration"]["data_root"] == store.url("data")
    assert there["configuration"]["predictions"] == store.url("answers/part-*.jsonl")
    results = [json.loads((tmp_path / name / "results.json").read_text())["scores"] for name in ("there", "here")]
    assert results[0] == results[1]
    assert results[0][0]["value"] == 1.0


def test_copies_are_for_the_own_account(store: Store) -> None:
    store.write("a.jsonl", QUESTION)
    mirror.local_file(store.url("a.jsonl"), "data[0].path")
    assert mirror.cache_folder().stat().st_mode & 0o077 == 0


def test_benchmark_files_are_not_fetched_to_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["fetch", "igakuqa", "--data_root", "s3://b/data"])
    assert "found s3://b/data; expected a folder" in capsys.readouterr().err


def test_only_the_files_of_a_model_are_copied_and_its_name_is_the_last_part(store: Store) -> None:
    files = ["config.json", "model.safetensors", "tokenizer.json", "additional_chat_templates/x.jinja"]
    others = ["pytorch_model.bin", "checkpoint-5/model.safetensors", "README.md"]
    for name in (*files, *others):
        store.write(f"models/my-model/{name}", name)
    url = store.url("models/my-model")
    folder = source._locate(url, None, False, "model.path")
    assert set(contents(folder)) == set(files)
    assert source._name(url + "/", folder) == "my-model"


def test_a_trained_adapter_is_called_by_its_run(store: Store) -> None:
    store.write("runs/first/adapter/lineage.json", "{}")
    url = store.url("runs/first/adapter")
    assert source._name(url, source._locate(url, None, False, "model.adapter")) == "first"


def test_another_machine_refuses_a_model_that_changed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({"x": np.zeros(2, np.float32)}, tmp_path / "model.safetensors")
    store.write("m/model.safetensors", (tmp_path / "model.safetensors").read_bytes())
    for name in ("m/config.json", "m/tokenizer.json"):
        store.write(name, "{}")
    config = ModelConfig(path=store.url("m"))
    found = source.find_model(config, False)
    assert source.find_here(found, config, False) is found
    monkeypatch.setenv("JMED_CACHE", str(tmp_path / "another-machine"))
    shutil.rmtree(found.folder)
    here = source.find_here(found, config, False)
    assert here.folder.is_relative_to(tmp_path / "another-machine")
    assert here.name == found.name == "m"
    assert source.fingerprint(here.folder).keys() == {"config.json", "tokenizer.json", "model.safetensors"}
    store.write("m/config.json", '{"changed": true}')
    with pytest.raises(UserError, match=r"model\.path: s3://hospital/m was changed after this run began"):
        source.find_here(found, config, False)
