"""The contamination gate: planted copies of real questions are found in every form, other texts raise no alarm."""

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jmed.data.catalogue import load
from jmed.data.contamination import EXCERPT, ContaminationGate, Overlap
from jmed.data.examples import Example
from jmed.data.overlap import tokens_of
from jmed.data.question import Question

LETTERS = "ABCDEFGHIJ"
VIGNETTE_JA = (
    "58歳の男性。夕食後に突然の背部痛を自覚し、冷汗を伴ったため救急車で搬入された。高血圧症で内服加療中である。"
    "血圧は右上肢182/94mmHg、左上肢138/80mmHg。胸部造影CTで上行大動脈に偽腔を認める。まず行うべき治療はどれか。"
)
VIGNETTE_EN = (
    "A 58-year-old man is brought in by ambulance because of sudden back pain with a cold sweat after supper. "
    "He takes amlodipine for hypertension. His blood pressure is 182/94 mmHg in the right arm and 138/80 mmHg in the "
    "left arm. Contrast CT shows a false lumen in the ascending aorta. Which treatment should be carried out first?"
)
TREATMENTS_JA = ("緊急手術", "血栓溶解療法", "抗菌薬の投与", "心嚢穿刺", "経過観察")
TREATMENTS_EN = ("Emergency surgery", "Thrombolysis", "Antibiotics", "Pericardiocentesis", "Observation")
ORGANS_JA = ("三角筋", "大殿筋", "中殿筋", "上腕二頭筋")


def _question(text: str, choices: tuple[str, ...], language: str = "ja", **more: str) -> Question:
    fields = {"benchmark": "igakuqa", "question_id": "112A23"} | more
    return Question(
        fields["benchmark"],
        fields["question_id"],
        language,
        text,
        choices,
        (("a",),),
        context=fields.get("context", ""),
    )


JAPANESE = _question(VIGNETTE_JA, TREATMENTS_JA)
ENGLISH = _question(VIGNETTE_EN, TREATMENTS_EN, "en")
BOTH = ContaminationGate([JAPANESE, ENGLISH])


def _text(text: str) -> Example:
    return Example("corpus.jsonl:7", None, text=text)


def _asked(question: Question, choices: tuple[str, ...] | None = None) -> str:
    """Stem, lettered choices and context as they stand in one message."""
    shown = question.choices if choices is None else choices
    lines = [question.context, question.text, *(f"{LETTERS[at]}. {choice}" for at, choice in enumerate(shown))]
    return "\n".join(line for line in lines if line)


def _chat(question: Question, choices: tuple[str, ...] | None = None) -> Example:
    system = "あなたは医師です。次の問題に答えてください。" if question.language == "ja" else "Answer like a doctor."
    messages = (("system", system), ("user", _asked(question, choices)), ("assistant", "A"))
    return Example("chat.jsonl:3", question.language, messages=messages)


def _mcqa(question: Question, **changes: object) -> Example:
    own = replace(question, **({"benchmark": "", "question_id": "1"} | changes))
    return Example("mcqa.jsonl:5", own.language, question=own)


def _kinds(overlaps: list[Overlap]) -> list[tuple[str, str]]:
    return [(overlap.language, overlap.kind) for overlap in overlaps]


def test_what_an_overlap_says() -> None:
    [overlap] = BOTH.check(_chat(JAPANESE))
    assert (overlap.benchmark, overlap.question_id, overlap.language) == ("igakuqa", "112A23", "ja")
    assert (overlap.place, overlap.kind, overlap.share) == ("chat.jsonl:3", "exact", 1.0)
    assert len(overlap.excerpt) <= EXCERPT
    assert VIGNETTE_JA.startswith(overlap.excerpt.rstrip("…"))


def test_english_and_japanese_in_one_text() -> None:
    both = f"日本語: {_asked(JAPANESE)}\n\nEnglish: {_asked(ENGLISH)}"
    assert _kinds(BOTH.check(_text(both))) == [("ja", "exact"), ("en", "exact")]
    assert _kinds(BOTH.check(_text(f"What does this mean? {VIGNETTE_JA}"))) == [("ja", "exact")]
    assert _kinds(BOTH.check(_text(f"次の英文を和訳してください。{VIGNETTE_EN}"))) == [("en", "exact")]


@pytest.mark.parametrize("change", [
    lambda text: text.replace("、", " ").replace("。", "．"),
    lambda text: text.replace("/", "／").replace("mmHg", "ｍｍＨｇ").replace("CT", "ＣＴ"),
    lambda text: re.sub("([ぁ-ん一-龥])", "\\1\u3000", text),
    lambda text: text.upper().replace(",", " - "),
    lambda text: re.sub("([。.])", "\\1\n\n* ", text),
])  # fmt: skip
def test_width_punctuation_and_spaces_do_not_matter(change: Callable[[str], str]) -> None:
    assert _kinds(BOTH.check(_text(change(VIGNETTE_JA)))) == [("ja", "exact")]
    assert _kinds(BOTH.check(_text(change(VIGNETTE_EN)))) == [("en", "exact")]


def test_half_width_katakana_and_split_sonant_marks() -> None:
    question = _question("ステロイドパルス療法の適応となるのはどれか。", ("ネフローゼ症候群", "感冒", "痛風"))
    for writing in ("ｽﾃﾛｲﾄﾞﾊﾟﾙｽ", "ステロイト\u3099ハ\u309aルス"):
        [overlap] = ContaminationGate([question]).check(_text(f"{writing}療法の適応となるのはどれか"))
        assert overlap.kind == "exact"


@pytest.mark.parametrize("question", [JAPANESE, ENGLISH])
def test_reworded_copies_are_found_by_their_ngrams(question: Question) -> None:
    words = {"突然の": "急な", "まず行うべき": "最初に行う", "sudden": "acute", "first": "immediately", "58": "63"}
    text = question.text
    for old, new in words.items():
        text = text.replace(old, new)
    [overlap] = BOTH.check(_text(text))
    assert overlap.kind == "ngram"
    assert 0.5 < overlap.share < 1


@pytest.mark.parametrize(
    "stem", ["誤っているのはどれか。", "次の記述のうち、正しいのはどれか。2つ選べ。", "適切でないのはどれか。"]
)
def test_a_generic_japanese_stem_proves_nothing_without_its_choices(stem: str) -> None:
    question = _question(stem, ORGANS_JA)
    gate = ContaminationGate([question])
    assert not gate.check(_text(stem))
    assert not gate.check(_text(f"肩について{stem} {' '.join(ORGANS_JA[:2])} 腓腹筋 前脛骨筋"))
    assert not gate.check(_mcqa(question, choices=("腎臓", "肝臓", "脾臓", "膵臓")))
    assert not gate.check(_text(f"{stem}{'長い文章が続く。' * 100}{' '.join(ORGANS_JA)}"))
    for choices in (ORGANS_JA, ORGANS_JA[::-1]):
        assert _kinds(gate.check(_chat(question, choices))) == [("ja", "exact")]
        assert _kinds(gate.check(_mcqa(question, choices=choices))) == [("ja", "exact")]


@pytest.mark.parametrize(
    "stem", ["Which of the following is correct?", "What is the most likely diagnosis?", "Mode is", "IBS"]
)
def test_a_generic_english_stem_proves_nothing_without_its_choices(stem: str) -> None:
    choices = ("Gout", "Septic arthritis", "Pseudogout", "Lyme disease")
    question = _question(stem, choices, "en", benchmark="medmcqa", question_id="7")
    gate = ContaminationGate([question])
    assert not gate.check(_text(f"A 40-year-old man has a swollen knee. {stem}"))
    assert not gate.check(_text(f"{stem} Gout, trauma, neoplasm or haemarthrosis?"))
    assert not gate.check(_mcqa(question, choices=("Asthma", "Croup", "Pneumonia", "Bronchitis")))
    for order in (choices, choices[::-1]):
        assert _kinds(gate.check(_chat(question, order))) == [("en", "exact")]


def test_yes_and_no_are_no_evidence() -> None:
    question = _question("Is it Crohn's disease?", ("yes", "no", "maybe"), "en", context="Bowel. " * 3)
    text = "Is it Crohn's disease? Yes or no? Maybe."
    assert not ContaminationGate([question]).check(_text(text))
    assert not ContaminationGate([_question("Which one?", ("A", "B", "C", "D"), "en")]).check(
        _text("Which one? A B C D")
    )


def test_the_context_alone_is_a_leak() -> None:
    context = VIGNETTE_EN.rpartition(". ")[0]
    gate = ContaminationGate([_question("Does it help?", ("yes", "no", "maybe"), "en", context=context)])
    [overlap] = gate.check(_text(f"Background. {context}. Conclusion: it does."))
    assert (overlap.kind, overlap.share) == ("ngram", 1.0)


def test_the_same_short_stem_with_other_choices_is_another_question() -> None:
    question = _question(
        "二次医療圏について正しいのはどれか。", ("市町村単位である。", "一般の入院医療を行う。", "全国に50ある。")
    )
    gate = ContaminationGate([question])
    assert not gate.check(_mcqa(question, choices=("都道府県が定める。", "救命救急を担う。", "人口は問わない。")))
    assert gate.check(_mcqa(question, choices=("Ａ．市町村単位である", "救命救急を担う。", "人口は問わない。")))
    assert gate.check(_text(question.text))  # nobody says which choices


def test_a_vignette_that_questions_share_is_found_for_each() -> None:
    asked = ("診断に有用な検査はどれか。", "合併しやすいのはどれか。", "予後を決めるのはどれか。")
    gate = ContaminationGate(
        [_question(VIGNETTE_JA + last, TREATMENTS_JA, question_id=f"112C6{n}") for n, last in enumerate(asked)]
    )
    found = gate.check(_text(VIGNETTE_JA))
    assert [overlap.question_id for overlap in found] == ["112C60", "112C61", "112C62"]
    assert {overlap.kind for overlap in found} == {"ngram"}


def test_words_scattered_over_a_book_are_no_copy() -> None:
    pieces = [VIGNETTE_EN.split()[start : start + 8] for start in range(0, 60, 8)]
    scattered = " ".join(" ".join(piece) + " lorem ipsum dolor" * 200 for piece in pieces)
    assert not BOTH.check(_text(scattered))
    assert BOTH.check(_text("lorem ipsum dolor " * 5000 + VIGNETTE_EN + " lorem ipsum dolor" * 5000))


def test_every_benchmark_that_asks_the_question_is_named() -> None:
    gate = ContaminationGate([JAPANESE, replace(JAPANESE, benchmark="igakuqa-2018"), ENGLISH])
    assert [overlap.benchmark for overlap in gate.check(_chat(JAPANESE))] == ["igakuqa", "igakuqa-2018"]


def test_ids_across_languages() -> None:
    english = ContaminationGate([ENGLISH])
    [overlap] = english.check(_mcqa(JAPANESE, benchmark="igakuqa-2018", question_id="112A23"))
    assert (overlap.kind, overlap.share, overlap.language) == ("id", 0.0, "en")
    assert english.check(_mcqa(JAPANESE, question_id="１１２ａ２３"))[0].kind == "id"  # a file of one's own
    assert english.check(_mcqa(JAPANESE, benchmark="jsonl:my.jsonl", question_id="112A23"))[0].kind == "id"
    assert not english.check(_mcqa(JAPANESE, benchmark="yakugakuqa-2018", question_id="112A23"))  # another publisher
    assert not english.check(_mcqa(JAPANESE, benchmark="igakuqa-2018", question_id="112A24"))


def test_ids_and_text_at_once() -> None:
    assert _kinds(BOTH.check(_mcqa(JAPANESE, benchmark="igakuqa-2018", question_id="112A23"))) == [
        ("ja", "exact"),
        ("en", "id"),
    ]


@pytest.mark.parametrize("number", ["1", "17", "0023", "q1", "Q0012", "question-12", "anatomy-7", "21645374", ""])
def test_the_number_of_a_line_is_no_evidence(number: str) -> None:
    gate = ContaminationGate([replace(ENGLISH, question_id=number)])
    assert not gate.check(_mcqa(JAPANESE, question_id=number))
    assert not gate.check(_mcqa(JAPANESE, benchmark="jsonl:a-b.jsonl", question_id=number))


def test_files_of_ones_own_are_publishers_of_their_own() -> None:
    gate = ContaminationGate([replace(ENGLISH, benchmark="jsonl:my-dev.jsonl", question_id="17")])
    assert not gate.check(_mcqa(JAPANESE, benchmark="jsonl:my-train.jsonl", question_id="17"))
    assert gate.check(_mcqa(JAPANESE, benchmark="jsonl:my-dev.jsonl", question_id="17"))


def test_empty_things() -> None:
    assert not ContaminationGate([]).check(_text(VIGNETTE_JA))
    gate = ContaminationGate([_question("", ()), _question("。", ("", "？")), _question("値はいくらか。", ())])
    for text in ("", "。", "値", VIGNETTE_JA):
        assert not gate.check(_text(text))
    assert not BOTH.check(_mcqa(_question("", ())))


SURROUNDING = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(before=SURROUNDING, after=SURROUNDING, question=st.sampled_from([JAPANESE, ENGLISH]), seed=st.integers(0, 9))
def test_a_planted_question_is_always_found(before: str, after: str, question: Question, seed: int) -> None:
    choices = tuple(random.Random(seed).sample(question.choices, len(question.choices)))
    [overlap] = BOTH.check(_text(f"{before}\n{_asked(question, choices)}\n{after}"))
    assert (overlap.language, overlap.kind) == (question.language, "exact")


ORDINARY = ["患者", "は", "血圧", "が", "高い", "を", "認める", "patient", "blood", "the", "of"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(text=SURROUNDING, words=st.lists(st.sampled_from(ORDINARY)))
def test_an_unrelated_text_raises_no_alarm(text: str, words: list[str]) -> None:
    assert not BOTH.check(_text(text + " ".join(words)))
    assert not BOTH.check(_mcqa(_question(text, tuple(words))))


# From here on: real benchmarks.

BENCHMARKS = [
    ("igakuqa", "ja"),
    ("igakuqa", "en"),
    ("yakugakuqa-2022", "ja"),
    ("medqa", "en"),
    ("medmcqa", "en"),
    ("mini", "ja"),
    ("mini", "en"),
]
SAMPLED = 80
# Tokens of a stem from which on it says something: alone, and when two fifths of it are missing.
SAYS_SOMETHING = {"ja": 20, "en": 8}
SAYS_SOMETHING_IN_PART = {"ja": 60, "en": 30}


Questions = Callable[[str, str], list[Question]]
Gates = Callable[..., ContaminationGate]
IGAKUQA = (("igakuqa", "ja"), ("igakuqa", "en"))


@pytest.fixture(scope="module")
def questions(data_root: Path) -> Questions:
    @lru_cache
    def _load(name: str, language: str) -> list[Question]:
        return load(name, language, data_root)

    return _load


@pytest.fixture(scope="module")
def gate_of(questions: Questions) -> Gates:
    """A gate over whole benchmarks in all the given languages, built once."""

    @lru_cache
    def _gate(*benchmarks: tuple[str, str]) -> ContaminationGate:
        return ContaminationGate(question for name, language in benchmarks for question in questions(name, language))

    return _gate


def _corpus(data_root: Path, name: str) -> list[str]:
    lines = (data_root / f"corpora/{name}_ja.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def _noisy(text: str, chance: random.Random) -> str:
    """Other punctuation, width and spaces."""
    if chance.random() < 0.5:
        text = text.translate({sign: sign + 0xFEE0 for sign in range(0x21, 0x7F)})
    text = re.sub("[、，,;:]", lambda _: chance.choice(["，", " ; ", " ", " - "]), text)
    text = re.sub("[。．]", lambda _: chance.choice(["．", ". ", "\n"]), text)
    return text.replace(" ", chance.choice([" ", "  ", "\n", "\u3000"]))


def _forms(question: Question, others: list[str], chance: random.Random) -> Iterator[tuple[str, Example]]:
    shuffled = tuple(chance.sample(question.choices, len(question.choices)))
    before, after, stem = chance.choice(others), chance.choice(others), question.text
    yield "verbatim", _chat(question)
    yield "mcqa", _mcqa(question)
    yield "punctuation", _text(_noisy(_asked(question), chance))
    yield "shuffled", _chat(question, shuffled)
    yield "shuffled", _mcqa(question, choices=shuffled)
    yield "embedded", _text(f"{before}\n{_asked(question, shuffled)}\n{after}")
    n_tokens = len(tokens_of(stem))
    if n_tokens >= SAYS_SOMETHING[question.language]:
        yield "stem", _text(stem)
        yield "stem", _text(f"{before}\n{stem}\n{after}")
    if n_tokens >= SAYS_SOMETHING_IN_PART[question.language]:
        kept = round(len(stem) * 0.6)
        yield "first 60 %", _text(stem[:kept])
        yield "last 60 %", _text(stem[-kept:])


FLOORS = {"verbatim": 0.99, "mcqa": 0.99, "punctuation": 0.99, "shuffled": 0.99, "embedded": 0.99}


@pytest.mark.parametrize(("name", "language"), BENCHMARKS)
def test_recall_on_planted_copies(
    name: str,
    language: str,
    gate_of: Gates,
    questions: Questions,
    data_root: Path,
) -> None:
    """One gate over all of them, as one who sits all of them has it."""
    gate, chance = gate_of(*BENCHMARKS), random.Random(20180210)
    others = _corpus(data_root, "case_reports")
    known = questions(name, language)
    found: dict[str, list[bool]] = {}
    for question in chance.sample(known, min(SAMPLED, len(known))):
        key = (question.benchmark, question.question_id, question.language)
        for form, example in _forms(question, others, chance):
            overlaps = {(one.benchmark, one.question_id, one.language) for one in gate.check(example)}
            found.setdefault(form, []).append(key in overlaps)
    recall = {form: sum(hits) / len(hits) for form, hits in found.items()}
    assert all(share >= FLOORS.get(form, 0.95) for form, share in recall.items()), recall


def _texts(texts: list[str]) -> list[Example]:
    return [Example(f"corpus.jsonl:{line}", "ja", text=text) for line, text in enumerate(texts, start=1)]


def _alarms(gate: ContaminationGate, examples: list[Example]) -> dict[str, set[str]]:
    """Questions found, by the place of the example."""
    found = {example.place: {overlap.question_id for overlap in gate.check(example)} for example in examples}
    assert len(found) == len(examples)
    return {place: ids for place, ids in found.items() if ids}


def _examples(questions: list[Question], shape: Callable[[Question], Example]) -> list[Example]:
    """Of another publisher, so that ids say nothing; the place names the question."""
    return [
        replace(shape(replace(question, benchmark="", question_id="1")), place=f"{number} {question.question_id}")
        for number, question in enumerate(questions)
    ]


FALSE_ALARMS = 0.001  # of examples


def test_false_alarms_of_texts_and_other_examinations_against_igakuqa(
    gate_of: Gates, questions: Questions, data_root: Path
) -> None:
    gate = gate_of(*IGAKUQA)
    pharmacy = [q for year in range(2012, 2022) for q in questions(f"yakugakuqa-{year}", "ja")]
    for examples in (
        _texts(_corpus(data_root, "case_reports") + _corpus(data_root, "pharmacy_explanations")),
        _examples(pharmacy, _mcqa),
        _examples(questions("jmmlu", "ja"), _chat),
        _examples(questions("medqa", "en")[:500], _mcqa),
        _examples([*questions("mini", "ja"), *questions("mini", "en")], _mcqa),
    ):
        alarms = _alarms(gate, examples)
        assert len(alarms) <= FALSE_ALARMS * len(examples), alarms
        # The first article of three laws, which the question quotes, is the one text that they share.
        assert set().union(*alarms.values()) <= {"115E7"}


@pytest.mark.parametrize(("trained", "examined"), [("medmcqa", "medqa"), ("medqa", "medmcqa"), ("medmcqa", "mmlu")])
def test_false_alarms_between_english_benchmarks(
    trained: str, examined: str, gate_of: Gates, questions: Questions
) -> None:
    assert not _alarms(gate_of((examined, "en")), _examples(questions(trained, "en")[:1000], _chat))


# Read one by one: the same task in other figures or with another drawing, or the very same stem with other choices.
TRUE_REPEATS = {"099A046": "107A045", "100C043": "107C045", "102C016": "107C020", "100A009": "107A009"}


def test_repeats_and_false_alarms_between_years_of_one_examination(gate_of: Gates, questions: Questions) -> None:
    gate = gate_of(("yakugakuqa-2022", "ja"))
    earlier = [q for year in range(2012, 2022) for q in questions(f"yakugakuqa-{year}", "ja")]
    alarms = {place.split()[1]: ids for place, ids in _alarms(gate, _examples(earlier, _mcqa)).items()}
    assert all(repeat in alarms.get(question, ()) for question, repeat in TRUE_REPEATS.items())
    false = {question: ids for question, ids in alarms.items() if question not in TRUE_REPEATS}
    assert len(false) <= FALSE_ALARMS * len(earlier), false


def test_explanations_that_quote_their_question_are_found(gate_of: Gates, data_root: Path) -> None:
    """52 of the corpus' explanations quote what they explain in the exam of 2022; case reports quote nothing."""
    gate = gate_of(("yakugakuqa-2022", "ja"))
    assert not _alarms(gate, _texts(_corpus(data_root, "case_reports")))
    assert 50 <= len(_alarms(gate, _texts(_corpus(data_root, "pharmacy_explanations")))) <= 60


def test_ids_of_real_benchmarks(gate_of: Gates, questions: Questions) -> None:
    """A Japanese question of igakuqa-2018 in training leaks its English version; the ids of medqa are mere numbers."""
    gate = gate_of(*IGAKUQA)
    for number, question in enumerate(questions("igakuqa-2018", "ja")[:100], start=1):
        for benchmark in ("igakuqa-2018", ""):
            example = _mcqa(replace(question, text=VIGNETTE_JA), benchmark=benchmark, question_id=question.question_id)
            found = {(one.question_id, one.language): one.kind for one in gate.check(example)}
            assert found[question.question_id, "en"] == "id"
        assert not gate_of(("medqa", "en")).check(_mcqa(question, question_id=str(number)))
