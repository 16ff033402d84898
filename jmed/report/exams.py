"""Examinations on a page: why each has its verdict."""

from collections.abc import Iterable
from typing import Any

from jmed.report.words import Pair
from jmed.scoring.exam import MOST_PROHIBITED


def has_misprints(exams: Iterable[dict[str, Any]]) -> bool:
    """Whether it matters in one of them how the publisher's misprinted prohibited choices are read."""
    return any(exam["prohibited_choices"] != exam["prohibited_choices_folded"] for exam in exams)


def why(exam: dict[str, Any]) -> Pair:
    """Why an exam has its verdict, as far as its figures tell."""
    n, most = exam["unanswered"], MOST_PROHIBITED
    literal, mended = exam["prohibited_choices"] > most, exam["prohibited_choices_folded"] > most
    if exam["verdict"] == "pass":
        return (
            f"Both pass marks are reached; at most {most} prohibited choices.",
            f"合格基準に達し、禁忌肢は{most}問以下です。",
        )
    if literal and mended:
        return f"More than {most} prohibited choices were made.", f"禁忌肢の選択が{most}問を超えています。"
    if exam["verdict"] == "fail" and n:
        return "Fails however the unanswered questions are marked.", "未解答の問題をどう採点しても合格に達しません。"
    if exam["verdict"] == "fail":
        return "A pass mark is not reached.", "合格基準に達していません。"
    if exam["pass_marks"] is None:
        return "The pass marks of this examination are not known.", "この試験の合格基準が不明なため、判定できません。"
    if literal != mended:
        return "It depends on how prohibited choices are counted.", "禁忌肢の数え方で結果が変わるため、判定できません。"
    return (
        f"It depends on the {n:,} unanswered question{'' if n == 1 else 's'}.",
        f"未解答{n:,}問の採点で結果が変わるため、判定できません。",
    )
