"""What to change when training does not fit: only changes that, by prediction, make it fit."""

from collections.abc import Callable, Iterator
from typing import Any

from jmed.configuration.finetune import FinetuneConfig
from jmed.training.memory import GIB, Case, MemoryPlan, plan

HIGH_RANK = 128
SMALLEST_BATCH = 256  # tokens; below, passes cost more than they save


def advise(case: Case, fits: Callable[[MemoryPlan], bool]) -> list[str]:
    """Each line a flag or two, and what a worker would then need; the gentlest first; together if alone is too little."""
    found, changed = [], case
    for flags, keys in _changes(case.config):
        alone, together = (_with(one, keys) for one in (case, changed))
        if fits(result := plan(alone)):
            found.append(f"{flags}: {_size(result)}")
        changed = together
    if not found and fits(result := plan(changed)):
        flags = " ".join(flags for flags, _ in _changes(case.config))
        found.append(f"{flags}: {_size(result)}")
    return found + [line for line in _last_resort(case, fits) if not found]


def _changes(config: FinetuneConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Flags and the keys they set, of what is not set yet."""
    longest = config.sequence_length
    for tokens in (config.batch_tokens // 2, config.batch_tokens // 4):
        if max(longest, SMALLEST_BATCH) <= tokens < config.batch_tokens:
            yield f"--batch_tokens {tokens}", {"batch_tokens": tokens}
    if not config.memory.checkpointing:
        yield "--memory.checkpointing true", {"memory": {"checkpointing": True}}
    if config.optimizer == "adamw" and not config.sharded:
        yield "--optimizer adamw_8bit", {"optimizer": "adamw_8bit"}
    if not config.memory.offload_activations:
        yield "--memory.offload_activations true", {"memory": {"offload_activations": True}}
    if config.tuning == "lora":
        yield "--tuning qlora", {"tuning": "qlora"}
    if config.tuning == "full" and config.zero.stage < 3:
        yield "--zero.stage 3 --optimizer adamw", {"zero": {"stage": 3}, "optimizer": "adamw"}
    if config.tuning == "full" and config.zero.offload == "none":
        yield "--zero.stage 3 --zero.offload cpu", {"zero": {"stage": 3, "offload": "cpu"}, "optimizer": "adamw"}
    half = config.sequence_length // 2
    if half >= SMALLEST_BATCH:
        yield (
            f"--sequence_length {half} --batch_tokens {half}",
            {"sequence_length": half, "batch_tokens": half},
        )


def _last_resort(case: Case, fits: Callable[[MemoryPlan], bool]) -> Iterator[str]:
    """Another way of training."""
    if case.config.tuning == "full":
        keys = {"tuning": "qlora", "lora": {"r": HIGH_RANK, "alpha": 2 * HIGH_RANK}}
        if fits(result := plan(_with(case, keys))):
            yield (
                f"--tuning qlora --lora.r {HIGH_RANK} --lora.alpha {2 * HIGH_RANK}: {_size(result)} "
                "(a deviation from training all weights: say so beside your figures)"
            )
    yield "larger GPUs, or a smaller model"


def _with(case: Case, keys: dict[str, Any]) -> Case:
    """The case with other settings; the largest micro-batch shrinks with its token budget."""
    given = case.config.model_dump()
    for key, value in keys.items():
        given[key] = {**given[key], **value} if isinstance(value, dict) else value
    config = FinetuneConfig.model_validate(given)
    rows, width = case.widest
    width = min(width, config.sequence_length)
    rows = max(1, min(rows, config.batch_tokens // width))
    share = rows * width / (case.widest[0] * case.widest[1])
    return Case(
        config, case.source, case.world_size, (rows, width), max(1, int(case.supervised * share)), case.device_type,
        case.dtype,
    )  # fmt: skip


def _size(result: MemoryPlan) -> str:
    return f"{result.needed / GIB:.1f} GiB a worker"
