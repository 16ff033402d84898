"""The one table of benchmarks: what they are called, where their files lie, and how their questions are read."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jmed.data.question import LANGUAGES, Question
from jmed.data.readers import Placed, Reader, igakuqa, jsonl, medmcqa, medqa, mini, mmlu, pubmedqa, yakugakuqa
from jmed.errors import UserError, nearest
from jmed.spool import Spool
from jmed.storage.address import is_url

LIST_COMMAND = "python -m jmed.data list"
_JSONL = "jsonl:"


@dataclass(frozen=True)
class Family:
    """A benchmark, or several that share a publisher and a file layout (`igakuqa` holds `igakuqa-2018`)."""

    name: str
    title: str
    languages: tuple[str, ...]
    licence: str
    publisher: str  # where it is published
    layout: str  # a file of it below data_root, for messages; empty: data_root is not needed
    reader: Reader
    part: str = ""  # what a part is called ("year", "subject"); empty: the family has no parts


_FAMILIES = (
    Family(
        name="igakuqa",
        title="Japanese national medical licensing examination (IgakuQA)",
        languages=("ja", "en"),
        licence="no licence file; questions by the Ministry of Health, Labour and Welfare",
        publisher="github.com/jungokasai/IgakuQA",
        layout="igakuqa/data/2018/112-A.jsonl",
        reader=igakuqa,
        part="year",
    ),
    Family(
        name="jmmlu",
        title="JMMLU, medical subjects",
        languages=("ja",),
        licence="CC BY-SA 4.0",
        publisher="github.com/nlp-waseda/JMMLU",
        layout="jmmlu/anatomy.csv",
        reader=mmlu.JMMLU,
        part="subject",
    ),
    Family(
        name="mmlu",
        title="MMLU, medical subjects, test split",
        languages=("en",),
        licence="MIT",
        publisher="github.com/hendrycks/test",
        layout="mmlu/test/anatomy_test.csv",
        reader=mmlu.MMLU,
        part="subject",
    ),
    Family(
        name="medqa",
        title="MedQA (USMLE), four options, test split",
        languages=("en",),
        licence="MIT",
        publisher="github.com/jind11/MedQA",
        layout="medqa/phrases_no_exclude_test.jsonl",
        reader=medqa,
    ),
    Family(
        name="medmcqa",
        title="MedMCQA, validation split",
        languages=("en",),
        licence="MIT",
        publisher="github.com/medmcqa/medmcqa",
        layout="medmcqa/dev.json",
        reader=medmcqa,
    ),
    Family(
        name="pubmedqa",
        title="PubMedQA, expert-labelled, test split",
        languages=("en",),
        licence="MIT",
        publisher="github.com/pubmedqa/pubmedqa",
        layout="pubmedqa/ori_pqal.json",
        reader=pubmedqa,
    ),
    Family(
        name="yakugakuqa",
        title="Japanese national examination for pharmacists (YakugakuQA)",
        languages=("ja",),
        licence="CC BY-SA 4.0",
        publisher="github.com/EQUES-Inc/pharma-LLM-eval",
        layout="yakugakuqa/data/2015/100-A.jsonl",
        reader=yakugakuqa,
        part="year",
    ),
    Family(
        name="mini",
        title="a small examination in both languages, shipped with jmed",
        languages=("ja", "en"),
        licence="Apache-2.0",
        publisher="jmed itself",
        layout="",
        reader=mini,
    ),
    Family(
        name="jsonl",
        title="your own questions: jsonl:PATH, one a line",
        languages=("ja", "en"),
        licence="yours",
        publisher="your own file",
        layout="",
        reader=jsonl,
    ),
)
FAMILIES: dict[str, Family] = {family.name: family for family in _FAMILIES}


def known_names(data_root: Path | None) -> list[str]:
    """Every name that can be asked for with these data, `jsonl:PATH` aside; families whose files are missing too."""
    names = []
    for family in FAMILIES.values():
        if family.name == "jsonl":
            continue
        found = parts_of(family.name, data_root) if family.part else []
        names += [family.name, *(f"{family.name}-{part}" for part in found)]
    return names


def parts_of(family: str, data_root: Path | None) -> list[str]:
    """Years or subjects whose files lie under data_root; `[""]` for a family without parts, `[]` if none is there."""
    if family not in FAMILIES:
        raise _unknown(family, data_root)
    known = FAMILIES[family]
    if not known.part:
        return [""]
    return known.reader.parts(data_root / family) if data_root else []


def languages_of(name: str, wanted: Iterable[str] = LANGUAGES) -> tuple[str, ...]:
    """The languages in which a benchmark can be asked; for `jsonl:PATH` those that the file holds, which is read only
    until all that are `wanted` are found."""
    if name.startswith(_JSONL):
        return jsonl.languages(_jsonl_path(name), wanted)
    return _family(name, None).languages


def files_of(name: str, data_root: Path | None) -> list[Path]:
    """The files that a benchmark is read from in all its languages, few-shot examples included, to be hashed."""
    family, folder, parts = _resolve(name, data_root)
    return [path for part in parts for path in family.reader.files(folder, part)]


def load(name: str, language: str, data_root: Path | None) -> Sequence[Question]:
    """All questions of a benchmark in one language: parts in sorted order, each as published."""
    return Spool(stream(name, language, data_root))


def stream(name: str, language: str, data_root: Path | None) -> Iterator[Question]:
    """The same, one by one; what is wrong with the benchmark as a whole is said at the end at the latest."""
    family, folder, parts = _resolve(name, data_root)
    if family.reader is not jsonl:  # whose languages are known only when the file has been read
        _check_language(name, language)
    questions = _named(name, lambda: (pair for part in parts for pair in family.reader.read(folder, part, language)))
    first = next(questions, None)
    if first is None:
        _check_language(name, language)
        where = ", ".join(str(path) for part in parts for path in family.reader.files(folder, part))
        raise UserError(f"benchmark {name!r} holds no questions in {language}: {where}")
    yield first
    yield from questions


def shots(name: str, language: str, data_root: Path | None) -> Sequence[Question]:
    """The publisher's own few-shot examples: MMLU's dev split of the same subjects; none for any other benchmark."""
    family, folder, parts = _resolve(name, data_root)
    if not isinstance(family.reader, mmlu.Subjects):
        return []
    _check_language(name, language)
    reader = family.reader
    _check_files(name, family, folder, [path for part in parts for path in reader.shot_files(folder, part)])
    return list(_named(name, lambda: (pair for part in parts for pair in reader.shots(folder, part, language))))


def _named(name: str, read: Callable[[], Iterable[Placed]]) -> Iterator[Question]:
    """The questions with the benchmark's name in them; UserError at the end if two share an id."""
    hashes = array("q")
    for _, question in read():
        hashes.append(hash(question.question_id))
        yield question.of_benchmark(name)
    if repeated := _repeated(hashes):
        _refuse_repeats(read(), repeated)


def _repeated(hashes: Sequence[int]) -> set[int]:
    """The numbers that are there more than once."""
    import numpy as np  # here: whoever only wants the names loads nothing heavy

    numbers, counts = np.unique(np.asarray(hashes), return_counts=True)
    return set(numbers[counts > 1].tolist())


def _refuse_repeats(placed: Iterable[Placed], suspects: set[int]) -> None:
    """UserError at the first question whose id was there before; its hash is among the suspects."""
    places: dict[str, str] = {}
    for place, question in placed:
        question_id = question.question_id
        if question_id in places:
            first = f"is already at {places[question_id]}"
            raise UserError(f"{place}: question {question_id!r} ({question.language}) {first}; expected it once")
        if hash(question_id) in suspects:
            places[question_id] = place


def _resolve(name: str, data_root: Path | None) -> tuple[Family, Path, list[str]]:
    """The family of a name, the folder (or file) it is read from, and the parts asked for."""
    if name.startswith(_JSONL):
        return FAMILIES["jsonl"], _jsonl_path(name), [""]
    family = _family(name, data_root)
    if not family.layout:
        return family, Path(), [""]
    folder = _data_root(name, family, data_root) / family.name
    found = family.reader.parts(folder)
    if not found:
        raise _missing(name, family, folder, folder.parent / family.layout)
    part = name.partition("-")[2]
    if part and part not in found:
        raise _no_part(name, family, folder, found)
    if not family.part:
        _check_files(name, family, folder, family.reader.files(folder, ""))
    return family, folder, [part] if part else found


def _family(name: str, data_root: Path | None) -> Family:
    """The family of a name such as `igakuqa` or `igakuqa-2018`."""
    head, dash, part = name.partition("-")
    family = FAMILIES.get(head)
    if family is None:
        raise _unknown(name, data_root)
    if head == "jsonl":
        raise UserError(f"benchmark {name!r} names no file; expected jsonl:PATH")
    if dash and not (part and family.part):
        raise UserError(f"benchmark {name!r} is not known: {head!r} has no part {part!r}. All names: {LIST_COMMAND}")
    return family


def _jsonl_path(name: str) -> Path:
    path = name.removeprefix(_JSONL)
    if not path:
        raise UserError(f"benchmark {name!r} names no file; expected jsonl:PATH")
    if is_url(path):
        from jmed.storage.mirror import copied_file

        return copied_file(path, f"benchmark {name!r}")
    if not Path(path).exists():
        raise UserError(f"benchmark {name!r}: there is no file {path}")
    return Path(path)


def _data_root(name: str, family: Family, data_root: Path | None) -> Path:
    if data_root is None:
        raise UserError(f"data_root is not set; benchmark {name!r} is read from the folder that it names")
    if not data_root.is_dir():
        raise UserError(
            f"data_root: there is no folder {data_root}; benchmark {name!r} was looked for at "
            f"{data_root / family.layout}. {_source(family, data_root)}"
        )
    return data_root


def _check_files(name: str, family: Family, folder: Path, files: Iterable[Path]) -> None:
    for path in files:
        if not path.exists():
            raise _missing(name, family, folder, path)


def _unknown(name: str, data_root: Path | None) -> UserError:
    hint = nearest(name, known_names(data_root)) or "."
    return UserError(f"benchmark {name!r} is not known{hint} Known: {', '.join(FAMILIES)}. All names: {LIST_COMMAND}")


def _missing(name: str, family: Family, folder: Path, looked_for: Path) -> UserError:
    every = f" (and so on for every {family.part})" if family.part else ""
    found = f"benchmark {name!r}: files are missing; looked for {looked_for}{every}"
    return UserError(f"{found}. {_source(family, folder.parent)}")


def _no_part(name: str, family: Family, folder: Path, found: list[str]) -> UserError:
    hint = nearest(name, [f"{family.name}-{part}" for part in found]) or "."
    there = f"Found in {folder}: {', '.join(found)}"
    return UserError(
        f"benchmark {name!r}: there is no such {family.part}{hint} {there}. {_source(family, folder.parent)}"
    )


def _source(family: Family, data_root: Path) -> str:
    fetch = f"python -m jmed.data fetch {family.name} --data_root {data_root}"
    return f"It is published at {family.publisher}; to fetch it: {fetch}"


def _check_language(name: str, language: str) -> None:
    languages = languages_of(name)
    if languages and language not in languages:
        raise UserError(f"benchmark {name!r} has no questions in {language!r}; it has {' and '.join(languages)}")
