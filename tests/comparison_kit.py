"""A comparison of made-up runs, with the statistics that the real one has: for the tests of its page."""

import random
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from jmed.statistics.calibration import brier, calibration_error, confidences, reliability, risk_coverage
from jmed.statistics.intervals import wilson
from jmed.statistics.paired import holm, mcnemar, mcnemar_mid_p, newcombe, paired_bootstrap, paired_table
from jmed.statistics.position import position_bias
from jmed.statistics.ranks import ranks
from jmed.statistics.sentences import transfer_sentence
from jmed.statistics.transfer import Gain, transfer
from tests.page_kit import answer, exam

NAMES = ("base-7b", "adapted-7b", "other-70b")
SKILLS = {"base-7b": (0.45, 0.47), "adapted-7b": (0.56, 0.51), "other-70b": (0.55, 0.6)}
N = 150
BENCHMARK = "igakuqa-2018"
SPECIALTIES = ("内科", "外科", "小児科")
Marks = dict[tuple[str, str], list[bool]]  # by run and language


def make_rows(name: str, seed: int = 5) -> list[dict[str, Any]]:
    """The answers of one run to the same N questions in both languages."""
    draw = random.Random(f"{name}{seed}")
    return [
        answer(f"112A{n}", language, "a" if draw.random() < skill else draw.choice("bc"), model=name)
        for n in range(1, N + 1)
        for language, skill in zip(("en", "ja"), SKILLS[name], strict=True)
    ]


def share(marks: Sequence[bool]) -> dict[str, Any]:
    low, high = wilson(sum(marks), len(marks))
    return {"correct": sum(marks), "n": len(marks), "value": sum(marks) / len(marks), "ci_low": low, "ci_high": high}


def make_comparison(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    marks = {
        (name, language): [row["correct"] for row in rows if row["language"] == language]
        for name, rows in runs.items()
        for language in ("ja", "en")
    }
    return {
        **{"format": 1, "jmed": "0.0.0", "metric": "accuracy", "seed": 0},
        "summary": [_words("Three runs answered 150 questions."), _words("Nothing is decided.")],
        "runs": [
            {"name": name, "model": name, "job": "evaluate", "method": "generate", "prompt": "choice-text"}
            | {"shots": 0, "quantization": "none", "scoring": "strict", "folders": [f"runs/{name}"], "answers": 2 * N}
            for name in runs
        ],
        "overlaps": [
            {"benchmark": BENCHMARK, "language": language, "shared": N, "counts": dict.fromkeys(runs, N)}
            for language in ("ja", "en")
        ],
        "leaderboards": [_leaderboard(marks, language) for language in ("ja", "en")],
        "pairs": _pairs(marks, list(runs)),
        "transfer": [_transfer(marks, *list(runs)[:2])],
        "languages": [_languages(marks, name) for name in runs],
        "exams": [{**exam("ja", points=200 + 40 * place), "run": name} for place, name in enumerate(runs)],
        "exam_students": [
            {
                "exam": "igakuqa-2018",
                "questions": 400,
                "known": 391,
                "correct": 301.25,
                "points": 371.5,
                "max_points": 487,
            }
            | {"compulsory_points": 171.25, "compulsory_max": 196, "general_points": 200.25, "general_max": 291}
            | {"text_only_correct": 221.5, "text_only_questions": 281, "pass_marks": [160, 208]}
        ],
        "students": [_students(name) for name in runs],
        "failures": [_failures(marks, list(runs))],
        "safety": [
            {"run": name, "benchmark": BENCHMARK, "language": "ja", "picked": 2, "questions": ["112A3", "112A7"]}
            | {key: value for key, value in share([True] * 2 + [False] * 30).items() if key != "correct"}
            for name in runs
        ],
        "calibration": [_calibration(name) for name in runs],
        "position": [_position(name, rows) for name, rows in runs.items()],
        "rotations": [
            {"run": "base-7b", "benchmark": BENCHMARK, "language": "ja", "n": N, "rotations": 5, "always_same": 0.3}
            | {"pairwise": 0.55, "value": 0.45, "lowest": 0.4, "highest": 0.5}
        ],
        "prompts": [
            {"run": "base-7b", "model": "base-7b", "prompt": prompt, "benchmark": BENCHMARK, "language": language}
            | share(marks["base-7b", language][start:])
            for start, prompt in ((0, "choice-text"), (30, "lm-eval"))
            for language in ("ja", "en")
            if "base-7b" in runs
        ],
        "prompt_effects": [
            {"model": "base-7b", "benchmark": BENCHMARK, "language": "ja", "n": 120, "prompts": 2, "lowest": 0.4}
            | {"highest": 0.5, "spread": 0.1, "q": 4.5, "p": 0.034}
        ],
        "prompt_contrasts": [
            {"first": "base-7b", "second": "adapted-7b", "benchmark": BENCHMARK, "language": "ja", "n": 120}
            | {"differences": {"choice-text": 0.05, "lm-eval": -0.02}, "mean": 0.015, "lowest": -0.02, "highest": 0.05}
            | {"spread": 0.1, "reverses": True, "sentence": _words("The prompt decides.")}
        ],
        "training": [_training()],
        "cost": [
            {"run": name, "folder": f"runs/{name}", "questions": 2 * N, "workers": 1, "gpus": 0.0, "gpu_kinds": []}
            | {"processor": "x86_64", "questions_per_second": 12.345, "gpu_seconds_per_1000": None}
            | {"tokens_in_per_1000": 123456.7, "tokens_out_per_1000": 81.0, "tokens_per_1000": 123537.7}
            for name in runs
        ],
        "tokens": [
            {"run": name, "benchmark": BENCHMARK, "n": N, "tokens_ja": 4000, "tokens_en": 3200, "ratio": 1.25}
            | {"ratio_low": 1.2, "ratio_high": 1.3}
            for name in runs
        ],
        "notes": [{"part": "cost", "text": _words("No GPU was used.")}],
    }


def _words(english: str) -> dict[str, str]:
    return {"en": english, "ja": f"（訳）{english}"}


def _students(name: str) -> dict[str, Any]:
    return {
        **{"run": name, "benchmark": BENCHMARK, "language": "ja", "n": 140, "easy": 60, "hard": 22},
        **{
            "easy_wrong": [f"112A{n}" for n in range(9)],
            "hard_right": ["112A14"],
            "when_right": 0.81,
            "when_wrong": 0.62,
        },
        **{"wrong": 70, "same_mistake": 31, "value": 31 / 70, "ci_low": 0.33, "ci_high": 0.56, "by_chance": 0.25},
    }


def _leaderboard(marks: Marks, language: str) -> dict[str, Any]:
    mine = {name: row for (name, spoken), row in marks.items() if spoken == language}
    return {
        **{"benchmark": BENCHMARK, "language": language, "n": N},
        "ranks": [
            {"run": rank.name, **share(mine[rank.name]), "best": rank.best, "worst": rank.worst}
            | {"like_next": rank.like_next}
            for rank in ranks(mine)
        ],
    }


def _pairs(marks: Marks, names: list[str]) -> list[dict[str, Any]]:
    pairs = []
    for first, second in combinations(names, 2):
        for language in ("ja", "en"):
            table = paired_table(marks[first, language], marks[second, language])
            (low, high), (drawn_low, drawn_high) = newcombe(table), paired_bootstrap(table)
            pairs.append({
                **{"benchmark": BENCHMARK, "language": language, "first": first, "second": second, "n": table.n},
                **vars(table), "difference": table.difference, "ci_low": low, "ci_high": high,
                "bootstrap_low": drawn_low, "bootstrap_high": drawn_high, "p": mcnemar(table),
                "mid_p": mcnemar_mid_p(table), "first_value": sum(marks[first, language]) / N,
                "second_value": sum(marks[second, language]) / N, "sentence": _words(f"{second} beside {first}."),
                "clustered": _clustered() if language == "ja" else None,
            })  # fmt: skip
    adjusted = holm([pair["p"] for pair in pairs])
    return [{**pair, "p_holm": p, "verdict": "undecided"} for pair, p in zip(pairs, adjusted, strict=True)]


def _clustered() -> dict[str, Any]:
    interval = {"ci_low": -0.04, "ci_high": 0.09, "bootstrap_low": -0.03, "bootstrap_high": 0.08}
    return {"by": "subject", "clusters": 21, "standard_error": 0.03, "p": 0.4, **interval}


def _transfer(marks: Marks, base: str, adapted: str) -> dict[str, Any]:
    found = transfer(marks[base, "ja"], marks[adapted, "ja"], marks[base, "en"], marks[adapted, "en"])

    def shown(one: Gain) -> dict[str, Any]:
        counts = {"learned": one.table.only_second, "unlearned": one.table.only_first}
        values = {"base_value": 0.4, "adapted_value": 0.4 + one.difference}
        return {"difference": one.difference, "ci_low": one.low, "ci_high": one.high, "p": one.p, **counts, **values}

    return {
        **{"benchmark": BENCHMARK, "base": base, "adapted": adapted, "n": N, "source_language": "ja"},
        **{"target_language": "en", "basis": "order", "source_basis": "assumed"},
        **{"source": shown(found.source), "target": shown(found.target), "ratio": found.ratio},
        **{"ratio_low": found.ratio_low, "ratio_high": found.ratio_high},
        **{"gap": found.gap, "gap_low": found.gap_low, "gap_high": found.gap_high},
        "sentence": {
            "en": transfer_sentence(found, "ja", "en", "en", base, adapted),
            "ja": transfer_sentence(found, "ja", "en", "ja", base, adapted),
        },
    }


def _languages(marks: Marks, name: str) -> dict[str, Any]:
    table = paired_table(marks[name, "ja"], marks[name, "en"])
    counts = {"both": table.both, "only_ja": table.only_first, "only_en": table.only_second, "neither": table.neither}
    low, high = newcombe(table.swapped())
    return {
        **{"benchmark": BENCHMARK, "run": name, "n": N, **counts, "ja_value": sum(marks[name, "ja"]) / N},
        **{"en_value": sum(marks[name, "en"]) / N, "difference": -table.difference, "ci_low": low, "ci_high": high},
        **{"p": mcnemar(table), "p_holm": 1.0, "agreement": 0.625, "kappa": 0.25},
        **{"questions_only_ja": ["112A1"], "questions_only_en": ["112A2"]},
    }


def _failures(marks: Marks, names: list[str]) -> dict[str, Any]:
    parts = [
        {"part": part, "run": name, "benchmark": BENCHMARK, "language": "ja", **share(marks[name, "ja"][place::3])}
        for place, part in enumerate(SPECIALTIES)
        for name in names
    ]
    return {"kind": "specialty", "parts": parts}


def _calibration(name: str) -> dict[str, Any]:
    draw = np.random.default_rng(len(name))
    probabilities = draw.dirichlet([1, 0.6, 0.6, 0.6, 0.6], 400)
    gold = [int(draw.choice(5, p=row)) for row in probabilities]
    sure, hit = confidences(probabilities, gold)
    curve, width, risk = reliability(sure, hit), reliability(sure, hit, "width"), risk_coverage(sure, hit)
    return {
        **{"run": name, "benchmark": BENCHMARK, "language": "ja", "n": 400, "ece": calibration_error(curve)},
        **{"ece_width": calibration_error(width), "brier": brier(probabilities, gold), "area": risk.area},
        "curve": [
            {"n": one.n, "correct": one.correct, "confidence": one.confidence, "accuracy": one.accuracy}
            | {"ci_low": one.low, "ci_high": one.high}
            for one in curve
        ],
        **{"coverage": risk.coverage[::10], "accuracy": risk.accuracy[::10]},
    }


def _position(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    bias = position_bias([row["prediction"] for row in rows], [row["gold"] for row in rows])
    return {"run": name, "benchmark": BENCHMARK, "language": "ja", "n": len(rows), "rotated": False, **vars(bias)}


def _training() -> dict[str, Any]:
    steps = [
        {"step": step, "epoch": step / 100, "loss": 3 / (1 + step / 40), "learning_rate": 1e-4}
        for step in range(1, 301)
    ]
    exams = [
        {"step": 100 * epoch, "epoch": float(epoch), "benchmark": BENCHMARK, "language": language, "metric": "accuracy"}
        | share([True] * (70 + 5 * epoch) + [False] * (80 - 5 * epoch))
        for epoch in (1, 2, 3)
        for language in ("ja", "en")
    ]
    head = {"run": "adapted-7b", "n_steps": 300, "first_loss": steps[0]["loss"], "last_loss": steps[-1]["loss"]}
    stage = {"name": "instruct", "stage": "instruct", "tuning": "qlora", "seconds": 3723.4}
    return {**head, **stage, "tokens": 1_234_567, "steps": steps, "exams": exams}
