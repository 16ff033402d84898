"""What a comparison says of itself: what was assumed, what was left out, and why a part is empty."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jmed.comparison.facts import Facts
from jmed.comparison.lineage import Descent, steps
from jmed.comparison.runs import Runs
from jmed.comparison.schema import Note, Words
from jmed.runs.card import Step
from jmed.statistics.sentences import asked_in

# Why a part may be empty, by its name.
_EMPTY = {
    "leaderboards": Words(
        en="No benchmark has a question that all runs asked in it answered.",
        ja="すべてのモデルが回答した共通の問題がありません。",
    ),
    "pairs": Words(
        en="All folders belong to one model asked in one way.",
        ja="すべてのフォルダーが同じモデルの同じ条件の評価です。",
    ),
    "transfer": Words(
        en="It needs two runs that answered the same questions in both Japanese and English.",
        ja="同じ問題に日本語と英語の両方で回答した評価が二つ必要です。",
    ),
    "languages": Words(
        en="No run answered the same questions in Japanese and English.",
        ja="同じ問題に日本語と英語の両方で回答した評価がありません。",
    ),
    "exams": Words(en="No examination with points was sat.", ja="配点のある試験は含まれていません。"),
    "exam_students": Words(
        en="The students' answers to the examinations asked are not published, or their files are not there.",
        ja="受験者の解答が公表されていないか、そのファイルがありません。",
    ),
    "failures": Words(
        en="Specialties, stems and subjects stand in the benchmark files, which are not there.",
        ja="診療科、問題文、科目はベンチマークのファイルにありますが、見つかりません。",
    ),
    "students": Words(
        en="The students' answers are published for IgakuQA only, in its metadata files.",
        ja="受験者の解答は IgakuQA のメタデータにのみ公表されています。",
    ),
    "safety": Words(
        en="Nothing is known of prohibited choices in the questions asked.",
        ja="出題された問題の禁忌肢の情報がありません。",
    ),
    "calibration": Words(
        en="It needs the methods letters or options, which give log-probabilities.",
        ja="対数確率を出す方法（letters、options）が必要です。",
    ),
    "position": Words(
        en="No answer to a question with one right choice could be read.",
        ja="正答が一つの問題で読み取れた回答がありません。",
    ),
    "rotations": Words(
        en="No run asked questions with their choices in other orders (evaluate --rotations N).",
        ja="選択肢の順序を変えた質問がありません（evaluate --rotations N）。",
    ),
    "prompts": Words(en="No model was asked under two prompts.", ja="複数のプロンプトで評価されたモデルがありません。"),
    "prompt_contrasts": Words(
        en="No two models were asked under the same two prompts.",
        ja="同じ複数のプロンプトで評価された二つのモデルがありません。",
    ),
    "training": Words(
        en="No training logs were found beside the models.", ja="モデルの近くに学習の記録が見つかりません。"
    ),
    "cost": Words(en="Imported answers tell nothing of their cost.", ja="外部の回答のコストは不明です。"),
    "tokens": Words(
        en="No run counted tokens of the same questions in both languages.",
        ja="両言語の同じ問題のトークン数がありません。",
    ),
}


def make_notes(runs: Runs, facts: Facts, found: Sequence[Descent], parts: Mapping[str, Sequence[Any]]) -> list[Note]:
    """One note for each empty part, and those on what was assumed or left out."""
    empty = [Note(part=name, text=text) for name, text in _EMPTY.items() if not parts[name]]
    return [*contamination(runs), *facts.notes, *_left_out(runs), *_assumed(found, parts), *empty]


def contamination(runs: Runs) -> list[Note]:
    """What the models' lineage says of exam questions in their training data."""
    return [
        Note(part="runs", text=text)
        for system in runs.systems
        for step in steps(system)
        if (text := _contamination(system.name, step))
    ]


def _contamination(run: str, step: Step) -> Words | None:
    check = step.contamination
    if step.stage == "merge":
        return None
    if check is None or check.verdict == "not checked":
        return Words(
            en=f"{run}: nobody checked whether the training {step.name} held exam questions; if so, its scores are "
            "worthless.",
            ja=f"{run}：学習（{step.name}）に試験問題が混入していないか確認されていません。混入していれば得点に意味はありません。",
        )
    if (left := check.overlaps - check.dropped) <= 0:
        return None
    names = ", ".join(check.benchmarks)
    return Words(
        en=f"{run}: {left:,} examples of the training {step.name} hold questions of {names}; its scores on these are "
        "worthless.",
        ja=f"{run}：学習（{step.name}）の{left:,}件が{names}の問題を含むため、その得点に意味はありません。",
    )


def _left_out(runs: Runs) -> Iterator[Note]:
    """Where runs answered different questions, and only the shared ones are compared."""
    for group in runs.groups:
        counts = {system.name: len(system.marks(group)) for system in runs.asked(group)}
        shared = len(runs.shared(group))
        if len(counts) > 1 and any(n > shared for n in counts.values()):
            name = runs.names[group[0]]
            asked = ", ".join(f"{run} {n:,}" for run, n in counts.items())
            yield Note(
                part="leaderboards",
                text=Words(
                    en=f"{asked_in(name, group[1], 'en')}: {shared:,} questions are shared; answered were: {asked}.",
                    ja=f"{asked_in(name, group[1], 'ja')}：共通の問題は{shared:,}問。各モデルの回答数：{asked}。",
                ),
            )


def _assumed(found: Sequence[Descent], parts: Mapping[str, Sequence[Any]]) -> Iterator[Note]:
    """Assumptions behind the transfer, where there is one."""
    if parts["transfer"] and found and found[0].basis == "order":
        base = found[0].base.name
        yield Note(
            part="transfer",
            text=Words(
                en=f"Nothing says which model was made from which: {base}, the first run, is taken for the base.",
                ja=f"モデルの派生関係が不明なため、最初の {base} を元のモデルとみなしました。",
            ),
        )
    if any(one.source_basis == "assumed" for one in parts["transfer"]):
        yield Note(
            part="transfer",
            text=Words(
                en="The language of the training data is not known: Japanese is taken for the language adapted in.",
                ja="学習データの言語が不明なため、日本語で適応したとみなしました。",
            ),
        )
