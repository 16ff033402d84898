"""The preflight's judgement on machines that are only described: which workers fit, and what is said if not."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import Qwen2Config

from jmed.distributed.capacity import Workers
from jmed.distributed.places import runs
from jmed.distributed.preflight import PREFLIGHT, Preflight, judge
from jmed.distributed.survey import Gpu, Machine, available_memory
from jmed.errors import UserError
from jmed.models.source import ModelSource
from jmed.report.memory import print_memory
from jmed.training.memory import GIB
from jmed.training.schedule import MicroBatch
from tests.unit.training_kit import configured

BUILD = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
T4 = Gpu("Tesla T4", 16 * GIB, int(14.6 * GIB), (7, 5), False)
V100 = Gpu("Tesla V100", 16 * GIB, int(15.5 * GIB), (7, 0), False)
RTX4090 = Gpu("NVIDIA GeForce RTX 4090", 24 * GIB, int(23.2 * GIB), (8, 9), True)
LAPTOP = Gpu("NVIDIA GeForce RTX 4060 Laptop GPU", 8 * GIB, int(7.5 * GIB), (8, 9), True)


def machine(node: str, *gpus: Gpu, cpus: int = 8, memory: int = 30 * GIB, disk: int = 1000 * GIB) -> Machine:
    return Machine(node, cpus, memory, disk, gpus, BUILD if gpus else (), "2.13.0+cu130")


@pytest.fixture(scope="module")
def qwen2_7b(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    """Its configuration; there are no weights."""
    folder = tmp_path_factory.mktemp("qwen2-7b")
    Qwen2Config(
        hidden_size=3584, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4,
        intermediate_size=18944, vocab_size=152064, tie_word_embeddings=False, dtype="bfloat16",
        architectures=["Qwen2ForCausalLM"],
    ).save_pretrained(folder)  # fmt: skip
    return ModelSource("Qwen2-7B", folder, None, "none", "auto")


def judged(
    source: ModelSource, machines: list[Machine], count: int = 1, gpus: float = 1.0, rows: int = 1, **keys: Any
) -> Preflight:
    """Rows of 1,024 tokens, half of them supervised. Few adapters make a quick rehearsal."""
    few = {"tuning": "qlora", "lora": {"r": 16, "targets": ["q_proj", "v_proj"]}, "sequence_length": 1024}
    config = configured(source.folder, **{**few, **keys})
    longest = MicroBatch(0, tuple((row,) for row in range(rows)), 1024, rows * 1024, rows * 512)
    return judge(config, source, longest, Workers(count, gpus, 1, 1.0), machines)


def test_each_kind_of_gpu_of_each_machine_is_judged_in_its_own_dtype(qwen2_7b: ModelSource) -> None:
    found = judged(qwen2_7b, [machine("a", RTX4090, RTX4090), machine("b", T4)], count=2)
    assert [(row["machine"], row["device"], row["dtype"], row["fits"]) for row in found.rows] == [
        ("a", RTX4090.name, "bfloat16", True),
        ("b", T4.name, "float16", True),
    ]
    assert found.fits
    found.refuse()
    notes = "\n".join(found.notes)
    assert "3 GPUs for 2 workers: Ray may take any, so training must fit into the smallest" in notes
    assert "Tesla T4: float16 with a loss scaler" in notes
    assert "workers compute in bfloat16 and float16" in notes
    assert "overhead is an estimate" in notes


def test_the_worst_worker_comes_first_and_the_advice_fits_all(qwen2_7b: ModelSource) -> None:
    machines = [machine("big", RTX4090), machine("old", T4), machine("small", LAPTOP)]
    found = judged(qwen2_7b, machines, count=3, tuning="lora")
    assert [row["fits"] for row in found.rows] == [True, False, False]
    with pytest.raises(UserError) as refused:
        found.refuse()
    first, *rest = str(refused.value).splitlines()
    assert first.startswith(f"preflight: small {LAPTOP.name}: a worker needs ")
    assert first.endswith("it would get 7.5 GiB")
    assert rest[0].startswith("  old Tesla T4: a worker needs ")
    assert "  What would fit:" in rest
    assert any(line.startswith("  --tuning qlora: ") for line in rest)


def test_of_gpus_alike_the_fullest_counts_and_a_share_is_a_share(qwen2_7b: ModelSource) -> None:
    busy = replace(RTX4090, free=3 * GIB)
    found = judged(qwen2_7b, [machine("a", RTX4090, busy)])
    assert [row["available"] for row in found.rows] == [3 * GIB]
    assert not found.fits
    halves = judged(qwen2_7b, [machine("a", RTX4090)], count=2, gpus=0.5)
    assert halves.rows[0]["available"] == RTX4090.free // 2
    assert halves.fits
    assert judged(qwen2_7b, [machine("a", RTX4090, RTX4090)], gpus=2).rows[0]["available"] == RTX4090.free


def test_a_gpu_that_torch_has_no_code_for(qwen2_7b: ModelSource) -> None:
    found = judged(qwen2_7b, [machine("a", RTX4090), machine("b", V100)], count=2)
    assert len(found.problems) == 1
    assert found.problems[0].startswith(
        "b Tesla V100 (sm_70) is not among the architectures of torch 2.13.0+cu130 (sm_75,"
    )
    assert "install a build that has it, or leave this machine out" in found.problems[0]
    assert found.advice == [], "less memory would not help"


@pytest.mark.parametrize(
    ("capability", "build", "able"),
    [
        ((8, 6), ("sm_80",), True),
        ((8, 0), ("sm_86",), False),
        ((9, 0), ("sm_80", "sm_86"), False),
        ((9, 0), ("sm_80", "compute_80"), True),
        ((12, 0), ("sm_100", "sm_120"), True),
        ((9, 0), ("sm_90a",), True),
        ((7, 0), BUILD, False),
    ],
)
def test_architectures(capability: tuple[int, int], build: tuple[str, ...], able: bool) -> None:
    assert runs(capability, build) is able


def test_bfloat16_where_there_is_none(qwen2_7b: ModelSource) -> None:
    found = judged(qwen2_7b, [machine("a", T4)], dtype="bfloat16")
    assert found.problems == ["a Tesla T4 has no bfloat16: give model.dtype auto or float16"]


def test_workers_without_gpus_share_the_machines_memory(qwen2_7b: ModelSource) -> None:
    found = judged(qwen2_7b, [machine("a", cpus=2, memory=24 * GIB), machine("b", cpus=1)], count=3, gpus=0.0)
    assert [(row["device"], row["dtype"], row["available"]) for row in found.rows] == [
        ("CPU", "float32", 12 * GIB),
        ("CPU", "float32", 30 * GIB),
    ]
    row = found.rows[0]
    assert row["needed"] == sum(row["parts"].values()) + row["host_needed"]
    assert found.fits
    tight = judged(qwen2_7b, [machine("a", cpus=4, memory=24 * GIB)], count=4, gpus=0.0)
    assert "a CPU: a worker needs " in tight.problems[0]


def test_host_memory_is_judged_too(qwen2_7b: ModelSource) -> None:
    keys = {"tuning": "full", "zero": {"stage": 3, "offload": "cpu"}}
    many = [machine(f"m{number}", RTX4090, memory=60 * GIB) for number in range(8)]
    assert judged(qwen2_7b, many, count=8, **keys).fits
    one = judged(qwen2_7b, [machine("one", *[RTX4090] * 8, memory=120 * GIB, cpus=16)], count=8, **keys)
    assert "of host memory, it would get 13.2 GiB" in one.problems[0]


def test_machines_that_cannot_take_a_worker_do_not_count(qwen2_7b: ModelSource) -> None:
    machines = [machine("a", RTX4090), machine("b", LAPTOP, cpus=0)]
    assert [row["machine"] for row in judged(qwen2_7b, machines).rows] == ["a"]
    with pytest.raises(UserError, match="torch sees none on a"):
        judged(qwen2_7b, [machine("a")])


def test_the_disk(qwen2_7b: ModelSource) -> None:
    full = {"tuning": "full", "zero": {"stage": 3, "offload": "cpu"}}
    found = judged(qwen2_7b, [machine("a", RTX4090, memory=900 * GIB, disk=GIB)], **full)
    assert len(found.problems) == 1
    assert found.problems[0].startswith("output_dir: checkpoints and result take ")
    assert found.disk["available"] == GIB
    assert found.advice == []


def test_what_cannot_be_predicted_is_tried_out(tmp_path: Path) -> None:
    from transformers import MixtralConfig

    shape = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    MixtralConfig(**shape, num_key_value_heads=2, num_local_experts=4, vocab_size=64).save_pretrained(tmp_path)
    found = judged(
        ModelSource("experts", tmp_path, None, "none", "auto"),
        [machine("a", RTX4090)],
        tuning="lora",
        lora={"dropout": 0.1},
    )
    assert found.fits
    assert found.rows[0]["fits"] is None
    assert any("cannot be predicted" in note for note in found.notes)
    assert "not known" in printed(found)


def printed(found: Preflight) -> str:
    stream, kept = io.StringIO(), sys.stderr
    sys.stderr = stream
    try:
        print_memory(found.as_dict())
    finally:
        sys.stderr = kept
    return stream.getvalue()


def test_the_table_has_80_columns_at_most_and_the_file_all_bytes(qwen2_7b: ModelSource, tmp_path: Path) -> None:
    machines = [machine(f"192.168.100.{number}", gpu) for number, gpu in enumerate((RTX4090, T4, LAPTOP, RTX4090))]
    found = judged(qwen2_7b, [*machines, machine("cpu-node", V100)], count=5, rows=2)
    text = printed(found)
    table = [line for line in text.splitlines() if not any(line.startswith(note) for note in found.notes)]
    assert max(map(len, table)) <= 80
    for word in ("activations", "needed", "available", "does not fit", "fits", "float16", "and 1 more", "2 x 1024"):
        assert word in text
    found.write(tmp_path)
    written = json.loads((tmp_path / PREFLIGHT).read_text("utf-8"))
    assert written == found.as_dict()
    assert len(written["workers"]) == 5
    row = written["workers"][0]
    assert row["available"] == RTX4090.free
    assert row["needed"] == sum(row["parts"].values())
    assert set(row["parts"]) == {
        "weights", "adapters", "gradients", "optimizer", "activations", "logits", "overhead",
    }  # fmt: skip


def test_a_containers_limit_is_the_memory_there_is(tmp_path: Path) -> None:
    free = available_memory(tmp_path)
    assert free > 0
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert available_memory(tmp_path) > 100_000
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.stat").write_text("anon 700\ninactive_file 300\n")
    assert available_memory(tmp_path) == 4300
    old = tmp_path / "old"
    (old / "memory").mkdir(parents=True)
    (old / "memory" / "memory.limit_in_bytes").write_text("9000\n")
    (old / "memory" / "memory.usage_in_bytes").write_text("2000\n")
    assert available_memory(old) == 7000
