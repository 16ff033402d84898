"""From training files to the token table, through the contamination gate; done once, by the driver."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jmed.configuration.finetune import DataSource, FinetuneConfig
from jmed.data import catalogue
from jmed.data.contamination import ContaminationGate, Overlap
from jmed.data.corpora import benchmark_examples, read_examples
from jmed.data.examples import Example
from jmed.data.question import Question
from jmed.errors import UserError
from jmed.runs.files import write_text
from jmed.training.encoding import Encoder
from jmed.training.files import DATA_REPORT, TOKENS
from jmed.training.table import write_token_table

SHOWN = 20  # overlaps that a refusal lists; contamination.json holds all of them


@dataclass
class Check:
    """What the contamination gate found."""

    config: FinetuneConfig
    questions: int = 0
    examples: int = 0
    overlaps: list[Overlap] = field(default_factory=list)
    places: set[str] = field(default_factory=set)  # examples that overlap

    def as_dict(self) -> dict[str, Any]:
        """contamination.json."""
        benchmarks = self.config.gate_benchmarks
        action = self.config.contamination.action
        return {
            "verdict": ("overlap" if self.overlaps else "clean") if benchmarks else "not checked",
            "action": action,
            "benchmarks": benchmarks,
            "questions": self.questions,
            "examples": self.examples,
            "overlapping_examples": len(self.places),
            "dropped_examples": len(self.places) if action == "drop" else 0,
            "overlaps": [asdict(overlap) for overlap in self.overlaps],
        }

    def refuse(self) -> None:
        """UserError if anything overlaps and that was not allowed."""
        if self.config.contamination.action != "refuse" or not self.overlaps:
            return
        lines = [
            f"  {one.place}: {one.benchmark} {one.question_id} "
            f"({one.language}; {one.kind}, {one.share:.0%}): {one.excerpt}"
            for one in self.overlaps[:SHOWN]
        ]
        if len(self.overlaps) > SHOWN:
            lines.append(f"  … and {len(self.overlaps) - SHOWN} more")
        raise UserError(
            f"data: {len(self.places)} of {self.examples} training examples hold questions of "
            f"{', '.join(self.config.gate_benchmarks)}; a score on these would be worthless:\n"
            + "\n".join(lines)
            + "\nTake them out, or give --contamination.action drop (leaves them out) or report (trains on them; every "
            "model card will say so)"
        )


def prepare(config: FinetuneConfig, tokenizer: Any, work: Path) -> dict[str, Any]:
    """Write `work`/tokens.arrow and the report on data and contamination, unless they are there; returns the report.

    `work` belongs to this configuration and these data, so what is there is right.
    """
    report_file = work / DATA_REPORT
    if report_file.is_file() and (work / TOKENS).is_file():
        return json.loads(report_file.read_text("utf-8"))
    work.mkdir(parents=True, exist_ok=True)
    check = Check(config)
    encoder = Encoder(tokenizer, config)
    counted = write_token_table(work / TOKENS, _checked(config, check), encoder, len(config.data))
    check.refuse()
    rows = [_describe(source, counts) for source, counts in zip(config.data, counted, strict=True)]
    report = {"data": rows, "contamination": check.as_dict()}
    write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", report_file)
    return report


def _describe(source: DataSource, counts: Any) -> dict[str, Any]:
    return {
        "name": source.name,
        "format": source.format or "benchmark",
        "language": source.language,
        "weight": source.weight,
        **asdict(counts),
    }


def _checked(config: FinetuneConfig, check: Check) -> Iterator[tuple[int, Example]]:
    """Every example with the number of its source; those that overlap are noted, and left out if that was asked for."""
    questions = gate_questions(config)
    check.questions = len(questions)
    gate = ContaminationGate(questions)
    for number, source in enumerate(config.data):
        for example in source_examples(source, Path(config.data_root)):
            check.examples += 1
            found = gate.check(example) if questions else []
            check.overlaps += found
            if found:
                check.places.add(example.place)
            if not found or config.contamination.action != "drop":
                yield number, example


def source_examples(source: DataSource, data_root: Path) -> Iterator[Example]:
    if source.benchmark is not None:
        return benchmark_examples(source.benchmark, source.language, data_root)
    return read_examples(Path(str(source.path)).expanduser(), str(source.format), source.language)


def gate_questions(config: FinetuneConfig) -> list[Question]:
    """Every question of every benchmark that the model will be examined on, in all its languages."""
    root = Path(config.data_root)
    return [
        question
        for name in config.gate_benchmarks
        for language in catalogue.languages_of(name)
        for question in catalogue.load(name, language, root)
    ]
