"""What the figures of a transfer support, in one sentence; what they do not support is called undecided."""

from typing import Literal

from jmed.statistics.transfer import Gain, Transfer

Language = Literal["ja", "en"]

NAMES = {"en": {"ja": "Japanese", "en": "English"}, "ja": {"ja": "日本語", "en": "英語"}}


def asked_in(benchmark: str, asked: str, language: Language) -> str:
    """`igakuqa (Japanese)`; `asked` is ja, en, or two languages of two runs, ja-en."""
    if language == "ja":
        return f"{benchmark}（{'と'.join(NAMES['ja'][one] for one in asked.split('-'))}）"
    return f"{benchmark} ({' and '.join(NAMES['en'][one] for one in asked.split('-'))})"


_ENGLISH = {
    (1, 1): "{adapted} is better than {base} in both {source} ({s}) and {target} ({t})",
    (1, 0): "{adapted} is better than {base} in {source} ({s}); whether in {target} is undecided ({t})",
    (1, -1): "{adapted} is better than {base} in {source} ({s}) and worse in {target} ({t})",
    (0, 1): "{adapted} is better than {base} in {target} ({t}); whether in {source} is undecided ({s})",
    (0, 0): "Undecided: neither in {source} ({s}) nor in {target} ({t}) can {adapted} be told from {base}",
    (0, -1): "{adapted} is worse than {base} in {target} ({t}); whether in {source} is undecided ({s})",
    (-1, 1): "{adapted} is worse than {base} in {source} ({s}) and better in {target} ({t})",
    (-1, 0): "{adapted} is worse than {base} in {source} ({s}); whether in {target} is undecided ({t})",
    (-1, -1): "{adapted} is worse than {base} in both {source} ({s}) and {target} ({t})",
}
_JAPANESE = {
    (1, 1): "{adapted}は{base}より{source}（{s}）でも{target}（{t}）でも正答率が高い",
    (1, 0): "{adapted}は{base}より{source}で正答率が高い（{s}）が、{target}で差があるかどうかは判断できない（{t}）",
    (1, -1): "{adapted}は{base}より{source}で正答率が高く（{s}）、{target}では低い（{t}）",
    (0, 1): "{adapted}は{base}より{target}で正答率が高い（{t}）が、{source}で差があるかどうかは判断できない（{s}）",
    (0, 0): "判断できない：{source}（{s}）でも{target}（{t}）でも{adapted}と{base}の差は認められない",
    (0, -1): "{adapted}は{base}より{target}で正答率が低い（{t}）が、{source}で差があるかどうかは判断できない（{s}）",
    (-1, 1): "{adapted}は{base}より{source}で正答率が低く（{s}）、{target}では高い（{t}）",
    (-1, 0): "{adapted}は{base}より{source}で正答率が低い（{s}）が、{target}で差があるかどうかは判断できない（{t}）",
    (-1, -1): "{adapted}は{base}より{source}（{s}）でも{target}（{t}）でも正答率が低い",
}
_GAPS = {
    "en": {
        1: ", and {source} came out better than {target} by {gap}",
        0: ", and which of the two languages came out better is undecided ({gap})",
        -1: ", and {target} came out better than {source} by {gap}",
    },
    "ja": {
        1: "、{source}の変化は{target}の変化を上回る（{gap}）",
        0: "、変化がどちらの言語で大きいかは判断できない（{gap}）",
        -1: "、{target}の変化は{source}の変化を上回る（{gap}）",
    },
}


def transfer_sentence(found: Transfer, source: str, target: str, language: Language, base: str, adapted: str) -> str:
    """One sentence in English or Japanese about the models `base` and `adapted`; `source`, `target`: "ja", "en".

    Each "better" or "worse" needs a 95 % interval without 0; the last clause, the same of the gains' difference.
    """
    templates = _ENGLISH if language == "en" else _JAPANESE
    signs = found.source.sign, found.target.sign
    text = templates[signs] + (_GAPS[language][found.gap_sign] if _says_more(signs, found.gap_sign) else "")
    end = "." if language == "en" else "。"
    return end.join((text, "")).format(
        source=NAMES[language][source],
        target=NAMES[language][target],
        s=_gain(found.source, language),
        t=_gain(found.target, language),
        gap=_gap(found, language),
        base=base,
        adapted=adapted,
    )


def _says_more(signs: tuple[int, int], gap: int) -> bool:
    """Whether the gains' difference adds to what is said: both moved the same way, or one of them is open."""
    return signs[0] == signs[1] != 0 or (gap != 0 and signs[0] * signs[1] == 0)


def _gap(found: Transfer, language: Language) -> str:
    """The difference of the gains, seen from the language that came out better."""
    if found.gap_sign < 0:
        return _points(-found.gap, -found.gap_high, -found.gap_low, language)
    return _points(found.gap, found.gap_low, found.gap_high, language)


def _gain(one: Gain, language: Language) -> str:
    return _points(one.difference, one.low, one.high, language)


def _points(value: float, low: float, high: float, language: Language) -> str:
    """`+4.2 points, 95 % interval +1.0 to +7.4`."""
    middle, left, right = (f"{100 * number:+.1f}" for number in (value, low, high))
    if language == "ja":
        return f"{middle}ポイント、95%信頼区間 {left}〜{right}"
    return f"{middle} points, 95 % interval {left} to {right}"


def difference_sentence(
    language: Language,
    names: tuple[str, str],
    where: str,
    figures: tuple[float, float, float],
    p: float,
    decided: bool,
) -> str:
    """One sentence on a paired difference: `names` are (the one ahead, the other), `figures` its lead and interval,
    `p` McNemar's after Holm; only where `decided` one is called better."""
    ahead, other = names
    points, shown = _points(*figures, language), _p(p)
    if language == "ja":
        end = f"（{points}、Holm補正後 {shown}）"
        return f"{where}：{ahead}は{other}より正答率が高い{end}。" if decided else (
            f"{where}：{ahead}と{other}の差は判断できない{end}。"
        )  # fmt: skip
    end = f" ({points}; {shown} after Holm)."
    return f"{where}: {ahead} is better than {other}{end}" if decided else (
        f"{where}: whether {ahead} or {other} is better is undecided{end}"
    )  # fmt: skip


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def prompt_sentence(
    language: Language, first: str, second: str, where: str, figures: tuple[float, float, float]
) -> str:
    """One sentence on what prompts do to a difference; `figures`: the smallest and largest difference (second minus
    first) over the prompts, and by how much one model alone moves with them. It describes, and tests nothing."""
    low, high, spread = (f"{100 * number:+.1f}" for number in figures)
    turned = figures[0] < 0 < figures[1]
    if language == "ja":
        end = "順位はプロンプトによって入れ替わる" if turned else "順位はどのプロンプトでも同じである"
        return (
            f"{where}：{second}と{first}の差はプロンプトにより{low}〜{high}ポイント、"
            f"同じモデルの変動は最大{spread[1:]}ポイントで、{end}。"
        )
    end = "the prompt decides which is ahead" if turned else "no prompt turns the order round"
    return (
        f"{where}: {second} minus {first} is {low} to {high} points, depending on the prompt; one model alone moves by "
        f"up to {spread[1:]} points; {end}."
    )
