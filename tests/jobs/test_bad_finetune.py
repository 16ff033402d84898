"""Training that cannot or must not begin: exit 2, one message that says how to mend it, nothing left behind."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jmed.data import catalogue
from tests.conftest import ROOT
from tests.jobs.conftest import job_command, run_job

Refused = Callable[..., str]
QUESTION = {"question_id": "own-1", "language": "en", "question": "Which?", "choices": ["x", "y"], "answer": "a"}


def flags(**keys: Any) -> list[str]:
    """`steps=3, model__path="m"` as `--steps 3 --model.path m`; lists as JSON."""
    found = []
    for key, value in keys.items():
        found += [f"--{key.replace('__', '.')}", json.dumps(value) if isinstance(value, list) else str(value)]
    return found


def written(file: Path, *rows: Any) -> list[dict[str, str]]:
    """Rows, one a line, as the only data source of an instruct run."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return [{"path": str(file), "format": "mcqa"}]


@pytest.fixture
def refused(tmp_path: Path, tiny_model: Path) -> Refused:
    """Run `finetune` with one mistake; returns its message."""

    def run(**keys: Any) -> str:
        defaults = {
            "model__path": tiny_model, "stage": "instruct", "tuning": "lora", "output_dir": tmp_path / "out",
            "offline": "true", "data": written(tmp_path / "good.jsonl", QUESTION),
        }  # fmt: skip
        done = run_job("finetune", *flags(**{**defaults, **keys}), RAY_ADDRESS="", RAY_TMPDIR=str(tmp_path / "ray"))
        assert done.returncode == 2, done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "ray").exists()
        return done.stderr.split("finetune.py: ", 1)[1]

    return run


def test_a_malformed_line_is_named(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    message = refused(data=written(file, QUESTION, '{"question_id": '))
    assert message.startswith(f"{file}:2: not JSON")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("format", "row", "found"),
    [
        ("mcqa", {**QUESTION, "answer": "z"}, "answer"),
        ("alpaca", {"instruction": "Say x.", "output": " "}, "field 'output' is empty"),
        ("chat", {"messages": [{"role": "user", "content": "x"}]}, "roles are user"),
        ("chat", {"text": "x"}, "'messages' is missing"),
    ],
)
def test_a_line_of_the_wrong_kind_is_named(
    refused: Refused, tmp_path: Path, format: str, row: dict[str, Any], found: str
) -> None:
    written(tmp_path / "bad.jsonl", row)
    message = refused(data=[{"path": str(tmp_path / "bad.jsonl"), "format": format}])
    assert message.startswith(f"{tmp_path / 'bad.jsonl'}:1: ")
    assert found in message


def test_empty_data(refused: Refused, tmp_path: Path) -> None:
    assert "holds no" in refused(data=written(tmp_path / "empty.jsonl"))
    assert not (tmp_path / "out").exists()


def test_a_missing_file(refused: Refused, tmp_path: Path) -> None:
    assert "there is no such file" in refused(data=[{"path": str(tmp_path / "none.jsonl"), "format": "mcqa"}])


def test_a_sequence_shorter_than_the_prompt(refused: Refused, tmp_path: Path) -> None:
    message = refused(sequence_length=8)
    assert message.startswith(f"{tmp_path / 'good.jsonl'}:1: has ")
    assert "sequence_length is 8" in message
    assert "--too_long drop" in message
    assert "nothing is left to train on" in refused(sequence_length=8, too_long="drop")


def test_a_sequence_longer_than_the_model(refused: Refused) -> None:
    assert refused(sequence_length=100_000).startswith(
        "sequence_length: found 100,000; the model's context holds 4,096"
    )


def test_planted_exam_questions_are_refused_with_their_ids(refused: Refused, tmp_path: Path, data_root: Path) -> None:
    """Two IgakuQA questions hidden among others, one of them in the other language and with its choices shuffled."""
    japanese = catalogue.load("igakuqa-2018", "ja", data_root)
    english = catalogue.load("igakuqa-2019", "en", data_root)
    taken = [japanese[7], next(question for question in english if len(question.text) > 100)]
    rows = [
        {
            "instruction": question.text + "\n" + "\n".join(reversed(question.choices)),
            "output": question.choices[0],
        }
        for question in taken
    ]
    harmless = [{"instruction": f"Write the number {n}.", "output": str(n)} for n in range(20)]
    written(tmp_path / "planted.jsonl", *harmless[:9], rows[0], *harmless[9:], rows[1])
    message = refused(
        data=[{"path": str(tmp_path / "planted.jsonl"), "format": "alpaca"}],
        contamination__benchmarks=["igakuqa"], data_root=data_root,
    )  # fmt: skip
    assert message.startswith("data: 2 of 22 training examples hold questions of igakuqa")
    for question, line in zip(taken, (10, 22), strict=True):
        assert f"{tmp_path / 'planted.jsonl'}:{line}: igakuqa {question.question_id}" in message
    assert "--contamination.action drop" in message
    assert not (tmp_path / "out").exists()


def test_training_on_the_exam_itself_is_refused_in_the_other_language_too(refused: Refused, data_root: Path) -> None:
    message = refused(
        data=[{"benchmark": "igakuqa-2018", "language": "ja"}], contamination__benchmarks=["igakuqa-2018"],
        data_root=data_root,
    )  # fmt: skip
    assert "training examples hold questions of igakuqa-2018" in message


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"lora__targets": ["q_prj"]}, "lora.targets: the model has no module 'q_prj'; did you mean 'q_proj'?"),
        ({"stage": "pretrain"}, "--data: data[0]: found format 'mcqa'; stage pretrain takes text"),
        ({"epochs": 1, "steps": 2}, "epochs and steps: give one of the two"),
        ({"tuning": "full", "workers__count": [1, 2]}, "workers.count: [min, max] needs tuning lora or qlora"),
        ({"checkpoint__keep": "best"}, "checkpoint.keep: best needs evaluate.benchmarks"),
        ({"model__quantization": "nf4"}, "model.quantization: nf4 goes with tuning qlora"),
        ({"prompt": "nosuch"}, "prompt: no template named 'nosuch'"),
        ({"learning_rate": 0}, "--learning_rate: learning_rate: found '0'; expected"),
    ],
)
def test_a_wrong_setting_is_named(refused: Refused, keys: dict[str, Any], found: str) -> None:
    assert found in refused(**keys)


def test_an_adapter_folder_in_the_way(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "out" / "adapter").mkdir(parents=True)
    (tmp_path / "out" / "adapter" / "mine.txt").write_text("x")
    assert "holds adapter but no run.yaml; give another folder" in refused()
    assert (tmp_path / "out" / "adapter" / "mine.txt").read_text() == "x"


def test_what_the_cluster_cannot_give_is_refused_by_name(tmp_path: Path, ray_address: str, tiny_model: Path) -> None:
    done = run_job(
        "finetune", *flags(
            model__path=tiny_model, stage="instruct", data=written(tmp_path / "q.jsonl", QUESTION), offline="true",
            output_dir=tmp_path / "out", workers__count=64, global_batch_size=64,
        ), RAY_ADDRESS=ray_address,
    )  # fmt: skip
    assert done.returncode == 2
    assert "workers: 64 workers of 1 CPUs and 0 GPUs asked for, the cluster has 2 CPUs" in done.stderr
    assert not (tmp_path / "out").exists()


def test_preflight_only_stops_there(tmp_path: Path, ray_address: str, tiny_model: Path) -> None:
    done = run_job(
        "finetune", *flags(
            model__path=tiny_model, stage="instruct", data=written(tmp_path / "q.jsonl", QUESTION), offline="true",
            output_dir=tmp_path / "out", workers__count=1, preflight_only="true",
        ), RAY_ADDRESS=ray_address,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"preflight.json", ".lock"}
    assert json.loads((tmp_path / "out" / "preflight.json").read_text("utf-8"))["fits"] is True


def test_a_loss_that_is_no_number_stops_with_the_last_checkpoint(
    tmp_path: Path, ray_address: str, tiny_model: Path
) -> None:
    done = run_job(
        "finetune", *flags(
            model__path=tiny_model, stage="instruct", tuning="full", zero__stage=0, offline="true", max_grad_norm=1e30,
            data=written(tmp_path / "q.jsonl", *({**QUESTION, "question_id": f"own-{n}"} for n in range(8))),
            output_dir=tmp_path / "out", workers__count=2, global_batch_size=2, steps=20, learning_rate=1e30, warmup=0,
            checkpoint__every_steps=1,
        ), RAY_ADDRESS=ray_address,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "not a number" in done.stderr
    assert "lower learning_rate" in done.stderr
    assert not (tmp_path / "out" / "model").exists()


def _fill_after_first_step(job: subprocess.Popen[str], disk: Path) -> None:
    """Take all the room that is left on the disk once training has begun."""
    deadline = time.monotonic() + 600
    log = disk / "out" / "train_log.jsonl"
    while not (log.exists() and log.stat().st_size):
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline, "no step was made"
        time.sleep(0.02)
    with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(b"x" * 4096)


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path, ray_address: str, tiny_model: Path) -> None:
    """A real file system that fills up; with room again, the same command ends the run."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        command = flags(
            model__path=tiny_model,
            stage="instruct",
            tuning="lora",
            offline="true",
            lora__r=64,
            data=written(tmp_path / "q.jsonl", *({**QUESTION, "question_id": f"own-{n}"} for n in range(8))),
            output_dir=disk / "out",
            workers__count=2,
            global_batch_size=2,
            steps=20,
            checkpoint__every_steps=5,
        )
        job = subprocess.Popen(
            job_command("finetune", *command), cwd=ROOT, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
            env={**os.environ, "RAY_ADDRESS": ray_address},
        )  # fmt: skip
        _fill_after_first_step(job, disk)
        _, errors = job.communicate(timeout=600)
        assert job.returncode == 2, errors
        assert "output_dir: " in errors
        assert "Make room" in errors
        (disk / "ballast").unlink()
        done = run_job("finetune", *command, RAY_ADDRESS=ray_address)
        assert done.returncode == 0, done.stderr
        rows = (disk / "out" / "train_log.jsonl").read_text("utf-8").splitlines()
        assert [json.loads(row)["step"] for row in rows] == list(range(1, 21))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
