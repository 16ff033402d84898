"""Runs compared: every figure against a plain count, what is refused, and what must not matter."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from jmed.comparison.compare import compare
from jmed.comparison.schema import Comparison
from jmed.configuration.schema import CompareConfig, ScoreConfig
from jmed.data.students import read_students
from jmed.errors import UserError
from jmed.evaluation.imported import score
from jmed.report.figures import find
from jmed.runs.card import Card, Contamination, Data, Origin, write_card
from tests.conftest import ROOT
from tests.page_kit import Page, embedded
from tests.run_kit import WEIGHTS, answered, compared, question, sit_mini, write_run
from tests.unit.test_page import FORMS

OTHER = {"model.safetensors": "1" * 64}


def run(folder: Path, right: int, *, model: str = "base", **how: Any) -> Path:
    keys = {key: how.pop(key) for key in ("identity", "record") if key in how}
    return write_run(folder, sit_mini(right, **how), model=model, **keys)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models on `mini` in both languages."""
    folder = tmp_path_factory.mktemp("two")
    return run(folder / "a", 20), run(folder / "b", 32, model="adapted", skip=10, identity={"model": OTHER})


@pytest.fixture(scope="module")
def both(two: tuple[Path, Path]) -> Comparison:
    return compared(*two)


def rows(folder: Path, language: str) -> dict[str, dict[str, Any]]:
    table = pq.read_table(folder / "answers.parquet").to_pylist()
    return {row["question_id"]: row for row in table if row["language"] == language}


# --- pairs and ranks


@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_pair_is_a_plain_count(two: tuple[Path, Path], both: Comparison, language: str) -> None:
    first, second = (rows(folder, language) for folder in two)
    cells = Counter((first[one]["correct"], second[one]["correct"]) for one in first)
    (pair,) = [pair for pair in both.pairs if pair.language == language]
    assert (pair.both, pair.only_first, pair.only_second, pair.neither) == (
        cells[True, True], cells[True, False], cells[False, True], cells[False, False]
    )  # fmt: skip
    assert pair.n == len(first) == len(second)
    assert pair.difference == pytest.approx(pair.second_value - pair.first_value)
    assert pair.second_value == pytest.approx(32 / pair.n)
    assert pair.p == pytest.approx(binomtest(pair.only_second, pair.only_first + pair.only_second).pvalue)
    assert pair.p <= pair.p_holm <= 2 * pair.p
    for low, high in ((pair.ci_low, pair.ci_high), (pair.bootstrap_low, pair.bootstrap_high)):
        assert low < pair.difference < high


def test_a_board_holds_every_run_once_and_says_what_is_alike(both: Comparison) -> None:
    for board in both.leaderboards:
        assert [rank.run for rank in board.ranks] == ["adapted", "base"]
        assert [rank.correct for rank in board.ranks] == [32, 20]
        assert all(rank.n == board.n for rank in board.ranks)
    assert {(board.benchmark, board.language) for board in both.leaderboards} == {("mini", "ja"), ("mini", "en")}


def test_the_order_of_runs_turns_signs_and_nothing_else(two: tuple[Path, Path], both: Comparison) -> None:
    turned = compared(*two[::-1])
    for one, other in zip(both.pairs, turned.pairs, strict=True):
        assert (one.only_first, one.only_second) == (other.only_second, other.only_first)
        assert one.difference == -other.difference
        assert (one.ci_low, one.ci_high) == pytest.approx((-other.ci_high, -other.ci_low))
        assert (one.p, one.p_holm, one.sentence) == (other.p, other.p_holm, other.sentence)
    assert turned.leaderboards == both.leaderboards


def test_the_same_runs_give_the_same_text(two: tuple[Path, Path], both: Comparison) -> None:
    assert compared(*two).model_dump_json() == both.model_dump_json()


def test_every_part_is_read_back(both: Comparison) -> None:
    assert Comparison.model_validate_json(both.model_dump_json()) == both


def test_every_part_and_field_stands_in_the_documentation() -> None:
    text = (ROOT / "docs" / "comparing.md").read_text("utf-8")
    assert [name for name in Comparison.model_fields if f"`{name}`" not in text] == []


def test_an_empty_part_has_a_note_and_a_full_one_none(both: Comparison) -> None:
    noted = {
        note.part for note in both.notes if note.text.en.startswith(("No ", "It needs", "Nothing is known of pro"))
    }
    for name in ("rotations", "prompts", "prompt_contrasts", "training"):
        assert not getattr(both, name)
        assert name in noted
    for name in ("pairs", "leaderboards", "languages", "calibration", "cost", "tokens"):
        assert getattr(both, name)
        assert name not in noted


def test_many_pairs_are_corrected_together(tmp_path: Path) -> None:
    """Three runs in two languages: six tests, so that the smallest p is multiplied by six."""
    folders = [
        run(tmp_path / name, right, model=name, identity={"model": {"model.safetensors": name}})
        for name, right in (("a", 10), ("b", 20), ("c", 30))
    ]
    found = compared(*folders)
    assert len(found.pairs) == 6
    least = min(found.pairs, key=lambda pair: pair.p)
    assert least.p_holm == pytest.approx(6 * least.p)


# --- which folders make a run, and what runs are called


def test_folders_that_differ_in_their_questions_only_are_one_run(tmp_path: Path) -> None:
    parts = [run(tmp_path / language, 20, languages=[language]) for language in ("ja", "en")]
    whole = run(tmp_path / "whole", 20)
    found = compared(*parts)
    assert [one.name for one in found.runs] == ["base"]
    assert found.runs[0].folders == list(map(str, parts))
    assert found.languages == compared(whole, run(tmp_path / "x", 5, model="x")).languages[:1]
    assert not found.pairs


def test_runs_in_one_language_each_are_paired_across_the_languages(tmp_path: Path) -> None:
    ja = run(tmp_path / "ja", 20, languages=["ja"])
    en = run(tmp_path / "en", 30, languages=["en"], model="other", identity={"model": OTHER})
    (pair,) = compared(ja, en).pairs
    assert pair.language == "ja-en"
    assert pair.difference == pytest.approx(10 / pair.n)


def test_namesakes_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    prompts = [run(tmp_path / prompt, 20, prompt=prompt) for prompt in ("letters", "chat")]
    four_bits = run(tmp_path / "nf4", 20, identity={"quantization": "nf4"})
    assert [one.name for one in compared(*prompts, four_bits).runs] == [
        "base (not quantised, letters)", "base (not quantised, chat)", "base (nf4, letters)"
    ]  # fmt: skip
    again = [run(tmp_path / name, 20) for name in ("x", "y")]
    assert [one.name for one in compared(*again).runs] == [f"base [{folder}]" for folder in again]


def test_parts_of_a_family_are_compared_with_the_whole(tmp_path: Path) -> None:
    """`igakuqa-2018` is among `igakuqa`."""
    asked = [question(f"112A{n}", benchmark="igakuqa-2018") for n in range(10)]
    more = [question(f"{exam}A{n}", benchmark="igakuqa") for exam in (112, 113) for n in range(10)]
    part = write_run(tmp_path / "part", [answered(one, "a") for one in asked])
    whole = write_run(tmp_path / "whole", [answered(one, "b") for one in more], model="other")
    (pair,) = compared(part, whole).pairs
    assert (pair.benchmark, pair.n, pair.only_first) == ("igakuqa", 10, 10)


def test_a_question_counts_once_though_it_was_asked_under_two_names(tmp_path: Path) -> None:
    """igakuqa and igakuqa-2018 in one run; of two answers that differ, the first by item id."""
    twice = [
        answered(question("112A1", benchmark=name), letter)
        for name, letter in (("igakuqa", "b"), ("igakuqa-2018", "a"))
    ]
    other = [answered(question("112A1", benchmark="igakuqa"), "b")]
    found = compared(write_run(tmp_path / "a", twice), write_run(tmp_path / "b", other, model="other"))
    assert (found.pairs[0].n, found.pairs[0].only_first, found.runs[0].answers) == (1, 1, 1)


# --- what is refused


def refused(*folders: Path | str, **keys: Any) -> str:
    with pytest.raises(UserError) as caught:
        compared(*folders, **keys)
    return str(caught.value)


def test_runs_that_share_no_question_are_refused_with_the_counts(tmp_path: Path, two: tuple[Path, Path]) -> None:
    other = write_run(
        tmp_path / "o", [answered(question(f"x{n}", benchmark="medqa"), "a") for n in range(7)], model="o"
    )
    text = refused(two[0], other)
    n = len(rows(two[0], "ja"))
    assert f"the first answered mini en {n}, mini ja {n}; the second medqa ja 7." in text
    assert str(two[0]) in text
    assert str(other) in text


def test_one_model_with_nothing_in_common_is_refused(tmp_path: Path, two: tuple[Path, Path]) -> None:
    other = write_run(tmp_path / "o", [answered(question("x", benchmark="medqa"), "a")])
    assert "share no question" in refused(two[0], other)


def test_other_questions_under_the_same_names_are_refused(tmp_path: Path) -> None:
    asked = [question(f"q{n}", benchmark="jsonl:q.jsonl") for n in range(5)]
    changed = [*asked[:3], *(question(f"q{n}", benchmark="jsonl:q.jsonl", accepted=(("b",),)) for n in (3, 4))]
    folders = [
        write_run(tmp_path / name, [answered(one, "a") for one in some], model=name)
        for name, some in (("a", asked), ("b", changed))
    ]
    assert "2 of 5 shared ones have other choices or another right answer (jsonl:q.jsonl/q3/ja" in refused(*folders)


def test_what_is_no_finished_run_is_named(tmp_path: Path, two: tuple[Path, Path]) -> None:
    assert "nowhere: there is no such folder; expected the output_dir of a finished" in refused(two[0], "nowhere")
    (tmp_path / "empty").mkdir()
    assert "empty: holds no run.yaml" in refused(two[0], tmp_path / "empty")
    assert "is in object storage" in refused(two[0], "s3://bucket/run")


@pytest.mark.parametrize("name", ["run.yaml", "results.json", "answers.parquet"])
@pytest.mark.parametrize("content", ["", "[]", "{}", "\0\1", "identity: 3\nconfiguration: 4\n"])
def test_damaged_files_are_named(tmp_path: Path, two: tuple[Path, Path], name: str, content: str) -> None:
    broken = run(tmp_path / "broken", 20)
    (broken / name).write_text(content, "utf-8")
    assert f"{broken / name} is not what jmed wrote, or damaged" in refused(two[0], broken)


def test_a_training_is_no_run_to_compare(tmp_path: Path, two: tuple[Path, Path]) -> None:
    trained = run(tmp_path / "t", 20, identity={"job": "finetune"})
    assert "was written by the job finetune; expected a run of evaluate or score" in refused(two[0], trained)


def test_metrics_of_the_paper_need_its_scoring(two: tuple[Path, Path]) -> None:
    assert "has no gestalt_accuracy: it was scored with scoring strict" in refused(*two, metric="gestalt_accuracy")


def test_a_base_that_is_no_run_is_named(two: tuple[Path, Path]) -> None:
    assert "base: elsewhere is none of runs; expected one of" in refused(*two, base="elsewhere")


# --- two languages


def test_transfer_is_a_plain_count(two: tuple[Path, Path], both: Comparison) -> None:
    (transfer,) = both.transfer
    assert (transfer.base, transfer.adapted, transfer.basis) == ("base", "adapted", "order")
    assert (transfer.source_language, transfer.source_basis) == ("ja", "assumed")
    assert transfer.source.difference == transfer.target.difference == pytest.approx(12 / transfer.n)
    assert transfer.source.learned - transfer.source.unlearned == 12
    assert transfer.ratio is None or transfer.ratio == pytest.approx(1)
    assert {note.part for note in both.notes if "taken for" in note.text.en} == {"transfer"}


def test_languages_are_a_plain_count(tmp_path: Path) -> None:
    marked = [*sit_mini(30, languages=["ja"]), *sit_mini(10, languages=["en"], skip=25)]
    folder = write_run(tmp_path / "m", marked)
    found = compared(folder, run(tmp_path / "x", 1, model="x")).languages[0]
    ja, en = rows(folder, "ja"), rows(folder, "en")
    assert found.questions_only_ja == sorted(one for one in ja if ja[one]["correct"] and not en[one]["correct"])
    assert (found.both, found.only_ja, found.only_en) == (5, 25, 5)
    assert found.difference == pytest.approx((30 - 10) / found.n)
    same = sum(ja[one]["prediction"] == en[one]["prediction"] for one in ja)
    assert found.agreement == pytest.approx(same / found.n)


def test_tokens_of_the_same_questions(both: Comparison) -> None:
    for found in both.tokens:
        assert (found.tokens_ja, found.tokens_en) == (50 * found.n, 40 * found.n)
        assert found.ratio == pytest.approx(1.25)


def card(folder: Path, language: str | None, base: dict[str, str], **more: Any) -> Path:
    """An adapter's folder with its lineage."""
    folder.mkdir(parents=True)
    data = Data(name="d", format="mcqa", language=language, examples=1, sequences=1, tokens=1)
    origin = Origin(name="base", files=base)
    write_card(folder, Card(kind="adapter", name="t", base=origin, stage="instruct", data=[data], **more))
    return folder


@pytest.mark.parametrize(("taught", "source"), [("ja", "ja"), ("en", "en"), (None, "ja")])
def test_lineage_says_who_is_the_base_and_in_which_language(tmp_path: Path, taught: str | None, source: str) -> None:
    base = run(tmp_path / "base", 20)
    model = card(tmp_path / "model", taught, WEIGHTS)
    tuned = run(tmp_path / "tuned", 40, model="tuned", identity={"model": OTHER}, record={"model_folder": str(model)})
    (transfer,) = compared(tuned, base).transfer  # not by the order of runs
    assert (transfer.base, transfer.adapted, transfer.basis) == ("base", "tuned", "lineage")
    assert (transfer.source_language, transfer.source_basis) == (source, "training data" if taught else "assumed")
    assert transfer.sentence.en.startswith("tuned is better than base in both")


def test_an_adapter_is_adapted_and_a_key_decides(tmp_path: Path) -> None:
    base = run(tmp_path / "base", 20)
    tuned = run(tmp_path / "tuned", 40, model="tuned", identity={"adapter": OTHER})
    (transfer,) = compared(tuned, base).transfer
    assert (transfer.base, transfer.basis) == ("base", "adapter")
    (transfer,) = compared(base, tuned, base=str(tuned)).transfer
    assert (transfer.base, transfer.basis) == ("tuned", "key")


# --- real answers


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> tuple[Path, Path]:
    """GPT-4 and ChatGPT on IgakuQA, 2018 to 2021, from their published answers."""
    folder = tmp_path_factory.mktemp("published")
    for name in ("chatgpt", "gpt4"):
        predictions = f"{data_root}/igakuqa/baseline_results/*/*_{name}.jsonl"
        values = {"benchmark": "igakuqa", "name": name, "predictions": predictions, "data_root": str(data_root)}
        score(ScoreConfig.model_validate({"output_dir": str(folder / name), **values}))
    return folder / "chatgpt", folder / "gpt4"


@pytest.fixture(scope="module")
def real(published: tuple[Path, Path]) -> Comparison:
    return compared(*published)


def test_gpt4_against_chatgpt(real: Comparison, data_root: Path) -> None:
    oracles = json.loads((data_root / "igakuqa" / "oracles.json").read_text("utf-8"))["exam"]
    right = {
        name: sum(oracles[f"{year}/{name}"]["correct"] for year in range(2018, 2022)) for name in ("gpt4", "chatgpt")
    }
    (board,) = real.leaderboards
    assert {rank.run: rank.correct for rank in board.ranks} == right
    (pair,) = real.pairs
    assert pair.difference == pytest.approx((right["gpt4"] - right["chatgpt"]) / 1600)
    assert (pair.verdict, pair.n) == ("second", 1600)
    assert [round(100 * x, 1) for x in (pair.difference, pair.ci_low, pair.ci_high)] == [23.1, 20.5, 25.7]
    # These stand in docs/comparing.md, as do those below.
    assert [(one.same_mistake, one.wrong) for one in real.students] == [(226, 580), (103, 199)]
    assert [(len(one.easy_wrong), one.easy) for one in real.students] == [(437, 1117), (204, 1117)]
    assert [(one.picked, one.n) for one in real.safety] == [(17, 110), (2, 110)]
    for exam in real.exams:
        expected = oracles[f"{exam.exam.removeprefix('igakuqa-')}/{exam.run}"]
        assert {key: getattr(exam, key) for key in expected} == expected


def test_prohibited_choices_are_those_that_the_exam_counts(real: Comparison) -> None:
    for one in real.safety:
        counted = sum(exam.prohibited_choices_folded for exam in real.exams if exam.run == one.run)
        assert one.picked == len(one.questions) == counted


def test_the_average_student_passes_every_year(real: Comparison) -> None:
    assert len(real.exam_students) == 4
    for one in real.exam_students:
        assert one.pass_marks
        assert one.compulsory_points > one.pass_marks[0]
        assert one.general_points > one.pass_marks[1]
        assert 395 <= one.known <= one.questions == 400


def test_parts_of_the_questions_add_up(real: Comparison) -> None:
    (board,) = real.leaderboards
    right = {rank.run: rank.correct for rank in board.ranks}
    assert [one.kind for one in real.failures] == ["part", "specialty", "student_accuracy", "stem_length", "answers"]
    for one in real.failures:
        for name, correct in right.items():
            mine = [part for part in one.parts if part.run == name]
            if one.kind != "student_accuracy":  # unknown for eight questions
                assert (sum(part.correct for part in mine), sum(part.n for part in mine)) == (correct, 1600)
    (students,) = [one for one in real.failures if one.kind == "student_accuracy"]
    easy = [part.value for part in students.parts if part.run == "gpt4"]
    assert easy[-1] > easy[0]


def test_models_make_the_students_mistakes(real: Comparison) -> None:
    for one in real.students:
        assert one.ci_low is not None
        assert one.by_chance is not None
        assert one.ci_low > one.by_chance
        assert one.when_right is not None
        assert one.when_wrong is not None
        assert one.when_right > one.when_wrong
        assert len(one.easy_wrong) < one.easy
        assert len(one.hard_right) < one.hard


def test_easy_and_hard_questions_are_plain_counts(
    real: Comparison, published: tuple[Path, Path], data_root: Path
) -> None:
    accuracy = {one: known.accuracy for one, known in read_students("igakuqa", data_root).items()}
    for one, folder in zip(real.students, published, strict=True):
        right = {name: row["correct"] for name, row in rows(folder, "ja").items() if accuracy[name] is not None}
        easy, hard = ({x for x in right if (accuracy[x] >= 0.8) == top and (accuracy[x] >= 0.8 or accuracy[x] <= 0.5)}
                      for top in (True, False))  # fmt: skip
        assert (one.n, one.easy, one.hard) == (len(right), len(easy), len(hard))
        assert set(one.easy_wrong) == {name for name in easy if not right[name]}
        assert set(one.hard_right) == {name for name in hard if right[name]}


def test_facts_from_other_files_than_the_runs_are_not_used(published: tuple[Path, Path], tmp_path: Path) -> None:
    found = compared(*published, data_root=str(tmp_path))
    assert not found.failures
    assert not found.safety
    assert "are not known: benchmark 'igakuqa': files are missing" in found.notes[0].text.en
    folder = tmp_path / "igakuqa" / "data" / "2018"
    folder.mkdir(parents=True)
    (folder / "112-A.jsonl").write_text("", "utf-8")
    found = compared(*published, data_root=str(tmp_path))
    assert f"the benchmark files under {tmp_path} are not those that the run read" in found.notes[0].text.en


@pytest.mark.parametrize(
    ("verdict", "overlaps", "dropped", "said"),
    [
        ("clean", 0, 0, ""),
        ("overlap", 9, 9, ""),
        ("overlap", 9, 2, "7 examples of the training t hold questions of mini"),
        ("not checked", 0, 0, "nobody checked whether the training t held exam questions"),
        (None, 0, 0, "nobody checked"),
    ],
)
def test_a_model_that_learned_the_exam_is_named_first(
    tmp_path: Path, verdict: Any, overlaps: int, dropped: int, said: str
) -> None:
    found = {"action": "report", "benchmarks": ["mini"], "overlaps": overlaps, "dropped": dropped, "verdict": verdict}
    check = Contamination.model_validate(found) if verdict else None
    model = card(tmp_path / "model", "ja", WEIGHTS, contamination=check)
    tuned = run(tmp_path / "tuned", 40, model="tuned", identity={"model": OTHER}, record={"model_folder": str(model)})
    made = compared(run(tmp_path / "base", 20), tuned)
    warned = [note.text for note in made.notes if note.part == "runs"]
    assert bool(warned) == bool(said)
    if said:
        assert said in warned[0].en
        assert made.summary[0] == warned[0]


def test_every_figure_on_the_page_is_one_of_comparison_json(published: tuple[Path, Path], tmp_path: Path) -> None:
    """By the job itself, on the real answers."""
    config = {"runs": list(map(str, published)), "output_dir": str(tmp_path / "cmp")}
    compare(CompareConfig.model_validate(config))
    document = json.loads((tmp_path / "cmp" / "comparison.json").read_text("utf-8"))
    html = (tmp_path / "cmp" / "report.html").read_text("utf-8")
    assert embedded(html) == document
    figures = Page(html).figures
    for pointer, form, shown in figures:
        (value,) = find(document, pointer)
        assert shown == FORMS[form](value), pointer
    parts = {pointer.split("/")[1] for pointer, _, _ in figures}
    assert parts >= {"leaderboards", "pairs", "exams", "exam_students", "failures", "students", "safety", "position"}
