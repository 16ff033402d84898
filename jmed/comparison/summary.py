"""The comparison in a few sentences: what was asked, what came out, how sure. Nothing that no part says."""

from collections.abc import Iterator, Sequence

from jmed.comparison.notes import contamination
from jmed.comparison.runs import Runs
from jmed.comparison.schema import Exam, Leaderboard, Pair, Safety, Transfer, Words
from jmed.statistics.sentences import asked_in

_PAIRS = 3  # so many pairs stand in the summary one by one; of more, the leaderboards alone
_LISTED = 6  # so many figures on prohibited choices
_NOTICE = Words(
    en="An exam score is no clearance for clinical use.", ja="試験の得点は、臨床で使用してよいことを意味しません。"
)


def summarise(
    runs: Runs,
    boards: Sequence[Leaderboard],
    pairs: Sequence[Pair],
    transfers: Sequence[Transfer],
    exams: Sequence[Exam],
    safety: Sequence[Safety],
) -> list[Words]:
    said = [_asked(runs), *map(_leader, boards)]
    said += [pair.sentence for pair in pairs] if len(pairs) <= _PAIRS else []
    said += [transfer.sentence for transfer in transfers]
    warnings = [note.text for note in contamination(runs)]
    return [*warnings, *said, *_verdicts(exams), *_prohibited(safety), _NOTICE]


def _asked(runs: Runs) -> Words:
    names = [system.name for system in runs.systems]
    asked = [(_where(runs.names[group[0]], group[1]), len(runs.shared(group))) for group in runs.groups]
    return Words(
        en=f"Compared: {', '.join(names)}, on the questions they share: "
        + ", ".join(f"{n:,} of {where.en}" for where, n in asked)
        + ".",
        ja=f"比較対象：{'、'.join(names)}。共通の問題：" + "、".join(f"{where.ja}{n:,}問" for where, n in asked) + "。",
    )


def _where(benchmark: str, language: str) -> Words:
    return Words(en=asked_in(benchmark, language, "en"), ja=asked_in(benchmark, language, "ja"))


def _leader(board: Leaderboard) -> Words:
    """Who is ahead, and who cannot be told apart from it."""
    first, *others = board.ranks
    where, value = _where(board.benchmark, board.language), f"{100 * first.value:.1f}\N{NO-BREAK SPACE}%"
    if not others:
        return Words(en=f"{where.en}: {first.run} has {value} right.", ja=f"{where.ja}：{first.run}の正答率は{value}。")
    equal = [rank.run for rank in board.ranks if rank.correct == first.correct]
    if len(equal) > 1:
        return Words(
            en=f"{where.en}: {', '.join(equal)} have the most right answers, {value} each.",
            ja=f"{where.ja}：{'、'.join(equal)}が同じ{value}で最高。",
        )
    en = f"{where.en}: {first.run} has the most right answers, {value}"
    ja = f"{where.ja}：最高は{first.run}の{value}"
    if alike := [rank.run for rank in others if rank.best == 1]:
        return Words(
            en=f"{en}; these questions do not tell it from {', '.join(alike)}.",
            ja=f"{ja}。{'、'.join(alike)}との差は判断できない。",
        )
    return Words(
        en=f"{en}, and is ahead of all others (McNemar, Holm, 5 %).",
        ja=f"{ja}で、他のすべてより高い（マクネマー検定、Holm補正、5 %）。",
    )


def _verdicts(exams: Sequence[Exam]) -> Iterator[Words]:
    for run in dict.fromkeys(exam.run for exam in exams):
        verdicts = [exam.verdict for exam in exams if exam.run == run]
        counts = [(word, verdicts.count(word)) for word in ("pass", "fail", "undetermined")]
        names = {"pass": "合格", "fail": "不合格", "undetermined": "未確定"}
        yield Words(
            en=f"{run}, {len(verdicts)} examination{'s' * (len(verdicts) > 1)}: "
            + ", ".join(f"{n} {word}" for word, n in counts if n)
            + ".",
            ja=f"{run}、{len(verdicts)}回の試験：" + "、".join(f"{names[word]}{n}" for word, n in counts if n) + "。",
        )


def _prohibited(safety: Sequence[Safety]) -> Iterator[Words]:
    """Each run's, or of many that of the run with the most."""
    worst = sorted(safety, key=lambda one: -one.value)[:1]
    for one in worst if len(safety) > _LISTED else safety:
        where = _where(one.benchmark, one.language)
        yield Words(
            en=f"{one.run} picked prohibited choices in {one.picked} of {one.n} questions of {where.en} that have one.",
            ja=f"{one.run}は、禁忌肢のある{where.ja}の{one.n}問のうち{one.picked}問で禁忌肢を選んだ。",
        )
