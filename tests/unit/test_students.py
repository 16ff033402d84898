"""How students answered IgakuQA."""

import json
from pathlib import Path

import pytest

from jmed.data import catalogue
from jmed.data.students import StudentAnswers, read_students
from jmed.errors import UserError


def test_published_shares(data_root: Path) -> None:
    """112A1 as published; 112A43 has none; 113A14 prints 50.3 % as 500.3 %."""
    known = {year: read_students(f"igakuqa-{year}", data_root) for year in ("2018", "2019")}
    assert known["2018"]["112A1"].accuracy == pytest.approx(0.393)
    assert known["2018"]["112A1"].chosen == pytest.approx((0.157, 0.219, 0.065, 0.165, 0.393))
    assert known["2018"]["112A43"] == StudentAnswers(None, ())
    assert known["2019"]["113A14"].chosen == ()
    assert known["2018"].items() < read_students("igakuqa", data_root).items()


def test_the_right_choice_was_chosen_as_often_as_students_were_right(data_root: Path) -> None:
    """Questions with one right answer: both figures are the same share, but for what the publisher misprints."""
    students = read_students("igakuqa", data_root)
    apart = compared = 0
    for question in catalogue.load("igakuqa", "ja", data_root):
        answers = students[question.question_id]
        if question.n_answers == 1 and len(question.accepted) == 1 and answers.accuracy and answers.chosen:
            place = "abcdefgh".index(question.accepted[0][0])
            compared += 1
            apart += abs(answers.chosen[place] - answers.accuracy) > 0.006
    assert compared > 1300
    assert apart < 0.01 * compared


def test_other_benchmarks_have_none(tmp_path: Path) -> None:
    assert read_students("jmmlu-anatomy", tmp_path) == {}


def test_what_is_no_number_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "igakuqa" / "data" / "2018"
    folder.mkdir(parents=True)
    (folder / "112-A.jsonl").write_text("", "utf-8")
    row = {"problem_id": "112A1", "human_accuracy": "many", "breakdown": []}
    (folder / "112-A_metadata.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    with pytest.raises(UserError, match=r"112-A_metadata.jsonl:1: found the students' share 'many'; expected per cent"):
        read_students("igakuqa-2018", tmp_path)
