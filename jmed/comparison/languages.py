"""Two languages: what adaptation in one brought to the other, and what a run knows in one language only."""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from jmed.comparison.figures import pick
from jmed.comparison.lineage import Descent, steps
from jmed.comparison.runs import Group, Runs, System, shared
from jmed.comparison.schema import Gain, Language, Languages, Tokens, Transfer, Words
from jmed.statistics import transfer as statistics
from jmed.statistics.agreement import agreement
from jmed.statistics.paired import PairedTable, holm, mcnemar, newcombe, paired_table
from jmed.statistics.ratio import fieller
from jmed.statistics.sentences import transfer_sentence

Marks = dict[str, bool]


def transfers(runs: Runs, found: list[Descent]) -> list[Transfer]:
    """For each base and adapted model, and each benchmark of which both answered two questions in both languages."""
    return [
        _transfer(runs, descent, family, ids)
        for descent in found
        for family in _families(runs)
        if len(ids := shared(_marks(one, family)[language] for one in _two(descent) for language in ("ja", "en"))) > 1
    ]


def _two(descent: Descent) -> tuple[System, System]:
    return descent.base, descent.adapted


def _families(runs: Runs) -> list[str]:
    """Benchmarks that anybody was asked in both languages."""
    return sorted({family for family, language in runs.groups if language == "ja"})


def _marks(system: System, family: str) -> dict[str, Marks]:
    return {language: system.marks((family, language)) for language in ("ja", "en")}


def _transfer(runs: Runs, descent: Descent, family: str, ids: list[str]) -> Transfer:
    source, basis = _source(descent)
    target: Language = "en" if source == "ja" else "ja"
    base, adapted = (_marks(one, family) for one in _two(descent))
    by = {(name, language): pick(marks[language], ids) for name, marks in (("base", base), ("adapted", adapted))
          for language in ("ja", "en")}  # fmt: skip
    figures = statistics.transfer(by["base", source], by["adapted", source], by["base", target], by["adapted", target])
    names = descent.base.name, descent.adapted.name
    return Transfer(
        benchmark=runs.names[family],
        base=names[0],
        adapted=names[1],
        basis=descent.basis,
        n=len(ids),
        source_language=source,
        target_language=target,
        source_basis=basis,
        source=_gain(figures.source),
        target=_gain(figures.target),
        ratio=figures.ratio,
        ratio_low=figures.ratio_low,
        ratio_high=figures.ratio_high,
        gap=figures.gap,
        gap_low=figures.gap_low,
        gap_high=figures.gap_high,
        sentence=Words(
            en=transfer_sentence(figures, source, target, "en", *names),
            ja=transfer_sentence(figures, source, target, "ja", *names),
        ),
    )


def _source(descent: Descent) -> tuple[Language, Literal["training data", "assumed"]]:
    """The language that the adapted model was taught in, where its training data say so; else Japanese."""
    before = steps(descent.base)
    taught = {data.language for step in steps(descent.adapted) if step not in before for data in step.data}
    if taught == {"ja"}:
        return "ja", "training data"
    return ("en", "training data") if taught == {"en"} else ("ja", "assumed")


def _gain(one: statistics.Gain) -> Gain:
    table = one.table
    return Gain(
        base_value=table.first_value,
        adapted_value=table.second_value,
        difference=one.difference,
        ci_low=one.low,
        ci_high=one.high,
        p=one.p,
        learned=table.only_second,
        unlearned=table.only_first,
    )


def languages(runs: Runs) -> list[Languages]:
    """Each run that answered the same questions in both languages."""
    found = list(_both(runs))
    tables = [paired_table(pick(marks["en"], ids), pick(marks["ja"], ids)) for _, _, marks, ids in found]
    adjusted = holm([mcnemar(table) for table in tables])
    return [
        _languages(runs, system, family, ids, table, p)
        for (system, family, _, ids), table, p in zip(found, tables, adjusted, strict=True)
    ]


def _both(runs: Runs) -> Iterator[tuple[System, str, dict[str, Marks], list[str]]]:
    for family in _families(runs):
        for system in runs.systems:
            marks = _marks(system, family)
            if ids := shared(marks.values()):
                yield system, family, marks, ids


def _languages(
    runs: Runs, system: System, family: str, ids: list[str], table: PairedTable, adjusted: float
) -> Languages:
    """The table's first is English, so that its difference is Japanese minus English."""
    low, high = newcombe(table)
    ja, en = ([system.answers[family, language, one].prediction for one in ids] for language in ("ja", "en"))
    read = [(one, other) for one, other in zip(ja, en, strict=True) if one and other]
    marks = _marks(system, family)
    return Languages(
        benchmark=runs.names[family],
        run=system.name,
        n=table.n,
        both=table.both,
        only_ja=table.only_second,
        only_en=table.only_first,
        neither=table.neither,
        ja_value=table.second_value,
        en_value=table.first_value,
        difference=table.difference,
        ci_low=low,
        ci_high=high,
        p=mcnemar(table),
        p_holm=adjusted,
        agreement=sum(one == other for one, other in read) / table.n,
        kappa=agreement(*zip(*read, strict=True)).kappa if read else None,
        questions_only_ja=[one for one in ids if marks["ja"][one] and not marks["en"][one]],
        questions_only_en=[one for one in ids if marks["en"][one] and not marks["ja"][one]],
    )


def tokens(runs: Runs) -> list[Tokens]:
    """Prompts of the same questions, counted by the model's own tokenizer; imported answers have none."""
    return [
        counted
        for system, family, _, ids in _both(runs)
        if (counted := _tokens(runs.names[family], system, family, ids))
    ]


def _tokens(benchmark: str, system: System, family: str, ids: list[str]) -> Tokens | None:
    ja, en = (_counts(system, (family, language), ids) for language in ("ja", "en"))
    asked = (ja > 0) & (en > 0)  # a prompt that failed has none
    if asked.sum() < 2:
        return None
    ja, en = ja[asked], en[asked]
    low, high = fieller(ja, en) or (None, None)
    return Tokens(
        run=system.name,
        benchmark=benchmark,
        n=len(ja),
        tokens_ja=int(ja.sum()),
        tokens_en=int(en.sum()),
        ratio=float(ja.sum() / en.sum()),
        ratio_low=low,
        ratio_high=high,
    )


def _counts(system: System, group: Group, ids: list[str]) -> np.ndarray:
    return np.array([system.answers[(*group, one)].tokens_in for one in ids])
