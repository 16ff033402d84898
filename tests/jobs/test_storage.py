"""A real evaluation whose model, adapter, benchmark files and templates lie in object storage."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
import yaml
from moto.server import ThreadedMotoServer

from tests.jobs.conftest import run_job

BUCKET = "hospital"


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An S3 server with an empty bucket: the environment of a job that may read it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1", "JMED_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    server.stop()


def upload(folder: Path, environment: dict[str, str]) -> str:
    """Every file below a folder, to s3://hospital/NAME-OF-THE-FOLDER."""
    client = boto3.client(
        "s3", endpoint_url=environment["AWS_ENDPOINT_URL"], region_name="us-east-1",
        aws_access_key_id="key", aws_secret_access_key="secret",
    )  # fmt: skip
    client.create_bucket(Bucket=BUCKET)
    for file in (one for one in folder.rglob("*") if one.is_file()):
        client.upload_file(str(file), BUCKET, f"{folder.name}/{file.relative_to(folder)}")
    return f"s3://{BUCKET}/{folder.name}"


def lay_out(root: Path, model: Path) -> None:
    """A base with an adapter, two benchmarks and a template, as they would lie on a shared path."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model)
    get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)).save_pretrained(
        root / "my-adapter"
    )
    shutil.copytree(model, root / "my-model")
    (root / "data/medqa").mkdir(parents=True)
    options = dict(zip("ABCD", ("iron", "zinc", "copper", "lead"), strict=True))
    row = {"question": "Which is low?", "answer": "iron", "options": options, "answer_idx": "A"}
    (root / "data/medqa/phrases_no_exclude_test.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    rows = [
        {"question_id": f"q{n}", "language": "ja", "question": f"問{n}", "choices": ["x", "y"], "answer": "ab"[n % 2]}
        for n in range(6)
    ]
    (root / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (root / "prompts.yaml").write_text('mine: "Q: {{question}} ({{choices}})"\n', "utf-8")


def arguments(root: str, output: Path) -> list[str]:
    return [
        "--model.path", f"{root}/my-model", "--model.adapter", f"{root}/my-adapter", "--data_root", f"{root}/data",
        "--benchmarks", json.dumps(["medqa", f"jsonl:{root}/own.jsonl"]), "--prompt", "mine",
        "--prompt_file", f"{root}/prompts.yaml", "--method", "options", "--workers.count", "1",
        "--output_dir", str(output),
    ]  # fmt: skip


def answer(row: dict[str, Any]) -> str:
    """All of a row but the id, which holds the benchmark's name."""
    return json.dumps({key: value for key, value in row.items() if key != "item_id"}, sort_keys=True)


def test_an_evaluation_from_object_storage_gives_the_answers_of_one_from_folders(
    tmp_path: Path, ray_address: str, tiny_model: Path, storage: dict[str, str]
) -> None:
    root = tmp_path / "shared"
    root.mkdir()
    lay_out(root, tiny_model)
    url = upload(root, storage)
    environment = {"RAY_ADDRESS": ray_address, **storage}
    for place, output in ((str(root), tmp_path / "here"), (url, tmp_path / "there")):
        done = run_job("evaluate", *arguments(place, output), **environment)
        assert done.returncode == 0, done.stderr

    here, there = (pq.read_table(tmp_path / name / "answers.parquet").to_pylist() for name in ("here", "there"))
    assert {row["model"] for row in there} == {"my-model+my-adapter"}
    assert {row["benchmark"] for row in there} == {"medqa", f"jsonl:{url}/own.jsonl"}
    assert len(here) == 7
    for row in here:  # an own benchmark is called by its place, in which alone the two differ
        row["benchmark"] = row["benchmark"].replace(str(root), url)
    assert sorted(map(answer, here)) == sorted(map(answer, there))

    local, record = (yaml.safe_load((tmp_path / name / "run.yaml").read_text("utf-8")) for name in ("here", "there"))
    assert record["configuration"]["model"]["path"] == f"{url}/my-model"
    assert record["configuration"]["data_root"] == f"{url}/data"
    assert record["configuration"]["prompt_file"] == f"{url}/prompts.yaml"
    for key in ("model", "adapter", "templates", "data"):  # of contents, wherever they lay
        assert record["identity"][key] == local["identity"][key]
    assert set(record["identity"]["data"]) == {"medqa/phrases_no_exclude_test.jsonl", "own.jsonl"}

    again = run_job("evaluate", *arguments(url, tmp_path / "there"), **environment)
    assert "nothing is asked again" in again.stderr
    assert "copying" not in again.stderr
