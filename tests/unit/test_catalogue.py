"""The names of benchmarks: what is known, what lies in the data folder, and what is said when something is not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jmed.data import catalogue
from jmed.errors import UserError

SUBJECTS = [
    "anatomy",
    "clinical_knowledge",
    "college_biology",
    "college_medicine",
    "high_school_biology",
    "human_aging",
]
SUBJECTS += ["human_sexuality", "medical_genetics", "nutrition", "professional_medicine", "virology"]


def refused(name: str, language: str, data_root: Path | None) -> str:
    with pytest.raises(UserError) as caught:
        catalogue.load(name, language, data_root)
    return str(caught.value)


def own_file(path: Path, *ids_and_languages: tuple[str, str]) -> str:
    rows = [
        {"question_id": key, "language": language, "question": "?", "choices": ["x", "y"], "answer": "a"}
        for key, language in ids_and_languages
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"jsonl:{path}"


def test_the_families_of_the_contract() -> None:
    languages = {name: family.languages for name, family in catalogue.FAMILIES.items()}
    assert languages == {
        **{"igakuqa": ("ja", "en"), "jmmlu": ("ja",), "mmlu": ("en",), "medqa": ("en",), "medmcqa": ("en",)},
        **{"pubmedqa": ("en",), "yakugakuqa": ("ja",), "mini": ("ja", "en"), "jsonl": ("ja", "en")},
    }
    assert all(family.title and family.licence and family.publisher for family in catalogue.FAMILIES.values())


def test_parts_and_names(data_root: Path) -> None:
    assert catalogue.parts_of("igakuqa", data_root) == ["2018", "2019", "2020", "2021"]
    assert catalogue.parts_of("yakugakuqa", data_root) == [str(year) for year in range(2012, 2023)]
    assert catalogue.parts_of("jmmlu", data_root) == catalogue.parts_of("mmlu", data_root) == SUBJECTS
    assert catalogue.parts_of("medqa", data_root) == catalogue.parts_of("mini", data_root) == [""]
    names = catalogue.known_names(data_root)
    assert {"igakuqa", "igakuqa-2018", "jmmlu-college_medicine", "medqa", "mini"} <= set(names)
    assert len(names) == len(set(names)) == 8 + 4 + 11 + 11 + 11
    for name in names:
        assert set(catalogue.languages_of(name)) <= {"ja", "en"}


def test_names_without_data(tmp_path: Path) -> None:
    families = [name for name in catalogue.FAMILIES if name != "jsonl"]
    assert catalogue.known_names(tmp_path) == catalogue.known_names(None) == families
    assert catalogue.parts_of("igakuqa", tmp_path) == []


def test_a_family_is_its_parts_in_order(data_root: Path) -> None:
    whole = catalogue.load("igakuqa", "ja", data_root)
    parts = [q for year in range(2018, 2022) for q in catalogue.load(f"igakuqa-{year}", "ja", data_root)]
    assert [q.question_id for q in whole] == [q.question_id for q in parts]
    assert {q.benchmark for q in whole} == {"igakuqa"}
    assert {q.exam for q in whole} == {f"igakuqa-{year}" for year in range(2018, 2022)}


def test_files_of(data_root: Path) -> None:
    def relative(name: str) -> list[str]:
        return [path.relative_to(data_root).as_posix() for path in catalogue.files_of(name, data_root)]

    year = relative("igakuqa-2018")
    assert len(year) == 18
    assert year[:3] == [f"igakuqa/data/2018/112-A{kind}.jsonl" for kind in ("", "_translate", "_metadata")]
    assert relative("mmlu-anatomy") == ["mmlu/test/anatomy_test.csv", "mmlu/dev/anatomy_dev.csv"]
    assert relative("jmmlu-anatomy") == ["jmmlu/anatomy.csv"]
    assert relative("pubmedqa") == ["pubmedqa/ori_pqal.json", "pubmedqa/test_ground_truth.json"]
    assert relative("yakugakuqa-2015") == [f"yakugakuqa/data/2015/100-{block}.jsonl" for block in "ABCDEF"]


def test_every_file_that_is_named_is_there(data_root: Path) -> None:
    for name in catalogue.known_names(data_root):
        if name != "mini":
            assert all(path.is_file() for path in catalogue.files_of(name, data_root))


@pytest.mark.parametrize(
    ("name", "nearest"), [("igaku", "igakuqa"), ("medq", "medqa"), ("igakuqa2018", "igakuqa-2018"), ("quux", None)]
)
def test_unknown_name(data_root: Path, name: str, nearest: str | None) -> None:
    message = refused(name, "ja", data_root)
    hint = f"; did you mean '{nearest}'?" if nearest else "."
    assert message.startswith(f"benchmark {name!r} is not known{hint} Known: igakuqa, jmmlu, mmlu, medqa,")
    assert message.endswith("All names: python -m jmed.data list")
    with pytest.raises(UserError, match="is not known"):
        catalogue.languages_of(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "igakuqa-1999",
            "there is no such year; did you mean 'igakuqa-2019'? Found in {}/igakuqa: 2018, 2019, 2020, 2021.",
        ),
        ("mmlu-anatomi", "there is no such subject; did you mean 'mmlu-anatomy'? Found in {}/mmlu: anatomy, clinical_"),
        ("jmmlu-../mmlu", "there is no such subject"),
        ("medqa-2018", "is not known: 'medqa' has no part '2018'. All names: python -m jmed.data list"),
        ("igakuqa-", "is not known: 'igakuqa' has no part ''"),
        ("mini-1", "is not known: 'mini' has no part '1'"),
    ],
)
def test_unknown_part(data_root: Path, name: str, expected: str) -> None:
    assert expected.format(data_root) in refused(name, "en", data_root)


@pytest.mark.parametrize(
    ("name", "looked_for", "publisher"),
    [
        ("igakuqa", "igakuqa/data/2018/112-A.jsonl (and so on for every year)", "github.com/jungokasai/IgakuQA"),
        ("jmmlu-virology", "jmmlu/anatomy.csv (and so on for every subject)", "github.com/nlp-waseda/JMMLU"),
        ("mmlu", "mmlu/test/anatomy_test.csv (and so on for every subject)", "github.com/hendrycks/test"),
        ("medqa", "medqa/phrases_no_exclude_test.jsonl", "github.com/jind11/MedQA"),
        ("medmcqa", "medmcqa/dev.json", "github.com/medmcqa/medmcqa"),
        ("pubmedqa", "pubmedqa/ori_pqal.json", "github.com/pubmedqa/pubmedqa"),
        ("yakugakuqa-2015", "yakugakuqa/data/2015/100-A.jsonl (and so on for every year)", "github.com/EQUES-Inc/"),
    ],
)
def test_missing_files(tmp_path: Path, name: str, looked_for: str, publisher: str) -> None:
    message = refused(name, catalogue.languages_of(name)[0], tmp_path)
    family = name.partition("-")[0]
    assert message.startswith(
        f"benchmark {name!r}: files are missing; looked for {tmp_path}/{looked_for}. It is published"
    )
    assert publisher in message
    assert message.endswith(f"to fetch it: python -m jmed.data fetch {family} --data_root {tmp_path}")


def test_missing_examples(tmp_path: Path) -> None:
    path = tmp_path / "mmlu" / "test" / "anatomy_test.csv"
    path.parent.mkdir(parents=True)
    path.write_text("q,w,x,y,z,A\n")
    assert len(catalogue.load("mmlu", "en", tmp_path)) == 1
    assert catalogue.files_of("mmlu", tmp_path) == [path]
    with pytest.raises(UserError, match=r"looked for .*/mmlu/dev/anatomy_dev\.csv .*fetch mmlu"):
        catalogue.shots("mmlu", "en", tmp_path)


def test_data_root_that_is_not_there(tmp_path: Path) -> None:
    message = refused("igakuqa", "ja", tmp_path / "no")
    assert message.startswith(f"data_root: there is no folder {tmp_path / 'no'};")
    assert f"looked for at {tmp_path}/no/igakuqa/data/2018/112-A.jsonl" in message
    assert "github.com/jungokasai/IgakuQA" in message
    assert f"python -m jmed.data fetch igakuqa --data_root {tmp_path}/no" in message
    assert refused("igakuqa", "ja", None).startswith("data_root is not set; benchmark 'igakuqa'")


def test_a_language_that_the_source_lacks(data_root: Path, tmp_path: Path) -> None:
    assert refused("medqa", "ja", data_root) == "benchmark 'medqa' has no questions in 'ja'; it has en"
    assert refused("igakuqa", "fr", data_root) == "benchmark 'igakuqa' has no questions in 'fr'; it has ja and en"
    name = own_file(tmp_path / "own.jsonl", ("q1", "en"))
    assert refused(name, "ja", None) == f"benchmark {name!r} has no questions in 'ja'; it has en"


def test_languages_of_own_questions(tmp_path: Path) -> None:
    name = own_file(tmp_path / "own.jsonl", ("q1", "en"), ("q2", "en"), ("q1", "ja"))
    assert catalogue.languages_of(name) == ("ja", "en")
    assert [len(catalogue.load(name, language, None)) for language in ("ja", "en")] == [1, 2]
    assert catalogue.files_of(name, None) == [tmp_path / "own.jsonl"]
    assert not catalogue.shots(name, "en", None)


@pytest.mark.parametrize("name", ["jsonl", "jsonl:"])
def test_own_questions_need_a_file(name: str) -> None:
    assert refused(name, "ja", None) == f"benchmark {name!r} names no file; expected jsonl:PATH"


def test_own_file_that_is_not_there(tmp_path: Path) -> None:
    name = f"jsonl:{tmp_path}/absent.jsonl"
    assert refused(name, "ja", None) == f"benchmark {name!r}: there is no file {tmp_path}/absent.jsonl"
    with pytest.raises(UserError, match="there is no file"):
        catalogue.files_of(name, None)


def test_a_repeated_question_names_both_lines(tmp_path: Path) -> None:
    name = own_file(tmp_path / "own.jsonl", ("q1", "en"), ("q1", "ja"), ("q1", "en"))
    path = tmp_path / "own.jsonl"
    assert refused(name, "en", None) == f"{path}:3: question 'q1' (en) is already at {path}:1; expected it once"


@pytest.mark.parametrize(
    ("name", "file"), [("jsonl:{}/own.jsonl", "own.jsonl"), ("medqa", "medqa/phrases_no_exclude_test.jsonl")]
)
def test_no_questions_at_all(tmp_path: Path, name: str, file: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n")
    name = name.format(tmp_path)
    assert refused(name, "en", tmp_path) == f"benchmark {name!r} holds no questions in en: {path}"


def test_importing_the_catalogue_stays_cheap() -> None:
    code = "import sys, jmed.data.catalogue; print(sorted({'torch', 'ray', 'numpy', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
