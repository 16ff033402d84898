"""The same questions under several conditions: Cochran's Q, the order of choices, and the sentences on both."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from jmed.statistics.position import rotated_bias
from jmed.statistics.repeated import cochran_q
from jmed.statistics.sentences import difference_sentence, prompt_sentence

# Conover, Practical Nonparametric Statistics, third edition, page 253: three persons predict twelve games.
GAMES = ["111", "111", "010", "110", "000", "111", "111", "110", "001", "010", "111", "111"]
rows = st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=30)


def test_conovers_example() -> None:
    found = cochran_q([[game[person] == "1" for game in GAMES] for person in range(3)])
    assert (found.q, found.degrees) == (pytest.approx(2.8), 2)
    assert found.p == pytest.approx(0.2466, abs=5e-5)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_of_two_conditions_it_is_mcnemars_chi_squared(pairs: list[tuple[bool, bool]]) -> None:
    one, other = zip(*pairs, strict=True)
    b, c = pairs.count((True, False)), pairs.count((False, True))
    found = cochran_q([one, other])
    assert found.q == pytest.approx((b - c) ** 2 / (b + c) if b + c else 0)
    assert found.p == pytest.approx(float(chi2.sf(found.q, 1)))


@settings(deadline=None)
@given(rows, st.permutations(range(3)))
def test_the_order_of_conditions_and_questions_plays_no_part(marks: list[tuple[bool, ...]], order: list[int]) -> None:
    conditions = list(zip(*marks, strict=True))
    found = cochran_q(conditions)
    assert cochran_q([conditions[one][::-1] for one in order]).q == pytest.approx(found.q)
    assert 0 <= found.p <= 1


def test_one_condition_compares_nothing() -> None:
    with pytest.raises(ValueError, match="two conditions or more"):
        cochran_q([[True, False]])


# --- the order of the choices


def test_whoever_reads_the_choices_has_no_preferred_place() -> None:
    """The same text in every order stands at each place once."""
    assert rotated_bias([[2, 1, 0, 4, 3], [0, 4, 3, 2, 1]]).p == 1


def test_always_the_first_place_is_a_preference() -> None:
    assert rotated_bias([[0, 0, 0, 0, 0]] * 10).p < 1e-6
    assert rotated_bias([[0, 0, 0, 0, 0]]).p == pytest.approx(float(chi2.sf(4, 4)))  # one question says little


def test_a_model_without_preference_is_seldom_accused() -> None:
    """Places at random, or one for each question that another question outweighs: 5 of 100 at the 5 % level."""
    draw = np.random.default_rng(3)
    at_random = [rotated_bias(draw.integers(5, size=(60, 5)).tolist()).p for _ in range(400)]
    stubborn = [rotated_bias(np.repeat(draw.integers(5, size=(60, 1)), 5, axis=1).tolist()).p for _ in range(400)]
    assert 0.02 <= np.mean(np.array(at_random) < 0.05) <= 0.08
    assert 0.02 <= np.mean(np.array(stubborn) < 0.05) <= 0.08


def test_a_slight_preference_is_found_with_many_questions() -> None:
    draw = np.random.default_rng(4)
    places = draw.choice(5, p=[0.3, 0.175, 0.175, 0.175, 0.175], size=(200, 5)).tolist()
    assert rotated_bias(places).p < 0.001


@pytest.mark.parametrize("places", [[], [[0]], [[0, 1], [0]], [[0, 2]]])
def test_places_must_be_those_of_the_rotations(places: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="as many rotations as there are places"):
        rotated_bias(places)


# --- sentences


def test_only_what_is_decided_is_called_better() -> None:
    lead = (0.231, 0.205, 0.257)
    assert difference_sentence("en", ("A", "B"), "exam (ja)", lead, 1e-9, True) == (
        "exam (ja): A is better than B (+23.1 points, 95 % interval +20.5 to +25.7; p < 0.001 after Holm)."
    )
    assert difference_sentence("en", ("A", "B"), "x", (0.01, -0.02, 0.04), 0.4561, False) == (
        "x: whether A or B is better is undecided (+1.0 points, 95 % interval -2.0 to +4.0; p = 0.456 after Holm)."
    )
    assert "正答率が高い" in difference_sentence("ja", ("A", "B"), "exam", lead, 1e-9, True)
    assert "判断できない" in difference_sentence("ja", ("A", "B"), "exam", lead, 0.2, False)


def test_what_a_prompt_turns_round_is_said() -> None:
    assert "the prompt decides which is ahead" in prompt_sentence("en", "A", "B", "exam", (-0.01, 0.03, 0.05))
    assert "no prompt turns the order round" in prompt_sentence("en", "A", "B", "exam", (0.01, 0.03, 0.05))
    assert "B minus A is -1.0 to +3.0 points" in prompt_sentence("en", "A", "B", "exam", (-0.01, 0.03, 0.05))
    assert "入れ替わる" in prompt_sentence("ja", "A", "B", "exam", (-0.01, 0.03, 0.05))
