"""The model card: README.md for people, lineage.json for programs; both hold every step from the first base on."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from jinja2 import Environment, StrictUndefined
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jmed import __version__
from jmed.errors import UserError
from jmed.runs.files import write_text

FORMAT = 1  # of lineage.json
README, LINEAGE = "README.md", "lineage.json"
STAGES = {
    "pretrain": ("continued pre-training on text", "継続事前学習"),
    "instruct": ("instruction tuning on questions and answers", "指示チューニング"),
    "merge": ("adapter folded into its base", "アダプターの統合"),
    "unknown": ("training unknown", "学習内容不明"),
}
_SPECIAL = re.compile(r"[\\`*_\[\]<>|~&#$:@]")  # what Markdown would take as its own


class Part(BaseModel):
    """A piece of a card; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Origin(Part):
    """A model or adapter that went in: its name, and file name → SHA-256 (`jmed.models.source.fingerprint`)."""

    name: str
    files: dict[str, str]


class Data(Part):
    """A set of training data; `sequences` and `tokens` as they were trained on in one epoch."""

    name: str
    format: str
    language: str | None = None
    weight: float = 1.0
    sha256: str | dict[str, str] | None = None  # of its file, or of each
    examples: int
    sequences: int
    tokens: int


class Prompt(Part):
    """A template that questions were shown with."""

    name: str
    sha256: str


class Contamination(Part):
    """What the gate found: `overlaps` training examples hold questions of `benchmarks`, `dropped` were left out."""

    action: str
    benchmarks: list[str]
    overlaps: int
    dropped: int
    verdict: Literal["clean", "overlap", "not checked"]


class Exam(Part):
    """A score on the way or at the end; a row of results.json's scores fits, what else it holds is left out."""

    model_config = ConfigDict(extra="ignore")

    benchmark: str
    language: str
    method: str | None = None
    correct: int
    n: int
    value: float
    ci_low: float
    ci_high: float
    step: int | None = None
    epoch: float | None = None


class Step(Part):
    """One step on the way: a training, or a merge."""

    kind: Literal["adapter", "model"]
    name: str
    base: Origin
    adapter: Origin | None = None  # of a merge: what was folded in
    stage: Literal["pretrain", "instruct", "merge", "unknown"]
    tuning: str | None = None
    settings: dict[str, Any] = {}
    data: list[Data] = []
    prompts: list[Prompt] = []
    contamination: Contamination | None = None  # None: no check ran
    exams: list[Exam] = []
    versions: dict[str, str] = {}
    created: date | None = None
    license: str = "other"


class Card(Step):
    """The last step, with all that came before it, oldest first (`read_lineage` of the base gives them)."""

    parents: list[Step] = Field(default=[])

    @property
    def steps(self) -> list[Step]:
        return [*self.parents, self]


def write_card(folder: Path, card: Card) -> None:
    """Write README.md and lineage.json into an existing folder."""
    lineage = {"format": FORMAT, "jmed": __version__, **card.model_dump(mode="json")}
    write_text(json.dumps(lineage, ensure_ascii=False, indent=1) + "\n", folder / LINEAGE)
    write_text(make_readme(card), folder / README)


def read_lineage(folder: Path) -> list[Step]:
    """Every step that led to the model or adapter in `folder`, oldest first; empty if it has no lineage.json."""
    file = folder / LINEAGE
    if not file.is_file():
        return []
    try:
        content = json.loads(file.read_text("utf-8"))
        if content.pop("format") != FORMAT or not content.pop("jmed"):
            raise ValueError("another format")
        card = Card.model_validate(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{error.error_count()} wrong entries" if isinstance(error, ValidationError) else error
        raise UserError(
            f"{file}: is no lineage that this version of jmed can read ({why}); copy it again, or take it away: "
            "the model card will then say that the training is unknown"
        ) from None
    return [*card.parents, Step.model_validate(card.model_dump(exclude={"parents"}))]


def make_readme(card: Card) -> str:
    """The text of README.md; the same card always gives the same text."""
    # Every value is escaped on its way out, unless a filter has made it Ready: no name can break a table or be HTML.
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, finalize=_finalize
    )
    filters: dict[str, Callable[..., Any]] = {
        "code": _code,
        "number": lambda n: f"{n:,}",
        "percent": lambda share: f"{100 * share:.1f} %",
        "english": lambda stage: STAGES[stage][0],
        "japanese": lambda stage: STAGES[stage][1],
        "flat": lambda settings: list(_flatten(settings)),
        "hash": _short_hash,
    }
    environment.filters |= filters
    template = environment.from_string(resources.files(__package__).joinpath("card.md").read_text("utf-8"))
    return template.render(card=card, front=Ready(_front_matter(card)), warnings=_warnings(card.steps))


class Ready(str):
    """Markdown that needs no escaping any more."""

    __slots__ = ()


def _finalize(value: Any) -> str:
    return value if isinstance(value, Ready) else _escape(str(value))


def _escape(text: str) -> Ready:
    return Ready(_SPECIAL.sub(r"\\\g<0>", _one_line(text)))


def _one_line(text: str) -> str:
    """Words with single spaces between them; no line ends, control characters, marks that turn the writing round."""
    plain = (" " if unicodedata.category(sign) in ("Cc", "Cf", "Zl", "Zp", "Cs") else sign for sign in text)
    return " ".join("".join(plain).split())


def _code(value: Any) -> Ready:
    """A name as it stands, in a table's cell."""
    text = _one_line(str(value))
    if not text:
        return Ready("–")
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return Ready(f"{fence}{space}{text}{space}{fence}".replace("|", "\\|"))


def _short_hash(value: str | dict[str, str] | None) -> Ready:
    """The beginning of a file's SHA-256; of several files, how many they are."""
    if isinstance(value, dict):
        return _escape(f"{len(value)} files") if len(value) != 1 else _short_hash(next(iter(value.values())))
    return _code(value[:12]) if value else Ready("–")


def _flatten(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted keys."""
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _front_matter(card: Card) -> str:
    """The YAML block that the Hugging Face Hub reads."""
    stages = dict.fromkeys(step.stage for step in card.steps if step.stage in ("pretrain", "instruct"))
    languages = dict.fromkeys(data.language for step in card.steps for data in step.data if data.language)
    front = {
        "base_model": _one_line(card.base.name),
        "base_model_relation": "adapter" if card.kind == "adapter" else "finetune",
        "library_name": "peft" if card.kind == "adapter" else "transformers",
        "pipeline_tag": "text-generation",
        "language": sorted(languages),
        "license": card.license,
        "tags": ["medical", "jmed", *stages, *(["lora"] if card.kind == "adapter" else [])],
    }
    return yaml.safe_dump({key: value for key, value in front.items() if value}, allow_unicode=True, sort_keys=False)


def _warnings(steps: Sequence[Step]) -> list[tuple[Ready, Ready]]:
    """What must be read before any score, in English and Japanese."""
    found = ((number, step, _warning(step)) for number, step in enumerate(steps, 1))
    return [
        (
            Ready(f"Step {number} ({_escape(step.name)}): {pair[0]}"),
            Ready(f"段階{number}（{_escape(step.name)}）：{pair[1]}"),
        )
        for number, step, pair in found
        if pair
    ]


def _warning(step: Step) -> tuple[str, str] | None:
    check = step.contamination
    if step.stage == "merge":
        return None
    if step.stage == "unknown":
        return (
            "**THE TRAINING IS UNKNOWN.** It came without a lineage and may have seen the questions of any exam, so no "
            "exam score of this model can be trusted.",
            "**学習内容は不明です。** 来歴の記録がなく、試験問題を学習した可能性があるため、得点は信頼できません。",
        )
    if check is None or check.verdict == "not checked":
        return (
            "**NO CONTAMINATION CHECK RAN.** The training data may hold exam questions, and then scores on them are "
            "worthless.",
            "**学習データに試験問題が混入していないか、確認されていません。** 混入していれば、得点に意味はありません。",
        )
    if (left := check.overlaps - check.dropped) > 0:
        names = _escape(", ".join(check.benchmarks))
        return (
            f"**TRAINED ON EXAM QUESTIONS.** {left:,} training examples hold questions of {names}; scores on these are "
            "worthless.",
            f"**試験問題を学習しています。** 学習例{left:,}件が{names}の問題を含むため、その得点に意味はありません。",
        )
    return None
