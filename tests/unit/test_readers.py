"""Each reader against its publisher's real files, quirk by quirk, and against files that are wrong."""

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jmed.data import catalogue
from jmed.data.lines import Record
from jmed.data.question import LETTERS, Question
from jmed.data.readers import jsonl, mini
from jmed.errors import UserError

YEARS = ["2018", "2019", "2020", "2021"]


def by_id(name: str, language: str, data_root: Path) -> dict[str, Question]:
    return {question.question_id: question for question in catalogue.load(name, language, data_root)}


def write(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def refused(name: str, language: str, data_root: Path | None) -> str:
    with pytest.raises(UserError) as caught:
        catalogue.load(name, language, data_root)
    return str(caught.value)


# --- IgakuQA


@pytest.mark.parametrize("year", YEARS)
def test_igakuqa_has_400_questions_in_both_languages(data_root: Path, year: str) -> None:
    ja, en = (catalogue.load(f"igakuqa-{year}", language, data_root) for language in ("ja", "en"))
    assert len(ja) == 400
    assert [q.question_id for q in ja] == [q.question_id for q in en]
    exam = json.loads((data_root / "igakuqa" / "oracles.json").read_text())["exam"][f"{year}/gpt4"]
    for questions in (ja, en):
        assert sum(not q.needs_image for q in questions) == exam["text_only_questions"]
        assert sum(q.points for q in questions) == exam["max_points"]
        assert sum(q.points for q in questions if q.block in "BE") == exam["compulsory_max"]
    for one, other in zip(ja, en, strict=True):
        assert (one.accepted, one.points, one.prohibited) == (other.accepted, other.points, other.prohibited)
        assert len(one.choices) == len(other.choices)
        assert one.text != other.text


def test_igakuqa_question_is_filled(data_root: Path) -> None:
    question = by_id("igakuqa-2018", "ja", data_root)["112A1"]
    assert question.text == "高アンモニア血症をきたす疾患はどれか。"
    assert question.choices[4] == "オルニチントランスカルバミラーゼ欠損症"
    assert (question.accepted, question.n_answers, question.gold) == ((("e",),), 1, "e")
    assert (question.benchmark, question.subset, question.exam) == ("igakuqa-2018", "2018", "igakuqa-2018")
    assert (question.block, question.points, question.specialty) == ("A", 1, "小児科")
    assert not any([question.needs_image, question.withdrawn, question.every_answer_counts, question.prohibited])
    assert by_id("igakuqa", "en", data_root)["112A1"].text == "What disease causes hyperammonemia?"


def test_igakuqa_blocks(data_root: Path) -> None:
    blocks = {year: Counter(q.block for q in catalogue.load(f"igakuqa-{year}", "ja", data_root)) for year in YEARS}
    assert [(count["B"], count["E"]) for count in blocks.values()] == [(49, 51), (49, 51), (50, 50), (50, 50)]


def test_igakuqa_withdrawn_questions_have_no_points(data_root: Path) -> None:
    withdrawn = [q for q in catalogue.load("igakuqa", "en", data_root) if q.withdrawn]
    assert [q.question_id for q in withdrawn] == ["112A43", "113A5", "113C34", "113F42", "113F81", "114E29", "114F63"]
    assert all(q.points == 0 and q.accepted for q in withdrawn)


@pytest.mark.parametrize("language", ["ja", "en"])
def test_igakuqa_answers(data_root: Path, language: str) -> None:
    questions = by_id("igakuqa", language, data_root)
    assert questions["112B30"].accepted == (("a",), ("d",))
    assert (questions["112B30"].gold, questions["112B30"].n_answers) == ("a or d", 1)
    numbers = {key: q.gold for key, q in questions.items() if not q.choices}
    assert numbers == {
        **{"112C66": "26", "112F84": "1.2", "113A75": "146", "113F84": "7.20", "114C75": "100"},
        **{"114D75": "97", "114F75": "130", "115C75": "27", "115F75": "8.5"},
    }
    assert questions["113F84"].accepted == (("7.20",),)
    many = {key: (len(q.choices), q.gold) for key, q in questions.items() if len(q.choices) > 5}
    assert many == {"113C66": (6, "c"), "113F83": (8, "g"), "115D75": (8, "e")}
    assert Counter(q.n_answers for q in questions.values()) == {1: 1363, 2: 199, 3: 38}


def test_igakuqa_prohibited_choices_are_kept_as_published(data_root: Path) -> None:
    tokens = Counter(token for q in catalogue.load("igakuqa", "ja", data_root) for token in q.prohibited)
    assert {"cde": 1, "ｂ": 2, " e": 1, "abcd": 1}.items() <= tokens.items()


def igaku_row(**changes: object) -> dict[str, object]:
    row = {"problem_id": "112A1", "problem_text": "どれか。", "choices": list("あいうえお"), "text_only": True}
    return {**row, "answer": ["a"], "points": "1", **changes}


def igaku_file(data_root: Path, *rows: object) -> Path:
    return write(data_root / "igakuqa" / "data" / "2018" / "112-A.jsonl", *rows)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"answer": ["f"]}, "the answer 'f' of question '112A1' is none of its 5 choices; expected a to e"),
        ({"answer": ["A"]}, "the answer 'A' of question '112A1' is none of its 5 choices"),
        ({"answer": ["ab"]}, "the answer 'ab' of question '112A1' is none of its 5 choices"),
        ({"answer": ["a or f"]}, "the answer 'f' of question '112A1' is none of its 5 choices"),
        ({"answer": ["a", "a"]}, "the answer 'a,a' of question '112A1' names a choice twice"),
        ({"answer": []}, "question '112A1' has an empty answer"),
        ({"choices": [], "answer": ["a"]}, "question '112A1' has no choices and the answer 'a'; expected one number"),
        ({"choices": [], "answer": ["1", "2"]}, "question '112A1' has no choices and the answer '1,2'"),
        ({"choices": ["x"]}, "question '112A1' has 1 choices; expected none, or 2 to 26"),
        ({"choices": ["x"] * 27}, "question '112A1' has 27 choices; expected none, or 2 to 26"),
        ({"choices": "あ"}, "field 'choices' is text; expected a list of texts"),
        ({"points": "x"}, "field 'points' is 'x'; expected a whole number"),
        ({"text_only": "true"}, "field 'text_only' is text; expected true or false"),
    ],
)
def test_igakuqa_refuses_a_wrong_line(tmp_path: Path, changes: dict[str, object], expected: str) -> None:
    path = igaku_file(tmp_path, igaku_row(problem_id="112A0"), igaku_row(**changes))
    assert refused("igakuqa", "ja", tmp_path).startswith(f"{path}:2: {expected}")


def test_igakuqa_pictures_as_choices_are_not_counted(tmp_path: Path) -> None:
    letter = igaku_row(choices=[], answer=["e"], text_only=False)
    number = igaku_row(problem_id="112A2", choices=[], answer=["04"], text_only=False)
    igaku_file(tmp_path, letter, number)
    assert [q.accepted for q in catalogue.load("igakuqa", "ja", tmp_path)] == [(("e",),), (("04",),)]


def test_igakuqa_question_that_is_right_for_everybody(tmp_path: Path) -> None:
    igaku_file(tmp_path, igaku_row(problem_id="116A71"), igaku_row())
    special, plain = catalogue.load("igakuqa", "ja", tmp_path)
    assert (special.every_answer_counts, special.gold) == (True, "any")
    assert (plain.every_answer_counts, plain.gold) == (False, "a")


def test_igakuqa_files_beside_the_japanese_one(tmp_path: Path) -> None:
    path = igaku_file(tmp_path, igaku_row(), igaku_row(problem_id="112A2"))
    (question, _) = catalogue.load("igakuqa", "ja", tmp_path)  # neither metadata nor a translation: no complaint
    assert (question.specialty, question.prohibited) == ("", ())
    assert catalogue.files_of("igakuqa", tmp_path) == [path]
    english = path.with_name("112-A_translate.jsonl")
    assert refused("igakuqa", "en", tmp_path) == f"{english}: there is no such file; English needs it beside {path}"

    row = {"problem_id": "112A1", "problem_text_en": "Which?", "choices_en": list("vwxyz"), "asnwer": ["b"]}
    write(english, row)
    assert "found 1 problems where" in refused("igakuqa", "en", tmp_path)
    write(english, row, {**row, "problem_id": "112A3"})
    assert refused("igakuqa", "en", tmp_path).startswith(
        f"{english}:2: found problem '112A3' where {path}:2 has '112A2'"
    )
    write(english, row, {**row, "problem_id": "112A2", "choices_en": ["v"]})
    assert refused("igakuqa", "en", tmp_path).startswith(f"{english}:2: problem '112A2' has 1 choices; {path}:2 has 5")
    write(english, row, {**row, "problem_id": "112A2"})
    assert [q.gold for q in catalogue.load("igakuqa", "en", tmp_path)] == ["a", "a"]  # the Japanese file's answers


# --- MMLU and JMMLU


def test_mmlu_and_jmmlu_counts(data_root: Path) -> None:
    assert len(catalogue.load("jmmlu", "ja", data_root)) == 1551
    assert len(catalogue.load("mmlu", "en", data_root)) == 2225
    assert len(catalogue.load("jmmlu-anatomy", "ja", data_root)) == 132


def test_mmlu_text_is_as_published(data_root: Path) -> None:
    jmmlu, mmlu = by_id("jmmlu", "ja", data_root), by_id("mmlu", "en", data_root)
    first = jmmlu["anatomy-1"]
    assert first.text.startswith("「皿状顔貌")  # no byte order mark
    assert first.choices[2:] == (" 水頭症による前頭骨の肥大", " 上顎洞の発達不全")
    assert (first.accepted, first.subset, first.specialty, first.exam) == ((("b",),), "anatomy", "anatomy", "")
    food = mmlu["nutrition-1"]
    assert food.text == "Which foods tend to be consumed in lower quantities in Wales and Scotland (as of 2020)?\n"
    assert (food.choices, food.gold) == (("Meat", "Confectionary", "Fruits and vegetables", "Potatoes"), "c")
    assert sum("\n" in q.text for q in jmmlu.values()) == 15
    assert list(mmlu)[-1] == "virology-166"


def test_mmlu_shots_are_the_dev_rows_of_the_same_subject(data_root: Path) -> None:
    shots = catalogue.shots("mmlu-anatomy", "en", data_root)
    assert [q.question_id for q in shots] == [f"anatomy-dev-{row}" for row in range(1, 6)]
    assert {q.benchmark for q in shots} == {"mmlu-anatomy"}
    assert len(catalogue.shots("mmlu", "en", data_root)) == 55
    assert not catalogue.shots("jmmlu", "ja", data_root)


def test_mmlu_refuses_wrong_rows(tmp_path: Path) -> None:
    path = tmp_path / "jmmlu" / "anatomy.csv"
    path.parent.mkdir()
    path.write_text('"q\n1",w,x,y,z,A\nq2,w,x,y,z,E\n', encoding="utf-8-sig")
    message = refused("jmmlu", "ja", tmp_path)
    assert message.startswith(
        f"{path}:3: the answer 'E' of question 'anatomy-2' is none of its 4 choices; expected A to"
    )
    path.write_text("q,w,x,y,z\n")
    assert "the row has 5 columns; expected 6: question, A, B, C, D, answer" in refused("jmmlu", "ja", tmp_path)


# --- MedQA, MedMCQA, PubMedQA


def test_medqa(data_root: Path) -> None:
    questions = catalogue.load("medqa", "en", data_root)
    assert len(questions) == 1273
    assert [q.question_id for q in questions] == [str(line) for line in range(1, 1274)]
    assert questions[0].choices[1] == "Tell the attending that he cannot fail to disclose this mistake"
    assert Counter(q.gold for q in questions) == {"a": 353, "b": 309, "c": 346, "d": 265}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"answer_idx": "E"}, "the answer 'e' of question '1' is none of its 4 choices; expected a to d"),
        ({"options": {"A": "x", "C": "y"}}, "field 'options' has the letters A, C; expected A, B"),
        ({"options": {"A": 1, "B": "y"}}, "field 'options.A' is a number; expected text"),
        ({"options": ["x", "y"]}, "field 'options' is a list; expected an object"),
    ],
)
def test_medqa_refuses_wrong_lines(tmp_path: Path, changes: dict[str, object], expected: str) -> None:
    row = {"question": "?", "options": dict(zip("ABCD", "wxyz", strict=True)), "answer_idx": "A"}
    path = write(tmp_path / "medqa" / "phrases_no_exclude_test.jsonl", {**row, **changes})
    assert refused("medqa", "en", tmp_path).startswith(f"{path}:1: {expected}")


def test_medmcqa(data_root: Path) -> None:
    questions = by_id("medmcqa", "en", data_root)
    assert len(questions) == 4183
    assert Counter(q.gold for q in questions.values()) == {"a": 1348, "b": 1085, "c": 925, "d": 825}
    nerve = questions["45258d3d-b974-44dd-a161-c3fccbdadd88"]  # choice_type "multi", and still one answer
    assert (nerve.gold, nerve.n_answers, nerve.subset, nerve.specialty) == ("a", 1, "Physiology", "Physiology")
    assert sum(len(set(q.choices)) < 4 for q in questions.values()) == 21


@pytest.mark.parametrize("cop", [0, 5, "6"])
def test_medmcqa_refuses_an_answer_that_no_choice_has(tmp_path: Path, cop: object) -> None:
    row = {"id": "x", "question": "?", "opa": "1", "opb": "2", "opc": "3", "opd": "4", "subject_name": "Skin"}
    path = write(tmp_path / "medmcqa" / "dev.json", {**row, "cop": cop})
    expected = f"{path}:1: the answer {cop} of question 'x' is none of its 4 choices; expected 1 to 4"
    assert refused("medmcqa", "en", tmp_path) == expected


def test_pubmedqa(data_root: Path) -> None:
    questions = catalogue.load("pubmedqa", "en", data_root)
    assert len(questions) == 500
    assert Counter(q.gold for q in questions) == {"a": 276, "b": 169, "c": 55}
    first = questions[0]
    assert first.question_id == "21645374"  # as in ori_pqal.json, which is not the order of the ground truth
    assert first.choices == ("yes", "no", "maybe")
    assert first.context.startswith("Programmed cell death (PCD)")
    assert first.context.count("\n") == 1


def pubmed_files(data_root: Path, decision: str = "yes", truth: str = '{"1": "yes"}') -> Path:
    entry = {"QUESTION": "Is it?", "CONTEXTS": ["a", "b"], "final_decision": decision}
    path = write(data_root / "pubmedqa" / "ori_pqal.json", {"1": entry, "2": entry})
    path.with_name("test_ground_truth.json").write_text(truth)
    return path


def test_pubmedqa_refuses_what_does_not_agree(tmp_path: Path) -> None:
    pubmed_files(tmp_path)
    (question,) = catalogue.load("pubmedqa", "en", tmp_path)
    assert (question.context, question.gold) == ("a\nb", "a")
    path = pubmed_files(tmp_path, decision="no")
    message = refused("pubmedqa", "en", tmp_path)
    assert message.startswith(f"{path}: field '1.final_decision' is 'no'; ")
    assert "test_ground_truth.json says 'yes'" in message
    pubmed_files(tmp_path, truth='{"3": "yes"}')
    assert "question '3' is not in" in refused("pubmedqa", "en", tmp_path)
    pubmed_files(tmp_path, truth='{"1": "perhaps"}')
    assert "the answer of question '1' is 'perhaps'; expected yes, no, maybe" in refused("pubmedqa", "en", tmp_path)
    path.with_name("test_ground_truth.json").unlink()
    assert "looked for" in refused("pubmedqa", "en", tmp_path)


# --- YakugakuQA


def test_yakugakuqa_has_345_questions_a_year(data_root: Path) -> None:
    counts = Counter(q.subset for q in catalogue.load("yakugakuqa", "ja", data_root))
    assert counts == {str(year): 345 for year in range(2012, 2023)}


def test_yakugakuqa_question_is_filled(data_root: Path) -> None:
    questions = by_id("yakugakuqa", "ja", data_root)
    first = questions["100A001"]
    assert first.choices[2] == "J（ジュール）"
    assert (first.accepted, first.n_answers, first.points, first.block) == ((("c",),), 1, 1, "A")
    assert (first.subset, first.exam, first.needs_image) == ("2015", "", False)
    assert questions["105D032"].accepted == (("c", "d"),)  # published as 4, 3
    pictures = questions["100A002"]
    assert (pictures.choices, pictures.gold, pictures.needs_image) == ((), "b", True)
    assert sum(not q.choices for q in questions.values()) == 335
    assert sum(q.needs_image for q in questions.values()) == 1229
    assert questions["105A049"].text == ""  # the stem is in the picture
    assert questions["105A049"].needs_image


def test_yakugakuqa_without_an_answer_is_withdrawn(data_root: Path) -> None:
    withdrawn = {q.question_id: q for q in catalogue.load("yakugakuqa", "ja", data_root) if q.withdrawn}
    assert len(withdrawn) == 18
    assert all(q.accepted == () and q.gold == "" for q in withdrawn.values())
    assert withdrawn["102F003"].n_answers == 2  # 解なし（設問が不明確で…）; the stem asks for two
    assert withdrawn["098A052"].n_answers == 1


@pytest.mark.parametrize(
    ("question_id", "gold", "n_answers"),
    [
        ("101A021", "a or b", 1),  # いずれか一つを選択で正解とする
        ("105F014", "a or d", 1),  # いずれか1つを選択で正解とする
        ("103B037", "b,d or b,e or d,e", 2),  # いずれか2つを選択で正解とする
        ("103E015", "a,b or a,c or b,c", 2),
        ("103F007", "b,c or b,e or c,e", 2),  # いずれか2つ選択で正解とする
        ("104B023", "b,c or b,e or c,e", 2),  # いずれか2つを選択すれば正解
        ("103D029", "b or e", 1),  # 1つ選べ; the remark is in the publisher's metadata only
        ("104C040", "a,c or a,d or c,d", 2),  # 2つ選べ; the same
        ("105B019", "c or d", 1),  # 1つ選べ, two listed, no remark anywhere
        ("098B008", "a,e", 2),  # それぞれ1つずつ選べ: one of each
    ],
)
def test_yakugakuqa_either_counts(data_root: Path, question_id: str, gold: str, n_answers: int) -> None:
    question = by_id("yakugakuqa", "ja", data_root)[question_id]
    assert (question.gold, question.n_answers) == (gold, n_answers)


def test_yakugakuqa_every_remark_is_accounted_for(data_root: Path) -> None:
    either = [q.question_id for q in catalogue.load("yakugakuqa", "ja", data_root) if len(q.accepted) > 1]
    expected = ["101A021", "103B037", "103D029", "103E015", "103F007", "104B023", "104C040", "105B019", "105F014"]
    assert either == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"answer": ["6"]}, "the answer 6 of question '100A001' is none of its 5 choices; expected 1 to 5"),
        ({"answer": ["0"]}, "the answer '0' of question '100A001' is not understood; expected a digit"),
        ({"answer": ["a"]}, "the answer 'a' of question '100A001' is not understood"),
        ({"answer": []}, "the answer '' of question '100A001' is empty or names a choice twice"),
        ({"answer": ["1", "1"]}, "the answer '1, 1' of question '100A001' is empty or names a choice twice"),
        ({"answer": ["1", "2（どちらでも）"]}, "the remark 'どちらでも' in the answer of question '100A001' is not"),
        ({"answer": ["1", "2（いずれか3つ）"]}, "the remark 'いずれか3つ' in the answer of question '100A001' is not"),
        ({"choices": "PICTURES"}, "field 'choices' is text; expected a list of texts"),
        ({"choices": ["x"]}, "question '100A001' has 1 choices"),
    ],
)
def test_yakugakuqa_refuses_a_wrong_line(tmp_path: Path, changes: dict[str, object], expected: str) -> None:
    row = {
        "problem_id": "100A001",
        "problem_text": "どれか。1つ選べ。",
        "choices": list("あいうえお"),
        "text_only": True,
    }
    row |= {"answer": ["1"], "points": "1"}
    path = write(tmp_path / "yakugakuqa" / "data" / "2015" / "100-A.jsonl", {**row, **changes})
    assert refused("yakugakuqa", "ja", tmp_path).startswith(f"{path}:1: {expected}")


# --- mini


def mini_row(**changes: object) -> dict[str, object]:
    ja, en = ({"question": text, "choices": ["x", "y", "z"]} for text in ("どれか。", "Which?"))
    row = {"question_id": "m1", "specialty": "neurology", "block": "compulsory", "points": 3, "answer": ["c", "a"]}
    return {**row, "prohibited": ["b"], "ja": ja, "en": en, "fact": "", "source": "", **changes}


def test_mini_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "mini.jsonl", mini_row())
    monkeypatch.setattr(mini, "path", lambda: path)
    (question,) = catalogue.load("mini", "en", None)
    assert (question.text, question.choices, question.gold) == ("Which?", ("x", "y", "z"), "a,c")
    assert (question.benchmark, question.exam, question.block, question.points) == ("mini", "mini", "compulsory", 3)
    assert (question.prohibited, question.specialty, question.n_answers) == (("b",), "neurology", 2)
    assert catalogue.load("mini", "ja", None)[0].text == "どれか。"
    write(path, mini_row(answer=["d"]))
    assert refused("mini", "ja", None).startswith(f"{path}:1: the answer 'd' of question 'm1' is none of its 3 choices")
    write(path, mini_row(en={"question": "Which?", "choices": ["x", "y"]}))
    assert refused("mini", "ja", None) == f"{path}:1: question 'm1' has 3 choices in Japanese and 2 in English"


def test_mini_is_shipped_in_both_languages() -> None:
    ja, en = (catalogue.load("mini", language, None) for language in ("ja", "en"))
    assert [q.question_id for q in ja] == [q.question_id for q in en]
    assert catalogue.files_of("mini", None) == [mini.path()]


# --- a user's own questions


def own_row(**changes: object) -> dict[str, object]:
    row = {"question_id": "q1", "language": "en", "question": "Which?", "choices": ["x", "y", "z"], "answer": "a"}
    return {**row, **changes}


@pytest.mark.parametrize(
    ("answer", "gold"), [("a", "a"), ("C", "c"), ("c, a", "a,c"), (["b"], "b"), (["B", "a"], "a,b")]
)
def test_jsonl_answers(tmp_path: Path, answer: object, gold: str) -> None:
    path = write(tmp_path / "own.jsonl", own_row(answer=answer, note="ignored", context=None))
    (question,) = catalogue.load(f"jsonl:{path}", "en", None)
    assert (question.gold, question.n_answers) == (gold, gold.count(",") + 1)
    assert (question.benchmark, question.context, question.exam) == (f"jsonl:{path}", "", "")


def test_jsonl_number(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", own_row(choices=[], answer="7.20"), own_row(question_id="q2", context="read"))
    number, letter = catalogue.load(f"jsonl:{path}", "en", None)
    assert number.accepted == (("7.20",),)
    assert letter.context == "read"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"answer": "d"}, "the answer 'd' of question 'q1' is none of its 3 choices; expected a to c"),
        ({"answer": "a,,b"}, "the answer '' of question 'q1' is none of its 3 choices"),
        ({"answer": "a,a"}, "the answer 'a,a' of question 'q1' names a choice twice"),
        ({"answer": 1}, "field 'answer' is neither text nor a list; expected"),
        ({"answer": None}, "field 'answer' is neither text nor a list"),
        ({"answer": []}, "question 'q1' has an empty answer"),
        ({"choices": [], "answer": "about 7"}, "question 'q1' has no choices and the answer 'about 7'"),
        ({"choices": ["x"]}, "question 'q1' has 1 choices; expected none, or 2 to 26"),
        ({"language": "fr"}, "field 'language' is 'fr'; expected ja or en"),
        ({"question": " "}, "field 'question' is empty; expected text"),
        ({"question_id": ""}, "field 'question_id' is empty; expected text"),
        ({"question_id": 7}, "field 'question_id' is a number; expected text"),
        ({"context": 7}, "field 'context' is a number; expected text"),
    ],
)
def test_jsonl_refuses_a_wrong_line_of_any_language(tmp_path: Path, changes: dict[str, object], expected: str) -> None:
    good = own_row(question_id="q0", language="ja")
    path = write(tmp_path / "own.jsonl", good, own_row(**changes))
    assert refused(f"jsonl:{path}", "ja", None).startswith(f"{path}:2: {expected}")


@pytest.mark.parametrize("name", ["question_id", "language", "question", "choices", "answer"])
def test_jsonl_names_the_missing_field(tmp_path: Path, name: str) -> None:
    row = own_row()
    del row[name]
    path = write(tmp_path / "own.jsonl", row)
    assert (
        refused(f"jsonl:{path}", "en", None) == f"{path}:1: field {name!r} is missing; fields found: {', '.join(row)}"
    )


_texts = st.text(min_size=1, max_size=30).filter(lambda text: not text.isspace())
_visible = st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])
_ids = st.text(_visible, min_size=1, max_size=30).filter(lambda text: not text.isspace())


@st.composite
def own_rows(draw: st.DrawFn) -> dict[str, object]:
    choices = draw(st.one_of(st.just([]), st.lists(st.text(max_size=10), min_size=2, max_size=26)))
    if choices:
        answer = draw(st.lists(st.sampled_from(LETTERS[: len(choices)]), min_size=1, unique=True))
    else:
        answer = [draw(st.from_regex(r"-?[0-9]{1,9}(\.[0-9]{1,4})?", fullmatch=True))]
    row = {"question_id": draw(_ids), "language": draw(st.sampled_from(["ja", "en"])), "question": draw(_texts)}
    return {**row, "choices": choices, "answer": answer, "context": draw(st.text(max_size=20))}


@given(st.lists(own_rows(), min_size=1, max_size=5, unique_by=lambda row: row["question_id"]), st.booleans())
def test_jsonl_reads_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, rows: list, ascii: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "own.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=ascii) for row in rows), encoding="utf-8", newline="\n")
    for language in catalogue.languages_of(f"jsonl:{path}"):
        expected = [row for row in rows if row["language"] == language]
        for row, question in zip(expected, catalogue.load(f"jsonl:{path}", language, None), strict=True):
            assert (question.question_id, question.text) == (row["question_id"], row["question"])
            assert (list(question.choices), question.context) == (row["choices"], row["context"])
            assert question.accepted == (tuple(sorted(row["answer"])),)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
_names = st.sampled_from(["question_id", "language", "question", "choices", "answer", "context"])


@given(st.dictionaries(_names, _json | st.sampled_from(["ja", "en", "a", ["a", "b"]])))
def test_jsonl_never_fails_otherwise_than_with_a_user_error(row: dict[str, object]) -> None:
    with contextlib.suppress(UserError):
        jsonl.question_of(Record(Path("own.jsonl"), 3, row))


@given(st.lists(st.text(max_size=20) | st.binary(max_size=20).map(lambda raw: raw.decode("latin-1")), min_size=1))
def test_garbage_lines_are_refused(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.jsonl"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError):
        catalogue.load(f"jsonl:{path}", "en", None)


# --- all


REAL = [("igakuqa-2018", "ja"), ("igakuqa-2018", "en"), ("jmmlu-anatomy", "ja"), ("mmlu-anatomy", "en")]
REAL += [("medqa", "en"), ("medmcqa", "en"), ("pubmedqa", "en"), ("yakugakuqa-2015", "ja")]


@pytest.mark.parametrize(("name", "language"), REAL)
def test_a_letter_that_is_accepted_has_a_choice(data_root: Path, name: str, language: str) -> None:
    for question in catalogue.load(name, language, data_root):
        assert (question.benchmark, question.language) == (name, language)
        for answer in question.accepted:
            assert list(answer) == sorted(set(answer))
            assert len(answer) == question.n_answers
            assert not question.choices or set(answer) <= set(LETTERS[: len(question.choices)])


def _repeat_last_line(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines, lines[-1]]), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "language", "file", "spoil"),
    [
        ("igakuqa-2018", "ja", "igakuqa/data/2018/112-A.jsonl", _repeat_last_line),
        ("medmcqa", "en", "medmcqa/dev.json", _repeat_last_line),
        ("yakugakuqa-2015", "ja", "yakugakuqa/data/2015/100-A.jsonl", _repeat_last_line),
    ],
)
def test_a_repeated_question_names_both_places(
    data_root: Path, tmp_path: Path, name: str, language: str, file: str, spoil: Callable[[Path], None]
) -> None:
    copy = tmp_path / file
    copy.parent.mkdir(parents=True)
    shutil.copy(data_root / file, copy)
    last = len(copy.read_text(encoding="utf-8").splitlines())
    spoil(copy)
    message = refused(name, language, tmp_path)
    assert message.startswith(f"{copy}:{last + 1}: question ")
    assert f"is already at {copy}:{last}; expected it once" in message
