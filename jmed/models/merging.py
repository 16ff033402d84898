"""Folding an adapter into its 16-bit base: a model that plain transformers loads."""

import os
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jmed import __version__
from jmed.configuration.finetune import MergeConfig
from jmed.errors import UserError
from jmed.models.source import WEIGHTS, ModelSource, check_model, find_model, fingerprint, read_json, stored_dtypes
from jmed.models.writing import CONFIG, complete, disk_errors, write_weights
from jmed.offline import forbid_network, forbid_telemetry
from jmed.runs.card import LINEAGE, README, Card, Origin, Step, read_lineage, write_card
from jmed.runs.folder import RunFolder

if TYPE_CHECKING:
    from jmed.models.folding import Difference

SPARE = 64 * 1024**2  # bytes beside the weights: tokenizer, card
# Settings of LoRA variants that are no fixed change of one weight matrix, or that nothing here was tried with.
UNFOLDABLE = (
    "alora_invocation_tokens", "arrow_config", "kasa_config", "layer_replication", "megatron_config",
    "monteclora_config", "target_parameters", "trainable_token_indices", "use_bdlora", "use_qalora", "velora_config",
)  # fmt: skip


class MergeFolder(RunFolder):
    """A run folder that is the merged model's own: `output_dir/config.json`, and run.yaml beside it."""

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        there = [file.name for file in path.glob("*.safetensors")]
        names = ("tokenizer.json", "tokenizer_config.json", "adapter_config.json", README, LINEAGE)
        super().__init__(path, identity, [CONFIG], [*there, *names])

    @property
    def finished(self) -> bool:
        try:
            check_model(self.path)
        except UserError:
            return False
        return super().finished

    def clear(self) -> None:
        """Take away what an earlier attempt left; only a folder with run.yaml holds more of it than `unfinished`."""
        shutil.rmtree(self.work, ignore_errors=True)
        if (self.path / "run.yaml").is_file():
            for pattern in (CONFIG, *WEIGHTS, "model.safetensors.index.json"):
                for file in self.path.glob(pattern):
                    file.unlink()

    def publish(self) -> None:
        """Move every file from `unfinished` into its place, config.json last: with it the folder is a model."""
        files = [file for file in self.work.rglob("*") if file.is_file()]
        for file in files:
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        for file in sorted(files, key=lambda file: (file.name == CONFIG, file)):
            target = self.path / file.relative_to(self.work)
            target.parent.mkdir(exist_ok=True)
            file.replace(target)


@dataclass(frozen=True)
class Plan:
    """What is merged into what, in which dtype."""

    source: ModelSource
    adapter_folder: Path
    base: Origin
    adapter: Origin
    steps: list[Step]  # all that led to base and adapter, oldest first
    loaded: str  # dtype that the base is loaded in
    target: str  # dtype of the merged model
    bytes: int  # of its weights


def merge(config: MergeConfig) -> None:
    """Run the whole job; a finished one is left alone."""
    forbid_telemetry()
    if config.offline:
        forbid_network()
    plan = _plan(config)
    identity = {
        "job": "merge", "dtype": config.model.dtype, "model": plan.base.files, "adapter": plan.adapter.files,
    }  # fmt: skip
    folder = MergeFolder(Path(config.output_dir).expanduser().absolute(), identity)
    with folder.claim():
        if folder.finished:
            print(f"{folder.path} holds this merged model, finished; nothing is done again", file=sys.stderr)
            return
        folder.clear()
        _check_room(folder.path, plan)
        _merge(config, plan, folder)


def _merge(config: MergeConfig, plan: Plan, folder: MergeFolder) -> None:
    from jmed.models.quiet import quiet_libraries

    quiet_libraries()
    print(f"merging {plan.source.name} in {plan.target}", file=sys.stderr)
    from jmed.models.folding import fold_checked  # here, so that what is refused is refused without torch

    model, difference = fold_checked(plan.source, plan.adapter_folder, plan.loaded, plan.target)
    with disk_errors(folder.path, folder.work):
        _write(model, plan, difference, folder.work)
        # Not before all is written, so that a full disk leaves nothing.
        folder.begin(config, {"model_folder": str(plan.source.folder), "adapter_folder": str(plan.adapter_folder)})
        folder.publish()
    print(
        f"logits with and without merging differ by {difference.exact:.1e} at most (float32); "
        f"by {difference.rounded:.1e} with the weights in {plan.target}"
    )
    print(f"merged model: {folder.path}")


# --- what is merged, and whether it can be


def _plan(config: MergeConfig) -> Plan:
    source = find_model(config.model, config.offline)
    folder, adapter = source.folder, source.adapter
    assert adapter is not None  # MergeConfig requires it
    _check_base(folder, adapter)
    _check_adapter(adapter)
    loaded, target, size = _dtypes(source)
    before = read_lineage(folder)
    name = before[-1].name if before else source.name.removesuffix(f"+{Path(config.model.adapter or '').name}")
    base = Origin(name=name, files=fingerprint(folder))
    steps = _steps(before, folder, adapter, base)
    return Plan(
        source, adapter, base, Origin(name=steps[-1].name, files=fingerprint(adapter)), steps, loaded, target, size
    )


def _dtypes(source: ModelSource) -> tuple[str, str, int]:
    """What the base is loaded in (its files' dtype), what the result has, and how many bytes that are."""
    stored = stored_dtypes(source.folder)
    own = stored.most_common(1)[0][0]
    target = own if source.dtype == "auto" else source.dtype
    if source.dtype == "auto" and target != "float32" and stored["float32"]:
        print(
            f"model.path: {stored['float32']:,} of {stored.total():,} values of the base are float32; like the others "
            f"they become {own} (--model.dtype float32 keeps them)",
            file=sys.stderr,
        )
    loaded = "float32" if target == "float32" else own
    return loaded, target, stored.total() * (4 if target == "float32" else 2)


def _check_base(folder: Path, adapter: Path) -> None:
    quantization = read_json(folder / CONFIG).get("quantization_config")
    if quantization is None:
        return
    method = quantization.get("quant_method", "unknown") if isinstance(quantization, dict) else quantization
    named = read_json(adapter / "adapter_config.json").get("base_model_name_or_path")
    other = named and Path(str(named)).expanduser().resolve() != folder
    hint = f"the adapter names {named}" if other else "the one that this was quantised from"
    raise UserError(
        f"model.path: the weights of {folder} are quantised (quantization_config in its config.json: {method}); "
        f"merge into the 16-bit base: {hint}"
    )


def _check_adapter(adapter: Path) -> None:
    config = read_json(adapter / "adapter_config.json")
    if config.get("peft_type") != "LORA":
        raise UserError(f"model.adapter: {adapter} is of peft_type {config.get('peft_type')!r}; expected LORA")
    if found := [key for key in UNFOLDABLE if config.get(key)]:
        raise UserError(
            f"model.adapter: {adapter} was trained with {', '.join(found)}, which cannot be folded into the base; "
            "use it unmerged (model.adapter of the evaluate job)"
        )


def _steps(before: list[Step], folder: Path, adapter: Path, base: Origin) -> list[Step]:
    """What led to the base and then to the adapter; an adapter without lineage has an unknown training."""
    after = read_lineage(adapter)
    if not after:
        return [*before, Step(kind="adapter", name=adapter.name, base=base, stage="unknown")]
    trained_on = after[-1].base
    if (weights := _weights(trained_on)) and weights != _weights(base):
        raise UserError(
            f"model.adapter: {adapter} was trained on other weights than those of {folder}: its {LINEAGE} names "
            f"{trained_on.name} with other hashes; give that base"
        )
    return [*(step for step in before if step not in after), *after]


def _weights(origin: Origin) -> set[str]:
    """Hashes of the files that hold weights."""
    return {digest for name, digest in origin.files.items() if name.endswith(".safetensors")}


def _check_room(folder: Path, plan: Plan) -> None:
    free = shutil.disk_usage(folder).free
    if free < plan.bytes + SPARE:
        raise UserError(
            f"output_dir: {folder} has room for {free / 1e9:,.1f} GB; the merged model needs "
            f"{(plan.bytes + SPARE) / 1e9:,.1f} GB: free some, or give a folder on another disk"
        )


# --- writing


def _write(model: Any, plan: Plan, difference: "Difference", work: Path) -> None:
    """The merged model in transformers layout, with its card."""
    from transformers import GenerationConfig

    work.mkdir()
    model.generation_config = GenerationConfig()  # the base's own, which is copied, may be one that is refused here
    write_weights(model, work)
    complete(model, plan.source.folder, work, plan.target)
    write_card(work, _card(plan, difference))


def _card(plan: Plan, difference: "Difference") -> Card:
    return Card(
        kind="model",
        name=f"{plan.base.name}+{plan.adapter.name}",
        base=plan.base,
        adapter=plan.adapter,
        stage="merge",
        settings={
            "dtype": plan.target,
            "largest_logit_difference": {"before_rounding": difference.exact, "after_rounding": difference.rounded},
        },
        versions={"jmed": __version__, **{name: version(name) for name in ("torch", "transformers", "peft")}},
        created=datetime.now(UTC).date(),
        license=plan.steps[-1].license,
        parents=plan.steps,
    )
