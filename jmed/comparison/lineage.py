"""Which run's model was made from which other's, and where the logs of its training lie."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from jmed.comparison.folders import read_record
from jmed.comparison.runs import TELLING, Runs, System
from jmed.comparison.schema import Basis
from jmed.errors import UserError
from jmed.runs.card import Step, read_lineage
from jmed.training.files import TRAIN_LOG

_WEIGHTS = ".safetensors"
_DEEPEST = 20  # trainings on trainings


@dataclass(frozen=True)
class Descent:
    """`adapted` was made from `base`, as far as `basis` says."""

    base: System
    adapted: System
    basis: Basis


def descents(runs: Runs, base: str) -> list[Descent]:
    """Every base and what was made from it. `base` (a folder of `runs`) decides if it is given; then what the models'
    lineage says; and if nothing says anything, the first run is taken for the base of the others."""
    if base:
        chosen = _chosen(runs.systems, base)
        return [Descent(chosen, other, "key") for other in runs.systems if other is not chosen]
    found = [
        Descent(first, second, basis)
        for first, second in permutations(runs.systems, 2)
        if (basis := _basis(first, second))
    ]
    first, *others = runs.systems
    found = found or [Descent(first, other, "order") for other in others if not _same_model(first, other)]
    return [one for one in found if _alike(one) == max(_alike(two) for two in found if two.adapted is one.adapted)]


def _same_model(first: System, second: System) -> bool:
    """One model under two prompts, say: neither is the base of the other."""
    if first.identity.get("model") or second.identity.get("model"):
        return all(first.identity.get(key) == second.identity.get(key) for key in ("model", "adapter"))
    return first.folders[0].model == second.folders[0].model


def _alike(descent: Descent) -> int:
    """In how much base and adapted were asked the same way; of a base under several prompts, the nearest counts."""
    base, adapted = descent.base.folders[0], descent.adapted.folders[0]
    return sum(base.way(key) == adapted.way(key) for key in TELLING)


def _chosen(systems: Sequence[System], base: str) -> System:
    for system in systems:
        if any(Path(base).expanduser().resolve() == folder.path.resolve() for folder in system.folders):
            return system
    given = ", ".join(folder.given for system in systems for folder in system.folders)
    raise UserError(f"base: {base} is none of runs; expected one of {given}")


def _basis(base: System, adapted: System) -> Basis | None:
    """Why `adapted` is known to come from `base`; None: it is not."""
    weights = _weights(base.identity.get("model"))
    if not weights or base.identity.get("adapter"):
        return None
    if adapted.identity.get("adapter") and _weights(adapted.identity.get("model")) == weights:
        return "adapter"
    return "lineage" if any(_weights(step.base.files) == weights for step in steps(adapted)) else None


def _weights(files: Mapping[str, str] | None) -> set[str]:
    """Hashes of the files that hold weights."""
    return {digest for name, digest in (files or {}).items() if name.endswith(_WEIGHTS)}


def steps(system: System) -> list[Step]:
    """All that led to a system's model and adapter, oldest first, as far as its folders are still there."""
    found: list[Step] = []
    for folder in _models(system):
        try:
            found += [step for step in read_lineage(folder) if step not in found]
        except UserError:  # a lineage.json of another version says nothing here
            continue
    return found


def _models(system: System) -> list[Path]:
    """The folders of model and adapter that the run was made with."""
    record = system.folders[0].record
    adapter = system.folders[0].configuration.get("model", {}).get("adapter")
    named = (record.get("model_folder"), record.get("adapter_folder") or adapter)
    return [path for name in named if name and (path := Path(str(name)).expanduser()).is_dir()]


def training_folders(system: System) -> list[Path]:
    """Output folders of finetune that led to a system's model, oldest first."""
    found: dict[Path, None] = {}
    for folder in _models(system):
        found |= dict.fromkeys(_trainings(folder.resolve(), _DEEPEST))
    return list(found)


def _trainings(model: Path, depth: int) -> Iterator[Path]:
    """The training that made a model or adapter, after those of what it was made from."""
    run = model if (model / "run.yaml").is_file() else model.parent  # merge writes into the model's own folder
    record = read_record(run / "run.yaml")
    job = record.get("identity", {}).get("job") if isinstance(record.get("identity"), dict) else None
    if job not in ("finetune", "merge") or not depth:
        return
    for key in ("model_folder", "adapter_folder"):
        if (name := record.get(key)) and (before := Path(str(name))) != model:
            yield from _trainings(before, depth - 1)
    if (run / TRAIN_LOG).is_file():
        yield run
