"""Words of the results in English and Japanese."""

from collections.abc import Iterable
from typing import Any

from markupsafe import Markup, escape

from jmed.untrusted import printable

Pair = tuple[str, str]  # the same in English and Japanese
WORDS: dict[str, Pair] = {
    "ja": ("Japanese", "日本語"),
    "en": ("English", "英語"),
    "accuracy": ("accuracy", "正答率"),
    "exact_match": ("exact match", "完全一致率"),
    "gestalt_accuracy": ("gestalt accuracy", "ゲシュタルト正答率"),
    "generate": ("generate (greedy text)", "generate（貪欲法による文章生成）"),
    "letters": ("letters (log-probability of the option letter)", "letters（選択肢の記号の対数確率）"),
    "options": ("options (log-probability of the option text)", "options（選択肢の文の対数確率）"),
    "imported": ("imported (answers produced elsewhere)", "imported（外部で作成した回答）"),
    "strict": ("strict", "strict（厳密）"),
    "paper": ("paper (also its exact and gestalt match)", "paper（論文の完全一致とゲシュタルト一致も算出）"),
    "pass": ("pass", "合格"),
    "fail": ("fail", "不合格"),
    "undetermined": ("undetermined", "未確定"),
    "needs an image": ("needs an image", "画像が必要"),
    "needs an image, not answered": ("needs an image, not answered", "画像が必要（回答なし）"),
    "withdrawn from the marking": ("withdrawn from the marking", "採点対象外"),
    "withdrawn from the marking, not answered": ("withdrawn from the marking, not answered", "採点対象外（回答なし）"),
    "withdrawn, no right answer": ("withdrawn, no right answer", "採点対象外（正答なし）"),
    "no choices, which method letters needs": ("no choices, which method letters needs", "選択肢なし（lettersに必要）"),
    "specialty": ("specialty", "診療科・領域"),
    "part": ("year or subject", "年度・科目"),
    "first": ("the first", "前"),
    "second": ("the second", "後"),
    "undecided": ("undecided", "判断できない"),
    "ja-en": ("Japanese against English", "日本語と英語"),
    "en-ja": ("English against Japanese", "英語と日本語"),
    "subject": ("subject", "科目"),
    "abstract": ("abstract", "抄録"),
    "training data": ("training data", "学習データ"),
    "assumed": ("assumed", "仮定"),
    "True": ("yes", "はい"),
    "False": ("no", "いいえ"),
    "student_accuracy": ("students' accuracy", "受験者の正答率"),
    "stem_length": ("length of the question", "問題文の長さ"),
    "answers": ("number of right answers", "正答の数"),
    "students": ("students", "受験者"),
    "no choices, which method options needs": ("no choices, which method options needs", "選択肢なし（optionsに必要）"),
}


def word(key: str) -> Pair:
    """A word of the results in both languages; one that is not known stands as it is."""
    return WORDS.get(key, (key, key))


def pair(english: Any, japanese: Any) -> Markup:
    """A text in both languages, escaped; the page shows one of them."""
    return Markup('<span lang="en">{}</span><span lang="ja">{}</span>').format(english, japanese)


def text(english: str, japanese: str, **values: Any) -> Markup:
    """A text of a template with values in it, given as {name}; all but Markup is escaped."""
    return pair(escape(english).format(**values), escape(japanese).format(**values))


def words(keys: Iterable[str]) -> Markup:
    """Several words as a list."""
    pairs = [tuple(map(printable, word(key))) for key in keys]
    return pair(", ".join(english for english, _ in pairs), "、".join(japanese for _, japanese in pairs))
