"""The same model under several prompts: how much of a difference between models is the prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from jmed.comparison.figures import pick, share
from jmed.comparison.runs import Group, Runs, System, shared
from jmed.comparison.schema import PromptContrast, PromptEffect, PromptScore, Words
from jmed.statistics.repeated import cochran_q
from jmed.statistics.sentences import asked_in, prompt_sentence


@dataclass(frozen=True)
class _Model:
    """A model asked by one method, under one prompt or several."""

    name: str
    prompts: dict[str, System]

    def asked(self, group: Group) -> dict[str, System]:
        return {prompt: system for prompt, system in self.prompts.items() if group in system.groups}


def _models(runs: Runs) -> list[_Model]:
    """Runs with the same weights, quantization and method; several prompts of a model have several names."""
    models: dict[str, list[System]] = {}
    for system in runs.systems:
        models.setdefault(_same_model(system), []).append(system)
    named = [(systems[0].folders[0].model, systems) for systems in models.values()]
    names = [name for name, _ in named]
    return [
        _Model(name if names.count(name) == 1 else f"{name} ({_about(systems[0])})", _prompts(systems))
        for name, systems in named
    ]


def _same_model(system: System) -> str:
    folder = system.folders[0]
    weights = [folder.identity.get(key) for key in ("model", "adapter", "quantization", "dtype", "scoring")]
    return repr((folder.model, folder.method, weights))


def _about(system: System) -> str:
    folder = system.folders[0]
    return ", ".join(str(folder.way(key)) for key in ("method", "quantization", "scoring") if folder.way(key))


def _prompts(systems: Sequence[System]) -> dict[str, System]:
    """By the name of the template, with the shots where these differ; of equal names the first."""
    shots = {system.folders[0].way("shots") for system in systems}
    found: dict[str, System] = {}
    for system in systems:
        folder = system.folders[0]
        name = folder.prompt if len(shots) == 1 else f"{folder.prompt}, {folder.way('shots')} shots"
        found.setdefault(name, system)
    return found


def _groups(runs: Runs, model: _Model) -> list[tuple[Group, dict[str, System], list[str]]]:
    """Where a model was asked under two prompts or more, with the questions that all of them share."""
    found = [(group, model.asked(group)) for group in runs.groups]
    return [
        (group, prompts, ids)
        for group, prompts in found
        if len(prompts) > 1 and (ids := runs.shared(group, list(prompts.values())))
    ]


def prompt_scores(runs: Runs) -> list[PromptScore]:
    return [
        PromptScore(
            model=model.name,
            run=system.name,
            prompt=prompt,
            benchmark=runs.names[group[0]],
            language=group[1],
            **share(pick(system.marks(group), ids)),
        )
        for model in _models(runs)
        for group, prompts, ids in _groups(runs, model)
        for prompt, system in prompts.items()
    ]


def prompt_effects(runs: Runs) -> list[PromptEffect]:
    return [
        _effect(runs, model, group, prompts, ids)
        for model in _models(runs)
        for group, prompts, ids in _groups(runs, model)
    ]


def _effect(runs: Runs, model: _Model, group: Group, prompts: Mapping[str, System], ids: Sequence[str]) -> PromptEffect:
    marks = [pick(system.marks(group), ids) for system in prompts.values()]
    values = [sum(row) / len(ids) for row in marks]
    test = cochran_q(marks)
    return PromptEffect(
        model=model.name,
        benchmark=runs.names[group[0]],
        language=group[1],
        n=len(ids),
        prompts=len(prompts),
        lowest=min(values),
        highest=max(values),
        spread=max(values) - min(values),
        q=test.q,
        p=test.p,
    )


def prompt_contrasts(runs: Runs) -> list[PromptContrast]:
    """Every two models that were asked under the same two prompts or more."""
    return [
        contrast
        for first, second in combinations(_models(runs), 2)
        for group in runs.groups
        if (contrast := _contrast(runs, first, second, group))
    ]


def _contrast(runs: Runs, first: _Model, second: _Model, group: Group) -> PromptContrast | None:
    one, other = first.asked(group), second.asked(group)
    prompts = [prompt for prompt in one if prompt in other]
    ids = shared(system.marks(group) for prompt in prompts for system in (one[prompt], other[prompt]))
    if len(prompts) < 2 or not ids:
        return None
    values = [
        {prompt: sum(pick(asked[prompt].marks(group), ids)) / len(ids) for prompt in prompts} for asked in (one, other)
    ]
    differences = {prompt: values[1][prompt] - values[0][prompt] for prompt in prompts}
    spread = max(max(of.values()) - min(of.values()) for of in values)
    figures = min(differences.values()), max(differences.values()), spread
    where = {language: asked_in(runs.names[group[0]], group[1], language) for language in ("en", "ja")}
    return PromptContrast(
        first=first.name,
        second=second.name,
        benchmark=runs.names[group[0]],
        language=group[1],
        n=len(ids),
        differences=differences,
        mean=sum(differences.values()) / len(differences),
        lowest=figures[0],
        highest=figures[1],
        spread=spread,
        reverses=figures[0] < 0 < figures[1],
        sentence=Words(
            en=prompt_sentence("en", first.name, second.name, where["en"], figures),
            ja=prompt_sentence("ja", first.name, second.name, where["ja"], figures),
        ),
    )
