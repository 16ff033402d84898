"""A comparison of made-up runs, with the statistics that the real one has: for the tests of its page."""

import random
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from jmed.statistics.calibration import brier, calibration_error, confidences, reliability, risk_coverage
from jmed.statistics.intervals import wilson
from jmed.statistics.paired import holm, mcnemar, newcombe, paired_bootstrap, paired_table
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
        "runs": [
            {"name": name, "model": name, "method": "generate", "prompt": "choice-text", "folder": f"runs/{name}"}
            for name in runs
        ],
        "leaderboards": [_leaderboard(marks, language) for language in ("ja", "en")],
        "pairs": _pairs(marks, list(runs)),
        "transfer": [_transfer(marks, *list(runs)[:2])],
        "languages": [_languages(marks, name) for name in runs],
        "exams": [
            {**exam("ja", points=200 + 40 * place), "run": name} for place, name in enumerate([*runs, "students"])
        ],
        "failures": [_failures(marks, list(runs))],
        "safety": [
            {"run": name, "benchmark": BENCHMARK, "language": "ja", "picked": 2, "questions": ["112A3", "112A7"]}
            | {key: value for key, value in share([True] * 2 + [False] * 30).items() if key != "correct"}
            for name in runs
        ],
        "calibration": [_calibration(name) for name in runs],
        "position": [_position(name, rows) for name, rows in runs.items()],
        "prompts": [
            {"model": "base-7b", "prompt": prompt, "benchmark": BENCHMARK, "language": language}
            | share(marks["base-7b", language][start:])
            for start, prompt in ((0, "choice-text"), (30, "lm-eval"))
            for language in ("ja", "en")
            if "base-7b" in runs
        ],
        "training": [_training()],
        "cost": [
            {"run": name, "questions_per_second": 12.345, "gpu_seconds_per_1000": 81.0, "tokens_per_1000": 123456.7}
            | {"tokens_ja": 4000, "tokens_en": 3200, "token_ratio": 1.25}
            for name in runs
        ],
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
            })  # fmt: skip
    adjusted = holm([pair["p"] for pair in pairs])
    return [{**pair, "p_holm": p} for pair, p in zip(pairs, adjusted, strict=True)]


def _transfer(marks: Marks, base: str, adapted: str) -> dict[str, Any]:
    found = transfer(marks[base, "ja"], marks[adapted, "ja"], marks[base, "en"], marks[adapted, "en"])

    def shown(one: Gain) -> dict[str, Any]:
        return {"difference": one.difference, "ci_low": one.low, "ci_high": one.high, "p": one.p}

    return {
        **{"benchmark": BENCHMARK, "base": base, "adapted": adapted, "n": N, "source_language": "ja"},
        **{"source": shown(found.source), "target": shown(found.target), "ratio": found.ratio},
        "sentence": {
            "en": transfer_sentence(found, "ja", "en", "en", base, adapted),
            "ja": transfer_sentence(found, "ja", "en", "ja", base, adapted),
        },
    }


def _languages(marks: Marks, name: str) -> dict[str, Any]:
    table = paired_table(marks[name, "ja"], marks[name, "en"])
    counts = {"both": table.both, "only_ja": table.only_first, "only_en": table.only_second, "neither": table.neither}
    return {"benchmark": BENCHMARK, "run": name, "n": N, **counts, "agreement": 0.625}


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
    return {"run": name, "benchmark": BENCHMARK, "language": "ja", **vars(bias)}


def _training() -> dict[str, Any]:
    steps = [{"step": step, "epoch": step / 100, "loss": 3 / (1 + step / 40)} for step in range(1, 301)]
    exams = [
        {"step": 100 * epoch, "epoch": float(epoch), "benchmark": BENCHMARK, "language": language}
        | share([True] * (70 + 5 * epoch) + [False] * (80 - 5 * epoch))
        for epoch in (1, 2, 3)
        for language in ("ja", "en")
    ]
    head = {"run": "adapted-7b", "n_steps": 300, "first_loss": steps[0]["loss"], "last_loss": steps[-1]["loss"]}
    return {**head, "tokens": 1_234_567, "steps": steps, "exams": exams}
