"""How students answered: IgakuQA's metadata give for most questions who was right, and who chose what.

`…_metadata.jsonl`: human_accuracy (per cent as text, "" where unknown), breakdown (per cent that chose a, b, …).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jmed.data.lines import Record, read_jsonl
from jmed.data.readers import igakuqa

METADATA = "_metadata.jsonl"


@dataclass(frozen=True, slots=True)
class StudentAnswers:
    """Shares from 0 to 1."""

    accuracy: float | None  # None: not published
    chosen: tuple[float, ...]  # of each choice; empty: not published. They add to the number of answers asked for


def read_students(name: str, data_root: Path) -> dict[str, StudentAnswers]:
    """By question id; empty for a benchmark whose publisher gives no students' answers."""
    family, _, part = name.partition("-")
    if family != "igakuqa":
        return {}
    folder = data_root / family
    parts = [part] if part else igakuqa.parts(folder)
    files = [file for one in parts for file in igakuqa.files(folder, one) if file.name.endswith(METADATA)]
    return dict(pair for file in files for pair in _read(file))


def _read(file: Path) -> Iterator[tuple[str, StudentAnswers]]:
    for record in read_jsonl(file):
        accuracy = _share(record, record.text("human_accuracy", ""))
        chosen = [_share(record, text) for text in record.strings("breakdown")] if "breakdown" in record.fields else []
        known = tuple(share for share in chosen if share is not None)
        yield record.name("problem_id"), StudentAnswers(accuracy, known if len(known) == len(chosen) else ())


def _share(record: Record, text: str) -> float | None:
    """Per cent as text; None if it is empty, or impossible (the publisher misprints 50.3 as 500.3)."""
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        raise record.error(f"found the students' share {text[:40]!r}; expected per cent, such as 92.5") from None
    return value / 100 if 0 <= value <= 100 else None
