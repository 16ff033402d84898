"""DeepSpeed ZeRO with two workers does what plain training with one does, stops and goes on, and sits exams."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp

from jmed.errors import UserError
from jmed.models.source import find_model
from jmed.training import group, zero
from jmed.training import loss as loss_module
from jmed.training.batch import make_batch
from jmed.training.model import load_learner
from jmed.training.probe import Probe
from jmed.training.run import make_backend
from jmed.training.schedule import MicroBatch, Schedule
from tests.unit.training_kit import DTYPES, configured, logged, sequences, tiny, together, train

STEPS, STOP = 6, 3
BASE: dict[str, Any] = {"tuning": "full", "learning_rate": 1e-3, "weight_decay": 0.1}
WAYS: dict[str, dict[str, Any]] = {
    "2": {"zero": {"stage": 2}},
    "2 offloaded": {"zero": {"stage": 2, "offload": "cpu"}},
    "3": {"zero": {"stage": 3}},
    "3 offloaded": {"zero": {"stage": 3, "offload": "cpu"}, "memory": {"offload_activations": True}},
}
SIXTEEN: dict[str, dict[str, Any]] = {
    "2 float16": {"zero": {"stage": 2}, "dtype": "float16"},
    "3 bfloat16": {"zero": {"stage": 3}, "dtype": "bfloat16", "memory": {"checkpointing": False}},
}
HALF_ON_CPU = torch.ops.mkldnn._is_mkldnn_fp16_supported()


def in_pieces() -> None:
    """A tiny model is gathered, released and reduced in pieces as a large one is; so is its loss."""
    whole = zero.engine_settings

    def settings(config: Any, dtype: torch.dtype) -> dict[str, Any]:
        made = whole(config, dtype)
        made["zero_optimization"] |= {"reduce_bucket_size": 50_000}
        if config.zero.stage == 3:
            made["zero_optimization"] |= {
                "stage3_param_persistence_threshold": 0,
                "stage3_max_reuse_distance": 0,
                "stage3_prefetch_bucket_size": 20_000,
            }
        if dtype == torch.float16:
            made["fp16"] |= {"initial_scale_power": 18, "hysteresis": 1}  # too high: a first step overflows
        return made

    zero.engine_settings = settings
    loss_module.CHUNK = 5


def begin(model: Path, keys: dict[str, Any]) -> Any:
    config = configured(model, **BASE, **keys)
    backend = make_backend(
        load_learner(find_model(config.model, True), config, torch.device("cpu")), config, dtype(keys)
    )
    backend.model.train()
    return backend


def dtype(keys: dict[str, Any]) -> torch.dtype:
    return DTYPES[keys.get("dtype", "auto")]


def step(backend: Any, schedule: Schedule, number: int) -> tuple[float, float]:
    planned = schedule.step(number)
    mine, loss = backend.mine(planned.micro_batches), torch.zeros(())
    for micro_batch in mine:
        batch = make_batch(schedule.table, micro_batch.rows, 0, backend.device)
        if not micro_batch.supervised:
            batch.supervised.zero_()
        loss += backend.backward(batch, planned.supervised, last=micro_batch is mine[-1])
    return backend.update(planned.learning_rate, loss)


def probe(backend: Any, schedule: Schedule, kind: torch.dtype) -> None:
    """What comes before a run; none of it may leave a trace."""
    trial = Probe(backend, schedule.table, 0, kind)
    trial.check_loss()
    trial.check_packing()
    trial.check_fit(schedule)


def exam(backend: Any) -> list[Any]:
    """Logits and an answer, in inference mode as the exam runs."""
    backend.model.eval()
    with torch.inference_mode():
        ids = torch.arange(3, 15)[None]
        logits = backend.model(input_ids=ids, use_cache=False).logits.float().clone()
        answer = backend.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, do_sample=False)
    backend.model.train()
    return [logits.tolist(), answer.tolist()]


def whole_weights(backend: Any) -> dict[str, torch.Tensor]:
    if isinstance(backend, zero.Zero):
        return backend._whole_weights()
    return {name: weight.detach().clone() for name, weight in backend.model.state_dict().items()}


def undisturbed(model: Path, keys: dict[str, Any], folder: Path) -> dict[str, Any]:
    """All steps with a probe before them and exams between them; leaves a checkpoint and the model."""
    backend = begin(model, keys)
    schedule = Schedule(sequences(), configured(model, **BASE, **keys))
    probe(backend, schedule, dtype(keys))
    rows, exams = [], [exam(backend)]
    for number in range(1, STEPS + 1):
        rows.append(step(backend, schedule, number))
        if number == STOP and isinstance(backend, zero.Zero):
            backend.save(folder)
            exams.append(exam(backend))
    held = sum(weight.numel() for weight in backend.model.parameters())
    backend.export(folder / "model")
    exams.append(exam(backend))
    return {"rows": rows, "exams": exams, "weights": whole_weights(backend), "held": held}


def continued(model: Path, keys: dict[str, Any], folder: Path) -> dict[str, Any]:
    backend = begin(model, keys)
    backend.load(folder)
    schedule = Schedule(sequences(), configured(model, **BASE, **keys))
    rows = [step(backend, schedule, number) for number in range(STOP + 1, STEPS + 1)]
    weights = whole_weights(backend)
    poisoned = backend.update(1e-3, torch.tensor(float("nan") if backend.rank else 1.0))
    return {"rows": rows, "weights": weights, "poisoned": (poisoned, whole_weights(backend))}


def refusal(model: Path, keys: dict[str, Any], folder: Path) -> str:
    try:
        begin(model, keys).load(folder)
    except UserError as error:
        return str(error)
    return ""


def pair(model: Path, output: Path) -> None:
    """Everything that two workers do, in one start of theirs: most of its time is imports."""
    in_pieces()
    for name, keys in {**WAYS, **SIXTEEN}.items():
        if "float16" in name.split() and not HALF_ON_CPU:
            continue
        folder = output / name
        if group.rank() == 0:
            folder.mkdir()
        group.gather(None)
        found = {"whole": undisturbed(model, keys, folder), "again": continued(model, keys, folder)}
        if group.rank() == 0:
            torch.save(found, folder / "found.pt")
    refused = refusal(model, WAYS["2"], output / "3")
    if group.rank() == 0:
        (output / "refused.txt").write_text(refused)
    train(configured(model, **BASE, zero={"stage": 3}), sequences(), output / "loop", mark="both")  # type: ignore[arg-type]


def alone(rank: int, model: Path, output: Path) -> None:
    """One worker, without a process group."""
    torch.set_num_threads(1)
    in_pieces()
    rows = []
    for name in ("2", "3"):
        backend = begin(model, WAYS[name])
        schedule = Schedule(sequences(), configured(model, **BASE, **WAYS[name]))
        rows.append([step(backend, schedule, number) for number in range(1, STEPS + 1)])
    torch.save({"rows": rows, "refused": refusal(model, WAYS["3"], output / "3")}, output / "alone.pt")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def plain(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One worker of plain data-parallel training."""
    folder = tmp_path_factory.mktemp("plain")
    return undisturbed(model, {"zero": {"stage": 0}}, folder) | {"folder": folder}


@pytest.fixture(scope="module")
def output(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zero")
    (folder / "loop" / "unfinished").mkdir(parents=True)
    (folder / "loop" / "unfinished" / "attempt").write_text("both")
    together(2, pair, model, folder, folder=folder)
    return folder


def found(output: Path, way: str) -> dict[str, Any]:
    if way == "2 float16" and not HALF_ON_CPU:
        pytest.skip("this processor has no float16")
    return torch.load(output / way / "found.pt", weights_only=True)


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name].float() - other[name].float()).abs().max()) for name in one)


@pytest.mark.parametrize("way", WAYS)
def test_two_workers_do_what_one_plain_worker_does(plain: dict[str, Any], output: Path, way: str) -> None:
    ours = found(output, way)["whole"]
    for column in (0, 1):  # loss, gradient norm
        expected = [row[column] for row in plain["rows"]]
        assert [row[column] for row in ours["rows"]] == pytest.approx(expected, rel=1e-5)
    assert distance(plain["weights"], ours["weights"]) < 2e-5


def test_gradients_were_cut_and_fillers_were_needed(plain: dict[str, Any], model: Path) -> None:
    """Otherwise the test above would show less than it seems to."""
    schedule = Schedule(sequences(), configured(model, **BASE, zero={"stage": 2}))  # type: ignore[arg-type]
    counts = [len(schedule.step(number).micro_batches) for number in range(1, STEPS + 1)]
    assert min(counts) > 2
    assert any(count % 2 for count in counts)
    assert all(norm > 1 for _, norm in plain["rows"])


@pytest.mark.parametrize("way", [*WAYS, *SIXTEEN])
def test_a_run_that_goes_on_ends_as_if_it_had_not_stopped(output: Path, way: str) -> None:
    results = found(output, way)
    assert results["again"]["rows"] == results["whole"]["rows"][STOP:]
    assert distance(results["whole"]["weights"], results["again"]["weights"]) == 0


@pytest.mark.parametrize("way", [*WAYS, *SIXTEEN])
def test_a_loss_that_is_no_number_does_not_reach_the_weights(output: Path, way: str) -> None:
    again = found(output, way)["again"]
    (loss, norm), weights = again["poisoned"]
    assert loss != loss
    assert norm != norm
    assert distance(again["weights"], weights) == 0


@pytest.mark.parametrize("way", WAYS)
def test_exams_between_steps_see_the_weights_of_their_moment(plain: dict[str, Any], output: Path, way: str) -> None:
    exams = found(output, way)["whole"]["exams"]
    assert len(exams) == 3
    for ours, theirs in zip((exams[0], exams[-1]), plain["exams"], strict=True):
        torch.testing.assert_close(torch.tensor(ours[0]), torch.tensor(theirs[0]), rtol=1e-3, atol=1e-3)
        assert ours[1] == theirs[1]


@pytest.mark.parametrize("way", [*WAYS, *SIXTEEN])
def test_the_exported_model_loads_in_plain_transformers(output: Path, way: str) -> None:
    from transformers import AutoModelForCausalLM

    whole, folder = found(output, way)["whole"], output / way / "model"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    assert model.dtype == dtype({**WAYS, **SIXTEEN}[way])
    assert {"config.json", "generation_config.json", "model.safetensors"} <= {path.name for path in folder.iterdir()}
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert distance(whole["weights"], dict(model.state_dict())) == 0
    with torch.inference_mode():
        logits = model(input_ids=torch.arange(3, 15)[None], use_cache=False).logits.float()
    atol = 1e-4 if model.dtype == torch.float32 else 0.2  # logits up to 10; kernels differ in how they round
    torch.testing.assert_close(logits, torch.tensor(whole["exams"][-1][0]), rtol=0, atol=atol)


@pytest.mark.parametrize("way", [*WAYS, *SIXTEEN])
def test_at_stage_3_no_worker_keeps_a_whole_weight(output: Path, way: str) -> None:
    assert (found(output, way)["whole"]["held"] == 0) == way.startswith("3")


@pytest.mark.parametrize("way", SIXTEEN)
def test_sixteen_bits_learn(output: Path, way: str) -> None:
    rows = found(output, way)["whole"]["rows"]
    assert rows[-1][0] < 0.9 * rows[0][0]


def test_a_step_that_overflows_in_float16_changes_nothing(output: Path) -> None:
    """The loss scale comes down until a step fits."""
    rows = found(output, "2 float16")["whole"]["rows"]
    overflowed = [norm == float("inf") for _, norm in rows]
    assert overflowed == sorted(overflowed, reverse=True)
    assert overflowed[0]
    assert not overflowed[-1]


def test_the_loop_runs_fillers_without_supervision(plain: dict[str, Any], output: Path) -> None:
    losses = [row["loss"] for row in logged(output / "loop")]
    assert losses == pytest.approx([loss for loss, _ in plain["rows"]], rel=1e-5)


def test_one_worker_needs_no_process_group(plain: dict[str, Any], model: Path, output: Path) -> None:
    mp.spawn(alone, args=(model, output), nprocs=1)
    results = torch.load(output / "alone.pt", weights_only=True)
    for rows in results["rows"]:
        assert [loss for loss, _ in rows] == pytest.approx([loss for loss, _ in plain["rows"]], rel=1e-5)
    assert "was written by 2 workers, found 1; give workers.count 2, or start anew" in results["refused"]


def test_a_checkpoint_of_another_stage_is_refused(output: Path) -> None:
    assert "was written with stage 3, found 2; give zero.stage 3" in (output / "refused.txt").read_text()
    assert json.loads((output / "3" / zero.LAYOUT).read_text()) == {"world_size": 2, "stage": 3}


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_micro_batches_are_dealt_out_evenly(workers: int, count: int) -> None:
    batches = [MicroBatch(number, ((number,),), 10 * number + 1, 10, 7) for number in range(count)]
    hands = [zero.deal(batches, rank, workers) for rank in range(workers)]
    assert {len(hand) for hand in hands} == {-(-count // workers)}
    real = [batch for hand in hands for batch in hand if batch.supervised]
    assert sorted(real, key=lambda batch: batch.number) == batches
    for turn in zip(*hands, strict=True):
        assert max(batch.width for batch in turn) - min(batch.width for batch in turn) < 10 * workers


def test_without_a_compiler_the_offloaded_optimiser_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Builder:
        def load(self) -> None:
            raise RuntimeError("Unable to JIT load the cpu_adam op due to ninja not being installed.\nmore")

    monkeypatch.setitem(sys.modules, "deepspeed.ops.op_builder", SimpleNamespace(CPUAdamBuilder=Builder))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"zero.offload: .*ninja not being installed.*install a C\+\+ compiler"):
        zero._build_cpu_adam()
