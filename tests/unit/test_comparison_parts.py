"""Trust, prompts, training and cost of a comparison, by hand-made runs whose figures are known."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jmed.comparison.schema import Comparison
from jmed.statistics.calibration import softmax
from tests.run_kit import answered, compared, mini, question, sit_mini, write_run
from tests.unit.test_comparison import OTHER, run

# --- trust


def test_calibration_is_that_of_the_options(tmp_path: Path) -> None:
    """Every answer is given with the same confidence."""
    folder = write_run(tmp_path / "a", sit_mini(30, sure=3.0))
    found = compared(folder, run(tmp_path / "b", 20, model="b")).calibration[0]
    sure = float(softmax([-0.1, -3, -3, -3, -3])[0])
    assert {round(point.confidence, 12) for point in found.curve} == {round(sure, 12)}
    assert (sum(point.n for point in found.curve), sum(point.correct for point in found.curve)) == (found.n, 30)
    assert found.ece_width == pytest.approx(abs(sure - 30 / found.n))
    assert (found.coverage[-1], found.accuracy[-1]) == (1, pytest.approx(30 / found.n))


def rotated_run(folder: Path, choose: Any, **keys: Any) -> Path:
    """20 questions of `mini` in every order; `choose(question, rotation)` gives the published letter."""
    marked = [
        answered(one, choose(one, rotation), rotation=rotation)
        for one in mini("ja")[:20]
        for rotation in range(len(one.choices))
    ]
    return write_run(folder, marked, **keys)


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """One run knows the text of its answer; the other always takes what stands first."""
    folder = tmp_path_factory.mktemp("rotated")
    steady = rotated_run(folder / "s", lambda one, rotation: one.accepted[0][0], model="steady")
    first = rotated_run(folder / "f", lambda one, rotation: "abcde"[rotation], model="first", identity={"model": OTHER})
    return compared(steady, first)


def test_the_same_choice_in_every_order(rotated: Comparison) -> None:
    steady, first = rotated.rotations
    assert (steady.run, steady.n, steady.rotations) == ("steady", 20, 5)
    assert (steady.always_same, steady.pairwise, steady.lowest, steady.highest) == (1, 1, 1, 1)
    assert (first.always_same, first.pairwise) == (0, 0)
    golds = [one.accepted[0][0] for one in mini("ja")[:20]]
    shares = [golds.count(letter) / 20 for letter in "abcde"]
    assert (first.value, first.lowest, first.highest) == (shares[0], min(shares), max(shares))


def test_a_preferred_place_is_found(rotated: Comparison) -> None:
    steady, first = rotated.position
    assert steady.rotated
    assert first.rotated
    assert steady.p == 1
    assert first.p < 1e-9
    assert first.predicted == {"a": 100, "b": 0, "c": 0, "d": 0, "e": 0}
    assert set(first.gold.values()) == set(steady.predicted.values()) == {20}


def test_other_orders_enter_no_score(rotated: Comparison) -> None:
    assert [one.answers for one in rotated.runs] == [20, 20]
    assert rotated.pairs[0].n == rotated.leaderboards[0].n == rotated.calibration[0].n == 20
    assert [one.questions for one in rotated.cost] == [100, 100]


def test_a_question_that_was_not_read_in_every_order_is_left_out(tmp_path: Path) -> None:
    pieces = [answered(one, "a", rotation=r) for one in mini("ja")[:3] for r in range(5)]
    unread = [one._replace(prediction=None, written="") for one in pieces[7].marked]
    pieces[7] = replace(pieces[7], marked=unread)
    folder = write_run(tmp_path / "a", pieces)
    assert compared(folder, run(tmp_path / "b", 3, model="b")).rotations[0].n == 2


def test_prohibited_choices_are_listed(tmp_path: Path) -> None:
    dangerous = [one for one in mini("ja") if one.prohibited]
    marked = [answered(one, one.prohibited[0]) for one in dangerous]
    found = compared(write_run(tmp_path / "a", marked), run(tmp_path / "b", 56, model="b"))
    picked, none = [one for one in found.safety if one.language == "ja"]
    assert (picked.picked, picked.n, picked.ci_high) == (len(dangerous), len(dangerous), 1)
    assert picked.questions == sorted(one.question_id for one in dangerous)
    assert (none.picked, none.ci_low) == (0, 0)
    assert none.ci_high == pytest.approx(1 - 0.025 ** (1 / none.n))  # exact, of none in n


# --- subjects


def test_questions_of_a_subject_belong_together(tmp_path: Path) -> None:
    """MedMCQA: ten questions a subject; the second run is better in half of the subjects, by all ten."""
    root = tmp_path / "data"
    (root / "medmcqa").mkdir(parents=True)
    rows = [
        {"id": f"q{n}", "question": f"stem {n}", "opa": "v", "opb": "w", "opc": "x", "opd": "y", "cop": 1,
         "subject_name": f"subject {n // 10}"}
        for n in range(100)
    ]  # fmt: skip
    file = root / "medmcqa" / "dev.json"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    asked = [question(row["id"], "en", "medmcqa", choices=tuple("vwxy")) for row in rows]
    keys = {"files": [file], "data_root": str(root)}
    first = write_run(tmp_path / "a", [answered(one, "b") for one in asked], **keys)
    better = [answered(one, "ab"[n // 10 % 2]) for n, one in enumerate(asked)]
    second = write_run(tmp_path / "b", better, model="other", **keys)
    (pair,) = compared(first, second).pairs
    assert pair.difference == 0.5
    assert pair.clustered
    assert (pair.clustered.by, pair.clustered.clusters) == ("subject", 10)
    assert pair.clustered.standard_error == pytest.approx(np.std([1, 0] * 5, ddof=1) / np.sqrt(10))
    for low, high in (
        (pair.clustered.ci_low, pair.clustered.ci_high),
        (pair.clustered.bootstrap_low, pair.clustered.bootstrap_high),
    ):
        assert low < pair.ci_low < pair.ci_high < high


# --- prompts


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Two models under two prompts: the second model wins under one of them only."""
    folder = tmp_path_factory.mktemp("prompted")
    right = {("a", "chat"): 20, ("a", "letters"): 30, ("b", "chat"): 25, ("b", "letters"): 22}
    return compared(
        *(
            run(folder / f"{model}-{prompt}", n, model=model, prompt=prompt, languages=["ja"],
                identity={"model": {"model.safetensors": model}})
            for (model, prompt), n in right.items()
        )
    )  # fmt: skip


def test_what_the_prompt_does_to_one_model(prompted: Comparison) -> None:
    a, b = prompted.prompt_effects
    assert (a.model, a.prompts, a.spread) == ("a", 2, pytest.approx(10 / a.n))
    assert (b.model, b.spread) == ("b", pytest.approx(3 / b.n))
    assert a.q == pytest.approx(10)  # ten questions differ, all the same way: (10 - 0)² / 10
    assert [(one.model, one.prompt, one.correct) for one in prompted.prompts] == [
        ("a", "chat", 20), ("a", "letters", 30), ("b", "chat", 25), ("b", "letters", 22)
    ]  # fmt: skip


def test_what_the_prompt_does_to_a_difference(prompted: Comparison) -> None:
    (found,) = prompted.prompt_contrasts
    assert found.differences == {"chat": pytest.approx(5 / found.n), "letters": pytest.approx(-8 / found.n)}
    assert (found.reverses, found.spread) == (True, pytest.approx(10 / found.n))
    assert "the prompt decides which is ahead" in found.sentence.en
    assert not prompted.transfer  # nobody was asked in English


def test_a_model_that_is_ahead_under_every_prompt(tmp_path: Path) -> None:
    folders = [
        run(tmp_path / f"{model}-{prompt}", n, model=model, prompt=prompt, identity={"model": {"x.safetensors": model}})
        for (model, prompt), n in {("a", "x"): 5, ("a", "y"): 9, ("b", "x"): 12, ("b", "y"): 20}.items()
    ]
    for found in compared(*folders).prompt_contrasts:
        assert not found.reverses
        assert (found.lowest, found.highest) == (pytest.approx(7 / found.n), pytest.approx(11 / found.n))
        assert "no prompt turns the order round" in found.sentence.en


def test_one_model_under_two_prompts_is_no_transfer(tmp_path: Path) -> None:
    found = compared(*(run(tmp_path / prompt, 20, prompt=prompt) for prompt in ("chat", "letters")))
    assert not found.transfer
    assert "transfer" in {note.part for note in found.notes}


def test_the_base_is_taken_as_the_adapted_one_was_asked(tmp_path: Path) -> None:
    bases = [run(tmp_path / prompt, 20, prompt=prompt) for prompt in ("chat", "letters")]
    tuned = run(tmp_path / "tuned", 40, model="tuned", prompt="letters", identity={"adapter": OTHER})
    assert [one.base for one in compared(*bases, tuned).transfer] == ["base (letters)"]


# --- training and cost


def test_the_training_of_every_stage_is_found(tmp_path: Path) -> None:
    """Pretrained, then tuned, then merged: finetune's folders through run.yaml of each."""

    def stage(name: str, base: Path | None, result: str) -> Path:
        folder = tmp_path / name
        (folder / result).mkdir(parents=True)
        steps = [
            {"step": n, "epoch": n / 20, "loss": 3 - n / 20, "learning_rate": 0.1, "tokens": 7, "seconds": 0.5}
            for n in range(1, 41)
        ]
        exam = {"step": 20, "epoch": 1.0, "benchmark": "mini", "language": "ja", "metric": "accuracy", "correct": 1,
                "n": 2, "value": 0.5, "ci_low": 0.1, "ci_high": 0.9, "prompt": "letters"}  # fmt: skip
        for file, lines in (("train_log.jsonl", steps), ("exam_log.jsonl", [exam])):
            (folder / file).write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        record = {"configuration": {"stage": name, "tuning": "lora"}, "identity": {"job": "finetune"},
                  "model_folder": str(base) if base else ""}  # fmt: skip
        (folder / "run.yaml").write_text(json.dumps(record), "utf-8")
        return folder / result

    pretrained = stage("pretrain", None, "model")
    tuned = stage("instruct", pretrained, "adapter")
    merged = tmp_path / "merged"
    merged.mkdir()
    made = {"identity": {"job": "merge"}, "model_folder": str(pretrained), "adapter_folder": str(tuned)}
    (merged / "run.yaml").write_text(json.dumps(made), "utf-8")
    base = run(tmp_path / "base", 20)
    results = [
        run(tmp_path / "with-adapter", 20, model="unmerged", record={"model_folder": str(pretrained),
            "adapter_folder": str(tuned)}),
        run(tmp_path / "merged-run", 20, model="merged", record={"model_folder": str(merged)}),
    ]  # fmt: skip
    found = compared(base, *results)
    assert [(one.run, one.stage) for one in found.training] == [
        ("unmerged", "pretrain"), ("unmerged", "instruct"), ("merged", "pretrain"), ("merged", "instruct")
    ]  # fmt: skip
    first = found.training[0]
    assert (first.n_steps, first.tokens, first.seconds) == (40, 280, 20)
    assert (first.first_loss, first.last_loss) == (pytest.approx(3 - 2.5 / 20), pytest.approx(3 - 38.5 / 20))
    assert [one.step for one in first.steps] == list(range(1, 41))
    assert [(one.epoch, one.value) for one in first.exams] == [(1.0, 0.5)]


def test_cost_is_by_thousand_questions(tmp_path: Path) -> None:
    """20 seconds on two workers with a GPU each."""
    found = compared(run(tmp_path / "a", 20), run(tmp_path / "b", 20, model="b")).cost[0]
    assert (found.workers, found.gpus, found.gpu_kinds) == (2, 2, ["T4"])
    assert found.questions_per_second == pytest.approx(found.questions / 20)
    assert found.gpu_seconds_per_1000 == pytest.approx(40_000 / found.questions)
    assert (found.tokens_in_per_1000, found.tokens_out_per_1000) == (45_000, 1_000)
    assert found.tokens_per_1000 == 46_000
