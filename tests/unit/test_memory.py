"""The memory prediction: against what training really takes on a CPU, and against known figures of Qwen2-7B."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile
from transformers import Qwen2Config, Qwen2ForCausalLM

from jmed.errors import UserError
from jmed.models.source import ModelSource
from jmed.models.tiny import train_tokenizer
from jmed.training import memory
from jmed.training.advice import advise
from jmed.training.batch import Batch
from jmed.training.held import REDUCE_BUCKET
from jmed.training.memory import GIB, Case, MemoryPlan, plan, predict
from jmed.training.model import load_learner
from jmed.training.run import make_backend
from jmed.training.skeleton import Unpredictable, nf4_bytes
from tests.unit.training_kit import DTYPES, configured

GB = 1e9
QWEN2_7B = Qwen2Config(
    hidden_size=3584, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4, intermediate_size=18944,
    vocab_size=152064, tie_word_embeddings=False, dtype="bfloat16", architectures=["Qwen2ForCausalLM"],
)  # fmt: skip
PARAMETERS = 7_615_616_512  # of it
FEW = {"r": 16, "targets": ["q_proj", "v_proj"]}  # adapters, for a quick rehearsal


@pytest.fixture(scope="module")
def qwen2_7b(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    """Its configuration; there are no weights."""
    folder = tmp_path_factory.mktemp("qwen2-7b")
    QWEN2_7B.save_pretrained(folder)
    return ModelSource("Qwen2-7B", folder, None, "none", "auto")


def on_gpu(
    source: ModelSource, rows: int = 1, width: int = 2048, world: int = 1, dtype: Any = torch.bfloat16, **keys: Any
) -> MemoryPlan:
    """The prediction for a GPU; half of the tokens are supervised."""
    config = configured(source.folder, **{"tuning": "qlora", "lora": {"r": 16}, "sequence_length": 2048, **keys})
    return predict(config, source, world, (rows, width), rows * width // 2, "cuda", dtype)


@dataclass(frozen=True)
class Shape:
    hidden: int
    layers: int
    vocabulary: int
    tied: bool = True

    def write(self, folder: Path) -> ModelSource:
        shape = Qwen2Config(
            hidden_size=self.hidden, num_hidden_layers=self.layers, num_attention_heads=self.hidden // 64,
            num_key_value_heads=self.hidden // 128, intermediate_size=4 * self.hidden, vocab_size=self.vocabulary,
            tie_word_embeddings=self.tied,
        )  # fmt: skip
        Qwen2ForCausalLM(shape).to(torch.bfloat16).save_pretrained(folder)
        train_tokenizer(["アスピリンは何に効くか。"]).save_pretrained(folder)
        return ModelSource("small", folder, None, "none", "auto")


def batch(rows: int, width: int) -> Batch:
    """Half of each row is supervised; all rows but the first are padded."""
    ids, mask = torch.randint(3, 250, (rows, width)), torch.ones(rows, width, dtype=torch.int64)
    mask[1:, -3:] = 0
    return Batch(ids, torch.arange(width).expand(rows, width) >= width // 2, mask, None)


def measured(config: Any, source: ModelSource, dtype: torch.dtype, rows: int, width: int) -> int:
    """Peak bytes of a step with two micro-batches, from the allocator's own events; the first step made the state."""
    loaded = load_learner(source, config, torch.device("cpu"))
    backend: Any = make_backend(loaded, config, dtype)
    backend.model.train()
    step(backend, rows, 4, 1)
    tensors = [*backend.model.parameters(), *backend.model.buffers()]
    for state in (weight.quant_state for weight in tensors if getattr(weight, "quant_state", None) is not None):
        tensors += [state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code]
    states = backend.optimizer.state.values()
    tensors += [value for state in states for value in state.values() if isinstance(value, torch.Tensor)]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        step(backend, rows, width, 2)
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = sum(storages.values())
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def step(backend: Any, rows: int, width: int, micro_batches: int) -> None:
    loss = torch.zeros(())
    for number in range(micro_batches):
        loss += backend.backward(batch(rows, width), rows * width, number == micro_batches - 1)
    backend.update(1e-4, loss)


@pytest.mark.parametrize(
    ("shape", "dtype", "rows", "width", "keys"),
    [
        (Shape(256, 4, 8192), "bfloat16", 2, 128, {"tuning": "lora", "lora": {"r": 16}}),
        (Shape(512, 5, 8192, tied=False), "float32", 4, 64, {"tuning": "qlora", "lora": {"r": 8}}),
        (Shape(256, 8, 8192), "float32", 2, 128, {"tuning": "full", "zero": {"stage": 0}}),
        (Shape(256, 4, 8192, tied=False), "bfloat16", 2, 128, {"tuning": "full", "zero": {"stage": 0}}),
        (Shape(256, 4, 8192), "bfloat16", 1, 256, {"tuning": "qlora", "memory": {"checkpointing": False}}),
        (Shape(256, 4, 152064), "float32", 2, 128, {"tuning": "lora", "optimizer": "adamw_8bit"}),
        (
            Shape(256, 4, 8192), "float32", 2, 128,
            {"tuning": "full", "zero": {"stage": 0}, "memory": {"checkpointing": False}},
        ),
    ],
    ids=str,
)  # fmt: skip
def test_what_training_takes_is_what_was_predicted(
    tmp_path: Path, shape: Shape, dtype: str, rows: int, width: int, keys: dict[str, Any]
) -> None:
    source = replace(shape.write(tmp_path), dtype=dtype)
    config = configured(tmp_path, dtype=dtype, **keys)
    real = measured(config, source, DTYPES[dtype], rows, width)
    predicted = predict(config, source, 1, (rows, width), rows * width // 2, "cpu", DTYPES[dtype]).device.total
    print(f"{shape} {dtype} {rows}x{width} {keys}: {predicted / 2**20:.1f} of {real / 2**20:.1f} MiB")
    assert predicted == pytest.approx(real, rel=0.06)


def test_layers_that_are_alike_need_not_all_be_rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two layers tell exactly what five would."""
    config, source = configured(tmp_path, tuning="qlora"), Shape(256, 5, 8192).write(tmp_path)
    case = Case(config, source, 1, (3, 96), 100, "cuda", torch.bfloat16)
    quick = plan(case)
    monkeypatch.setattr("jmed.training.memory.layers_alike", lambda *_: False)
    memory._learners.clear()
    memory._activities.clear()
    assert plan(case) == quick


def test_the_nf4_base_of_qwen2_7b_takes_about_5_7_gb(qwen2_7b: ModelSource) -> None:
    """Embedding and head (1.09 G weights) stay in 16 bits."""
    found = on_gpu(qwen2_7b)
    linear = PARAMETERS - 2 * 152064 * 3584
    assert found.device.weights == pytest.approx(5.7 * GB, rel=0.04)
    assert found.device.weights == pytest.approx(2 * 2 * 152064 * 3584 + 0.516 * linear, rel=0.002)
    assert on_gpu(qwen2_7b, tuning="lora").device.weights == pytest.approx(2 * PARAMETERS, rel=1e-4)
    assert 7 * GIB < found.device.total < 9 * GIB


def test_zero_of_a_small_model_on_a_cpu_is_small(small: ModelSource) -> None:
    """DeepSpeed's bucket is as large as ever, but nothing is written to most of it."""
    config = configured(small.folder, tuning="full", zero={"stage": 2})
    assert predict(config, small, 2, (2, 32), 32, "cpu", torch.float32).device.total < 50 * 2**20


def test_nf4_blocks() -> None:
    """4 bits a weight; 64 share 8 bits, 256 of those 32 bits; an offset and two tables."""
    assert nf4_bytes(64 * 256) == 64 * 128 + 256 + 4 + 4 + 4 * (16 + 256)


def test_adapters_of_rank_16_exchange_80_to_160_megabytes(qwen2_7b: ModelSource) -> None:
    found = on_gpu(qwen2_7b, world=2)
    assert 80e6 < found.device.gradients < 165e6
    assert found.device.adapters == found.device.gradients
    assert found.device.optimizer == 2 * found.device.gradients
    eight_bit = on_gpu(qwen2_7b, optimizer="adamw_8bit").device.optimizer
    assert eight_bit == pytest.approx(found.device.gradients / 2, rel=0.02)


def test_all_weights_of_qwen2_7b_take_122_to_137_gb(qwen2_7b: ModelSource) -> None:
    """The notes' figures are weights, gradients and Adam; what is only for a moment comes on top."""
    alone = on_gpu(qwen2_7b, tuning="full", zero={"stage": 0})
    known = 16 * PARAMETERS
    assert known == pytest.approx(122 * GB, rel=0.01)
    assert known < alone.device.total < 21 * PARAMETERS
    shared = on_gpu(qwen2_7b, tuning="full", zero={"stage": 3})
    assert known < shared.device.total - 2 * 2 * REDUCE_BUCKET < 137 * GB + 8e9


def test_zero_offload_of_qwen2_7b(qwen2_7b: ModelSource) -> None:
    """91 GB of optimiser state, in all; here weights and gradients lie on the host too, 3.8 GB each on 8."""
    keys = {"tuning": "full", "zero": {"stage": 3, "offload": "cpu"}}
    eight = on_gpu(qwen2_7b, world=8, **keys)
    state = 8 * (eight.host - memory.GPU_PROCESS)
    known = 12 * PARAMETERS
    assert known == pytest.approx(91 * GB, rel=0.01)
    assert state == pytest.approx(known + (4 + 2 + 2) * PARAMETERS, rel=0.01)
    assert eight.device.optimizer == 0
    assert eight.device.total < 10 * GIB
    kept = on_gpu(qwen2_7b, world=8, tuning="full", zero={"stage": 3}).device
    assert kept.optimizer > 12 * PARAMETERS / 8
    assert on_gpu(qwen2_7b, world=16, **keys).host < eight.host
    assert eight.device.gradients == 2 * REDUCE_BUCKET, "allocated whole"
    # A base in other files than it trains in is converted, whole, by every worker.
    assert on_gpu(qwen2_7b, world=64, dtype=torch.float16, **keys).host > 2 * PARAMETERS


def test_what_saves_memory_saves_memory(qwen2_7b: ModelSource) -> None:
    plain = on_gpu(qwen2_7b, rows=2, lora=FEW)
    offloaded = on_gpu(qwen2_7b, rows=2, lora=FEW, memory={"offload_activations": True})
    assert offloaded.device.total < plain.device.total
    assert offloaded.host > plain.host + 28 * 2 * 2048 * 3584 * 2  # every layer's input
    assert on_gpu(qwen2_7b, rows=2, lora=FEW, memory={"checkpointing": False}).device.total > 3 * plain.device.total
    one, many = on_gpu(qwen2_7b, rows=2, lora=FEW), on_gpu(qwen2_7b, rows=2, lora=FEW, world=4)
    assert many.device.total == one.device.total + memory.NCCL_BUFFERS


def test_older_gpus_hold_all_scores_of_a_single_row(qwen2_7b: ModelSource) -> None:
    """Without a mask transformers counts on flash attention, which they have not: [28, 2048, 2048] in float32."""
    new, old = on_gpu(qwen2_7b, lora=FEW), on_gpu(qwen2_7b, lora=FEW, dtype=torch.float16)
    assert old.device.total > new.device.total + 28 * 2048 * 2048 * 2
    padded = on_gpu(qwen2_7b, rows=2, lora=FEW, dtype=torch.float16)
    assert padded.device == on_gpu(qwen2_7b, rows=2, lora=FEW).device


def test_overhead_is_for_gpus(qwen2_7b: ModelSource) -> None:
    config = configured(qwen2_7b.folder, tuning="qlora", lora=FEW)
    on_cpu = predict(config, qwen2_7b, 1, (1, 256), 128, "cpu", torch.bfloat16)
    assert on_cpu.device.overhead == 0
    assert on_gpu(qwen2_7b, lora=FEW).device.overhead > memory.CUDA_LIBRARIES
    assert on_cpu.needed == on_cpu.device.total + on_cpu.host, "on a CPU all is one memory"


def test_disk_holds_the_checkpoints_and_the_result(qwen2_7b: ModelSource) -> None:
    trained = on_gpu(qwen2_7b).device.adapters
    assert on_gpu(qwen2_7b).disk == 3 * 3 * trained + trained
    keeping = {"evaluate": {"benchmarks": ["mini"]}, "checkpoint": {"keep": "best"}}
    assert on_gpu(qwen2_7b, **keeping).disk == 3 * 3 * trained + 2 * trained


SMALL = Shape(128, 2, 1024)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    return SMALL.write(tmp_path_factory.mktemp("small"))


@settings(max_examples=5, deadline=None)
@given(
    rows=st.integers(1, 4), width=st.integers(8, 64), more_rows=st.integers(0, 3), wider=st.integers(0, 64),
    tuning=st.sampled_from(["lora", "full"]), world=st.integers(1, 3),
)  # fmt: skip
def test_more_tokens_never_need_less(
    small: ModelSource, rows: int, width: int, more_rows: int, wider: int, tuning: str, world: int
) -> None:
    config = configured(small.folder, tuning=tuning, zero={"stage": 0})
    needs = [
        predict(config, small, world, (high, wide), high * wide // 2, "cuda", torch.bfloat16).device.total
        for high, wide in ((rows, width), (rows + more_rows, width + wider))
    ]
    assert needs[0] <= needs[1]


def test_an_architecture_that_needs_data_is_named(tmp_path: Path) -> None:
    from transformers import MixtralConfig

    shape = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    MixtralConfig(**shape, num_key_value_heads=2, num_local_experts=4, vocab_size=64).save_pretrained(tmp_path)
    source = ModelSource("experts", tmp_path, None, "none", "auto")
    with pytest.raises(Unpredictable):
        predict(configured(tmp_path, tuning="lora"), source, 1, (1, 16), 8, "cpu", torch.float32)


def test_a_target_that_is_not_there_is_the_users_to_mend(small: ModelSource) -> None:
    config = configured(small.folder, tuning="lora", lora={"targets": ["q_porj"]})
    with pytest.raises(UserError, match="did you mean 'q_proj'"):
        predict(config, small, 1, (1, 16), 8, "cpu", torch.float32)


def flags(line: str) -> dict[str, str]:
    words = line.split(":")[0].split()
    return {key.removeprefix("--"): value for key, value in zip(words[::2], words[1::2], strict=True)}


def taken(case: Case, line: str) -> Case:
    """The case as it would be if the user took the advice."""
    given: dict[str, Any] = case.config.model_dump()
    changed, world = flags(line), case.world_size
    for key, value in changed.items():
        *section, name = key.split(".")
        if key == "workers.count":
            world = int(value)
        (given[section[0]] if section else given)[name] = value
    config = type(case.config).model_validate(given)
    width = min(case.widest[1], config.sequence_length)
    rows = min(case.widest[0], max(1, config.batch_tokens // width)) if "batch_tokens" in changed else case.widest[0]
    supervised = case.supervised * rows * width // (case.widest[0] * case.widest[1])
    return replace(case, config=config, widest=(rows, width), supervised=supervised, world_size=world)


@pytest.mark.parametrize(
    ("gib", "world", "rows", "keys", "wanted"),
    [
        (7.5, 1, 2, {}, ["--batch_tokens 2048 --memory.offload_activations true", "--sequence_length 512"]),
        (18, 1, 2, {"tuning": "lora"}, ["--batch_tokens 2048", "--memory.offload_activations true", "--tuning qlora"]),
        (23, 8, 1, {"tuning": "full"}, ["--zero.stage 3:", "--zero.stage 3 --zero.offload cpu", "--workers.count 32"]),
        (23, 2, 1, {"tuning": "full"}, ["--tuning lora --lora.r 128", "a deviation from the paper"]),
        (23, 1, 1, {"tuning": "full", "zero": {"stage": 0}, "optimizer": "adamw_8bit"}, ["--tuning lora --lora.r 128"]),
        (4, 1, 1, {}, ["no change of settings makes it fit"]),
    ],
    ids=str,
)
def test_advice_fits(
    qwen2_7b: ModelSource, gib: float, world: int, rows: int, keys: dict[str, Any], wanted: list[str]
) -> None:
    """Whoever takes it trains within the memory there is, and needs what the line says."""
    case = on_gpu(qwen2_7b, rows=rows, world=world, batch_tokens=rows * 2048, **keys).case
    assert not plan(case).fits(int(gib * GIB))
    lines = advise(case, lambda other: plan(other).fits(int(gib * GIB), 40 * GIB))
    for part in wanted:
        assert any(part in line for line in lines), lines
    for line in (line for line in lines if line.startswith("--")):
        found = plan(taken(case, line))
        assert found.fits(int(gib * GIB), 40 * GIB), line
        assert f"{found.needed / GIB:.1f} GiB" in line
