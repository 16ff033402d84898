"""What to change when training does not fit: only changes with which, by prediction, it does."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from jmed.configuration.finetune import FinetuneConfig
from jmed.training.memory import GIB, Case, plan

HIGH_RANK = 128
SHORTEST = 256  # tokens of a sequence that advice goes down to
MOST_WORKERS = 64

Fits = Callable[[Case], bool]
Step = Callable[[Case], "list[Change]"]  # changes of a kind that go further and further


@dataclass(frozen=True)
class Change:
    """Keys with their new values, as a user gives them, and the case that they make."""

    flags: dict[str, str]
    case: Case

    def line(self, remark: str = "") -> str:
        """`--batch_tokens 2048: 7.1 GiB`: what to give, and what a worker would need then."""
        given = " ".join(f"--{key} {value}" for key, value in self.flags.items())
        return f"{given}: {plan(self.case).needed / GIB:.1f} GiB{remark}"


def advise(case: Case, fits: Fits) -> list[str]:
    """Each change that makes `case` fit, the gentlest first; if none does alone, as many together as it takes."""
    changes = [_least(step(case), fits) for step in _GENTLE]
    if not any(changes):
        changes = [_together(case, fits, _GENTLE)]
    changes.append(_least(_shorter_sequences(case), fits))
    if not any(changes):
        changes = [_together(case, fits, (*_GENTLE, _shorter_sequences))]
    lines = [change.line() for change in changes if change]
    if adapters := _least(_adapters(case), fits):
        lines.append(adapters.line(" (a deviation from the paper, whose first stage trains all weights)"))
    return lines or ["no change of settings makes it fit: take GPUs with more memory, or a smaller model"]


def _least(changes: list[Change], fits: Fits) -> Change | None:
    """The first that fits of changes that go further and further."""
    if not changes or not fits(changes[-1].case):
        return None
    return changes[bisect_left(changes, True, hi=len(changes) - 1, key=lambda change: fits(change.case))]


def _together(case: Case, fits: Fits, steps: Sequence[Step]) -> Change | None:
    """As few of the steps as it takes, the last of them no further than needed."""
    if case.config.tuning == "full":  # the small optimiser would rule out ZeRO, which saves more
        steps = [step for step in steps if step is not _small_optimizer]
    if not fits(_furthest(case, steps).case):
        return None
    for step in reversed(steps):
        fewer = [other for other in steps if other is not step]
        if fits(_furthest(case, fewer).case):
            steps = fewer
    *earlier, last = steps
    change = _furthest(case, earlier)
    end = _least(last(change.case), fits)
    return end and Change({**change.flags, **end.flags}, end.case)


def _furthest(case: Case, steps: Sequence[Step]) -> Change:
    """All steps, each as far as it goes."""
    flags: dict[str, str] = {}
    for step in steps:
        for change in step(case)[-1:]:
            case, flags = change.case, {**flags, **change.flags}
    return Change(flags, case)


def _smaller_batch(case: Case) -> list[Change]:
    rows, width = case.widest
    return [
        change
        for fewer in range(rows - 1, 0, -1)
        for change in _with(case, {"batch_tokens": fewer * width}, widest=(fewer, width))
    ]


def _checkpointing(case: Case) -> list[Change]:
    return [] if case.config.memory.checkpointing else _with(case, {"memory.checkpointing": True})


def _offloaded_activations(case: Case) -> list[Change]:
    there = case.config.memory.offload_activations or case.device_type == "cpu"
    return [] if there else _with(case, {"memory.offload_activations": True})


def _small_optimizer(case: Case) -> list[Change]:
    return _with(case, {"optimizer": "adamw_8bit"}) if case.config.optimizer == "adamw" else []


def _quantised(case: Case) -> list[Change]:
    return _with(case, {"tuning": "qlora"}) if case.config.tuning == "lora" else []


def _third_stage(case: Case) -> list[Change]:
    useful = case.config.tuning == "full" and case.config.zero.stage < 3 and case.world_size > 1
    return _with(case, {"zero.stage": 3, "optimizer": "adamw"}) if useful else []


def _offloaded_state(case: Case) -> list[Change]:
    """At stage 3, which leaves least on the GPU."""
    useful = case.config.tuning == "full" and case.device_type == "cuda" and case.config.zero.offload == "none"
    return _with(case, {"zero.stage": 3, "zero.offload": "cpu", "optimizer": "adamw"}) if useful else []


def _more_workers(case: Case) -> list[Change]:
    counts = [case.world_size << doublings for doublings in range(1, MOST_WORKERS.bit_length())]
    useful = [count for count in counts if case.config.sharded and count <= MOST_WORKERS]
    return [Change({"workers.count": str(count)}, replace(case, world_size=count)) for count in useful]


def _shorter_sequences(case: Case) -> list[Change]:
    """Text is cut into more pieces; what is longer of questions with their answers must be left out."""
    rows, width = case.widest
    shorter = [width >> halvings for halvings in range(1, width.bit_length()) if width >> halvings >= SHORTEST]
    dropped = {} if case.config.stage == "pretrain" else {"too_long": "drop"}
    return [
        change
        for length in shorter
        for change in _with(
            case, {"sequence_length": length, "batch_tokens": rows * length, **dropped}, widest=(rows, length)
        )
    ]


_GENTLE = (
    _smaller_batch,
    _checkpointing,
    _offloaded_activations,
    _small_optimizer,
    _quantised,
    _third_stage,
    _offloaded_state,
    _more_workers,
)


def _adapters(case: Case) -> list[Change]:
    """Instead of all weights."""
    if case.config.tuning != "full":
        return []
    rank = {"lora.r": HIGH_RANK, "lora.alpha": 2 * HIGH_RANK}
    return [change for tuning in ("lora", "qlora") for change in _with(case, {"tuning": tuning, **rank})]


def _with(case: Case, keys: dict[str, Any], widest: tuple[int, int] | None = None) -> list[Change]:
    """The case with other settings (those that are already so are not named); none where they contradict the rest."""
    given = case.config.model_dump()
    flags = {}
    for key, value in keys.items():
        *section, name = key.split(".")
        target = given[section[0]] if section else given
        if target[name] != value:
            flags[key] = str(value).lower()
        target[name] = value
    try:
        config = FinetuneConfig.model_validate(given)
    except ValidationError:
        return []
    widest = widest or case.widest
    supervised = case.supervised * widest[0] * widest[1] // (case.widest[0] * case.widest[1])
    return [Change(flags, replace(case, config=config, widest=widest, supervised=max(1, supervised)))]
