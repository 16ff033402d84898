"""Transfer between languages: Fieller's interval, agreement, and the one sentence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from jmed.statistics.agreement import agreement
from jmed.statistics.paired import newcombe, paired_table
from jmed.statistics.ratio import fieller
from jmed.statistics.sentences import transfer_sentence
from jmed.statistics.transfer import Transfer, transfer


def test_cohens_own_example() -> None:
    """Cohen 1960, Educational and Psychological Measurement 20:37, as in Fleiss, Cohen, Everitt 1969: 200 cases,
    agreement 0.70, by chance 0.41, kappa 0.492."""
    table = [[88, 10, 2], [14, 40, 6], [18, 10, 12]]
    pairs = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    found = agreement(*zip(*pairs, strict=True))
    assert (found.n, found.raw) == (200, 0.70)
    assert found.kappa == pytest.approx((0.70 - 0.41) / (1 - 0.41))
    assert found.kappa == pytest.approx(0.492, abs=5e-4)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1))
def test_agreement_is_symmetric_and_never_above_1(pairs: list[tuple[str, str]]) -> None:
    first, second = zip(*pairs, strict=True)
    found = agreement(first, second)
    assert agreement(second, first) == found
    assert agreement(first[::-1], second[::-1]) == found
    assert found.kappa is None or -1 <= found.kappa <= 1
    assert (agreement(first, first).kappa or 1) == 1


def test_agreement_that_chance_makes_certain_has_no_kappa() -> None:
    assert agreement(["a", "a"], ["a", "a"]).kappa is None


values = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=5, max_size=40)


@settings(deadline=None)
@given(values)
def test_fieller_holds_the_ratios_that_a_t_test_leaves(pairs: list[tuple[int, int]]) -> None:
    top, bottom = np.array(pairs, dtype=float).T
    interval = fieller(top, bottom)
    if interval is None:
        assert bottom.std() == 0 or ttest_1samp(bottom, 0).pvalue > 0.05 - 1e-9
        return
    for edge in interval:
        rest = top - edge * bottom
        if rest.std() > 1e-9:
            assert ttest_1samp(rest, 0).pvalue == pytest.approx(0.05, abs=1e-6)
    assert interval[0] - 1e-9 <= top.mean() / bottom.mean() <= interval[1] + 1e-9


def test_95_of_100_ratios_hold_the_truth() -> None:
    """Gains of 0.12 and 0.06 that are correlated: the true ratio is 0.5."""
    generator = np.random.default_rng(5)
    held = []
    for _ in range(2000):
        ease = generator.uniform(size=400)
        top = (ease < 0.15).astype(float) - (ease > 0.91)
        bottom = (ease < 0.20).astype(float) - (generator.uniform(size=400) < 0.08)
        interval = fieller(top, bottom)
        if interval:
            held.append(interval[0] <= 0.5 <= interval[1])
    assert len(held) > 1900
    assert 0.93 <= np.mean(held) <= 0.97


def marks(learned: int, lost: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """(base, adapted): `learned` questions gained, `lost` lost, the rest half right."""
    base = np.arange(n) % 2 == 0
    adapted = base.copy()
    adapted[np.flatnonzero(~base)[:learned]] = True
    adapted[np.flatnonzero(base)[:lost]] = False
    return base, adapted


def moved(source: tuple[int, int], target: tuple[int, int]) -> Transfer:
    return transfer(*marks(*source), *marks(*target))


def test_gains_ratio_and_gap() -> None:
    found = moved((60, 20), (30, 10))
    assert (found.source.difference, found.target.difference) == (0.1, 0.05)
    assert found.ratio == pytest.approx(0.5)
    assert found.ratio_low is not None
    assert found.ratio_high is not None
    assert 0 < found.ratio_low < 0.5 < found.ratio_high < 1
    assert found.gap == pytest.approx(0.05)
    assert (found.source.low, found.source.high) == newcombe(paired_table(*marks(60, 20)))


def test_a_gain_that_may_be_nothing_has_no_ratio() -> None:
    found = moved((20, 18), (40, 10))
    assert (found.ratio, found.ratio_low, found.ratio_high) == (None, None, None)


SENTENCES = [
    ((60, 20), (30, 10), "B is better than A in both Japanese", "でも正答率が高い、日本語の変化は英語の変化を上回る"),
    ((60, 20), (58, 20), "which of the two languages came out better", "どちらの言語で大きいかは判断できない"),
    ((30, 10), (70, 10), "English came out better than Japanese", "英語の変化は日本語の変化を上回る"),
    ((60, 10), (22, 20), "whether in English is undecided", "英語で差があるかどうかは判断できない"),
    ((60, 10), (10, 60), "worse in English", "英語では低い"),
    ((21, 20), (60, 10), "whether in Japanese is undecided", "日本語で差があるかどうかは判断できない"),
    ((21, 20), (20, 21), "Undecided: neither", "判断できない："),
    ((20, 21), (10, 60), "B is worse than A in English", "英語で正答率が低い"),
    ((10, 60), (60, 10), "B is worse than A in Japanese", "日本語で正答率が低く"),
    ((10, 60), (21, 20), "whether in English is undecided", "英語で差があるかどうかは判断できない"),
    ((10, 60), (10, 50), "B is worse than A in both", "でも正答率が低い"),
]


@pytest.mark.parametrize(("source", "target", "english", "japanese"), SENTENCES)
def test_one_sentence_says_what_the_figures_support(
    source: tuple[int, int], target: tuple[int, int], english: str, japanese: str
) -> None:
    found = moved(source, target)
    in_english, in_japanese = (transfer_sentence(found, "ja", "en", language, "A", "B") for language in ("en", "ja"))
    assert english in in_english
    assert in_english.endswith(".")
    assert japanese in in_japanese
    assert in_japanese.count("。") == 1
    for text in (in_english, in_japanese):
        assert f"{100 * found.source.difference:+.1f}" in text
        assert "{" not in text


def test_nothing_is_claimed_of_a_model_that_did_not_change() -> None:
    """250 pairs of runs without a difference: at most about one in ten sentences is not "undecided"."""
    generator, claimed = np.random.default_rng(6), 0
    for _ in range(250):
        base, adapted, base_en, adapted_en = generator.uniform(size=(4, 150)) < 0.6
        found = transfer(base, adapted, base_en, adapted_en)
        claimed += not transfer_sentence(found, "ja", "en", "en", "A", "B").startswith("Undecided: neither")
    assert claimed <= 0.14 * 250


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.booleans()] * 4), min_size=2, max_size=60))
def test_exchanging_the_models_turns_gains_and_keeps_the_ratio(rows: list[tuple[bool, ...]]) -> None:
    base_ja, adapted_ja, base_en, adapted_en = zip(*rows, strict=True)
    one = transfer(base_ja, adapted_ja, base_en, adapted_en)
    other = transfer(adapted_ja, base_ja, adapted_en, base_en)
    assert (other.source.sign, other.target.sign, other.gap_sign) == (
        -one.source.sign, -one.target.sign, -one.gap_sign,
    )  # fmt: skip
    assert (other.ratio is None) == (one.ratio is None)
    assert other.ratio == pytest.approx(one.ratio)
