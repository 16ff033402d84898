"""What only Ray itself can say of the files under cluster/: its schema of `ray up`, its flags, its labels."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

CLUSTER = ROOT / "cluster"
RAY_UP = [CLUSTER / "on-premise/cluster.yaml", CLUSTER / "cloud/aws-spot.yaml"]
GPUS = {  # what nvidia-smi prints -> the labels
    "Tesla T4, 15360\n": {"jmed-gpu": "t4", "jmed-batch-tokens": "2048"},
    "NVIDIA GeForce GTX 1070, 8192\n": {"jmed-gpu": "gtx-1070", "jmed-batch-tokens": "1024"},
    "NVIDIA A10G, 23028\nNVIDIA A10G, 23028\n": {"jmed-gpu": "a10g", "jmed-batch-tokens": "4096"},
    "NVIDIA H100 80GB HBM3, 81559\n": {"jmed-gpu": "h100-80gb-hbm3", "jmed-batch-tokens": "8192"},
    "NVIDIA H100 80GB HBM3, 81559\nTesla T4, 15360\n": {"jmed-gpu": "mixed", "jmed-batch-tokens": "2048"},
    "NVIDIA GB10, [N/A]\n": {"jmed-gpu": "gb10"},
    "": {"jmed-gpu": "none"},
}


@pytest.mark.parametrize("path", RAY_UP, ids=lambda path: path.name)
def test_ray_accepts_the_cluster(path: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load(path.read_text()))
    validate_config(config)
    assert "--background" in config["head_start_ray_commands"][-1], "not Ray's default commands"


def test_ray_refuses_an_unknown_key() -> None:
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(RAY_UP[1].read_text())
    config["available_node_types"]["t4"]["spot"] = True
    with pytest.raises(jsonschema.ValidationError, match="spot"):
        validate_config(prepare_config(config))


def test_data_models_and_keys_do_not_travel_with_a_job(tmp_path: Path) -> None:
    from ray._private.runtime_env.packaging import get_excludes_from_ignore_files

    for file in (".rayignore", ".gitignore"):
        (tmp_path / file).write_text((ROOT / file).read_text())
    left_out = get_excludes_from_ignore_files(tmp_path, include_gitignore=True)

    def travels(file: str) -> bool:
        return not any(out(tmp_path / file) for out in left_out)

    assert travels("jobs/evaluate.py")
    assert travels("jmed/data/exams/mini.jsonl")
    assert travels("jmed/models/loading.py")
    for file in (
        "data/igakuqa/x.jsonl",
        "models/m/config.json",
        "x/model.safetensors",
        "tls/node.key",
        "runs/r/run.yaml",
    ):
        assert not travels(file), file


def options(command: str) -> set[str]:
    """The flags of a command of Ray."""
    from ray.scripts import scripts

    return {option for parameter in getattr(scripts, command).params for option in parameter.opts}


def test_flags_of_ray_start_exist() -> None:
    script_flags = set()
    for script in ("start-head.sh", "start-worker.sh"):
        for line in (CLUSTER / "on-premise" / script).read_text().splitlines():
            if "flags=(" in line or "flags+=(" in line or line.startswith("exec ray start"):
                script_flags |= set(re.findall(r"--[a-z-]+", re.sub(r"^ *--[a-z-]+\)", "", line)))
    assert script_flags >= {"--dashboard-host", "--labels", "--object-store-memory", "--num-cpus"}
    assert script_flags <= options("start")
    for path in CLUSTER.glob("kubernetes/*.yaml"):
        for parameters in re.findall(r"rayStartParams:\n((?: +[a-z-]+: .*\n)+)", path.read_text()):
            names = re.findall(r"^ +([a-z-]+): \"", parameters, re.MULTILINE)
            assert {f"--{name}" for name in names} <= options("start")


def test_flags_of_drain_node_exist() -> None:
    text = (CLUSTER / "cloud/preemption.sh").read_text()
    call = text[text.index("ray drain-node --address") :]
    assert set(re.findall(r"--[a-z-]+", call)) <= options("drain_node")


def machine_labels(folder: Path, printed: str, *arguments: str) -> str:
    """What the start scripts would label a machine with these GPUs."""
    (folder / "gpus").write_text(printed)
    program = folder / "nvidia-smi"
    program.write_text(f'#!/bin/sh\ncat "{folder}/gpus"\n')
    program.chmod(0o755)
    script = f'set -euo pipefail; source {CLUSTER}/on-premise/common.sh; machine_labels "$@"'
    return subprocess.run(
        ["bash", "-c", script, "test", *arguments],
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=20, check=True,
    ).stdout.strip()  # fmt: skip


@pytest.mark.parametrize("printed", GPUS)
def test_labels_follow_from_the_gpus_and_suit_ray(printed: str, tmp_path: Path) -> None:
    from ray._private.label_utils import parse_node_labels_string

    assert parse_node_labels_string(machine_labels(tmp_path, printed, "", "", "")) == GPUS[printed]


def test_given_labels_win(tmp_path: Path) -> None:
    assert machine_labels(tmp_path, "Tesla T4, 15360\n", "t4-old", "512", ",ward=icu") == (
        "jmed-gpu=t4-old,jmed-batch-tokens=512,ward=icu"
    )


def test_labels_in_files_suit_ray_and_the_rule(tmp_path: Path) -> None:
    from ray._private.label_utils import validate_node_label_syntax

    memory = {"a10": "A10, 23028", "a10g": "A10G, 23028", "t4": "T4, 15360"}
    found = 0
    for path in [*CLUSTER.glob("kubernetes/*.yaml"), *RAY_UP]:
        for text in re.findall(r"labels: (\{jmed-gpu.*?\})(?=  |$)", path.read_text(), re.MULTILINE):
            labels = yaml.safe_load(text)
            if "jmed-batch-tokens" in labels:
                validate_node_label_syntax(labels)
                folder = tmp_path / str(found)
                folder.mkdir()
                wanted = machine_labels(folder, f"NVIDIA {memory[labels['jmed-gpu']]}\n", "", "", "")
                assert wanted == f"jmed-gpu={labels['jmed-gpu']},jmed-batch-tokens={labels['jmed-batch-tokens']}"
                found += 1
    assert found >= 5
