"""Ranks and differences of runs, on the questions that they share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from jmed.comparison.facts import Facts
from jmed.comparison.figures import pick, share
from jmed.comparison.runs import Group, Runs, System, shared
from jmed.comparison.schema import Clustered, Leaderboard, Overlap, Pair, Rank, Words
from jmed.data.question import Question
from jmed.statistics.clusters import cluster_bootstrap, clustered_mean
from jmed.statistics.paired import (
    PairedTable,
    holm,
    mcnemar,
    mcnemar_mid_p,
    newcombe,
    paired_bootstrap,
    paired_table,
)
from jmed.statistics.ranks import LEVEL, ranks
from jmed.statistics.sentences import asked_in, difference_sentence

_BY_SUBJECT = ("medmcqa", "mmlu", "jmmlu")
_BY_ABSTRACT = ("pubmedqa",)


def overlaps(runs: Runs) -> list[Overlap]:
    return [
        Overlap(
            benchmark=runs.names[group[0]],
            language=group[1],
            shared=len(runs.shared(group)),
            counts={system.name: len(system.marks(group)) for system in runs.asked(group)},
        )
        for group in runs.groups
    ]


def leaderboards(runs: Runs) -> list[Leaderboard]:
    """One for each benchmark and language of which the runs that answered it share questions."""
    return [_leaderboard(runs, group, ids) for group in runs.groups if (ids := runs.shared(group))]


def _leaderboard(runs: Runs, group: Group, ids: Sequence[str]) -> Leaderboard:
    marks = {system.name: pick(system.marks(group), ids) for system in runs.asked(group)}
    lines = [
        Rank(run=one.name, best=one.best, worst=one.worst, like_next=one.like_next, **share(marks[one.name]))
        for one in ranks(marks)
    ]
    return Leaderboard(benchmark=runs.names[group[0]], language=group[1], n=len(ids), ranks=lines)


@dataclass(frozen=True)
class _Match:
    """Two systems on a benchmark, each in its language, and the questions that both answered."""

    first: System
    second: System
    groups: tuple[Group, Group]
    ids: list[str]

    @property
    def language(self) -> str:
        (_, one), (_, other) = self.groups
        return one if one == other else f"{one}-{other}"

    @property
    def marks(self) -> tuple[list[bool], list[bool]]:
        first, second = self.first.marks(self.groups[0]), self.second.marks(self.groups[1])
        return pick(first, self.ids), pick(second, self.ids)


def pairs(runs: Runs, facts: Facts, seed: int) -> list[Pair]:
    """Every two runs on everything that they share; Holm over all of them."""
    found = [(match, paired_table(*match.marks)) for match in _matches(runs)]
    p = [mcnemar(table) for _, table in found]
    return [
        _pair(runs, match, table, p_value, adjusted, _clustered(match, facts, seed))
        for (match, table), p_value, adjusted in zip(found, p, holm(p), strict=True)
    ]


def _matches(runs: Runs) -> Iterator[_Match]:
    for first, second in combinations(runs.systems, 2):
        for family in sorted({family for family, _ in first.groups} & {family for family, _ in second.groups}):
            one, other = ([group for group in system.groups if group[0] == family] for system in (first, second))
            common = [(group, group) for group in one if group in other]
            # Asked in no common language: the same questions, each in its own.
            for groups in common or [(one[0], other[0])]:
                if ids := shared([first.marks(groups[0]), second.marks(groups[1])]):
                    yield _Match(first, second, groups, ids)


def _pair(
    runs: Runs, match: _Match, table: PairedTable, p: float, adjusted: float, clustered: Clustered | None
) -> Pair:
    low, high = newcombe(table)
    drawn_low, drawn_high = paired_bootstrap(table)
    verdict: Literal["first", "second", "undecided"] = "undecided"
    if adjusted < LEVEL:
        verdict = "second" if table.difference > 0 else "first"
    benchmark = runs.names[match.groups[0][0]]
    return Pair(
        benchmark=benchmark,
        language=match.language,
        first=match.first.name,
        second=match.second.name,
        n=table.n,
        both=table.both,
        only_first=table.only_first,
        only_second=table.only_second,
        neither=table.neither,
        first_value=table.first_value,
        second_value=table.second_value,
        difference=table.difference,
        ci_low=low,
        ci_high=high,
        bootstrap_low=drawn_low,
        bootstrap_high=drawn_high,
        p=p,
        mid_p=mcnemar_mid_p(table),
        p_holm=adjusted,
        verdict=verdict,
        clustered=clustered,
        sentence=_sentence(match, benchmark, table, adjusted),
    )


def _sentence(match: _Match, benchmark: str, table: PairedTable, p: float) -> Words:
    low, high = newcombe(table)
    ahead = table.difference >= 0
    names = (match.second.name, match.first.name) if ahead else (match.first.name, match.second.name)
    figures = (table.difference, low, high) if ahead else (-table.difference, -high, -low)
    return Words(
        en=difference_sentence("en", names, asked_in(benchmark, match.language, "en"), figures, p, p < LEVEL),
        ja=difference_sentence("ja", names, asked_in(benchmark, match.language, "ja"), figures, p, p < LEVEL),
    )


def _clustered(match: _Match, facts: Facts, seed: int) -> Clustered | None:
    """None where nothing says which questions belong together, or where all belong to one cluster."""
    group = match.groups[0]
    questions = [question for one in match.ids if (question := facts.of(group, one))]
    if group[0] not in (*_BY_SUBJECT, *_BY_ABSTRACT) or len(questions) != len(match.ids):
        return None
    clusters = [_cluster(question, group[0]) for question in questions]
    if len(set(clusters)) < 2:
        return None
    values = [int(second) - int(first) for first, second in zip(*match.marks, strict=True)]
    mean, drawn = clustered_mean(values, clusters), cluster_bootstrap(values, clusters, seed)
    return Clustered(
        by="subject" if group[0] in _BY_SUBJECT else "abstract",
        clusters=mean.clusters,
        standard_error=mean.standard_error,
        ci_low=mean.low,
        ci_high=mean.high,
        p=mean.p,
        bootstrap_low=drawn[0],
        bootstrap_high=drawn[1],
    )


def _cluster(question: Question, family: str) -> str:
    return question.subset if family in _BY_SUBJECT else question.context
