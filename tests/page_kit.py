"""What the tests of the pages share: results, identity, answers, and a reader of pages."""

import json
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa

from jmed.data.question import Question
from jmed.evaluation.table import ANSWERS
from jmed.report.page import write_run_page
from jmed.report.questions import Key
from jmed.report.sampling import RunAnswers
from jmed.statistics.intervals import wilson

VOID = {"meta", "input", "br", "hr", "link", "img"}
JSONL = "jsonl:data/own.jsonl"
HASH = "0123456789abcdef" * 4
RAW = {"style", "script"}


class Page(HTMLParser):
    """Text, figures and start tags of a page; fails where tags do not balance."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = {"ja": "", "en": "", None: ""}  # what stands in a span of that language, or in none
        self.figures: list[tuple[str, str, str]] = []  # pointer, form, as shown
        self.loose = ""  # text outside figures, scripts and code
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if RAW & {tag for tag, _ in self.open}:
            return
        languages = (attrs.get("lang") for tag, attrs in reversed(self.open) if tag == "span")
        self.text[next((one for one in languages if one in ("ja", "en")), None)] += data + "\n"
        tag, attrs = self.open[-1] if self.open else ("", {})
        if "data-figure" in attrs:
            self.figures.append((attrs["data-figure"] or "", attrs["data-form"] or "", data))
        elif tag != "code":
            self.loose += data + "\n"


def embedded(html: str) -> Any:
    """The JSON that the page's charts read."""
    return json.loads(html.split('<script type="application/json" id="document">')[1].split("</script>")[0])


def score(benchmark: str, language: str, metric: str, correct: int, n: int) -> dict[str, Any]:
    low, high = wilson(correct, n)
    head = {"benchmark": benchmark, "language": language, "prompt": "choice-text", "method": "generate"}
    value = {"correct": correct, "n": n, "value": correct / n, "ci_low": low, "ci_high": high}
    return {**head, "metric": metric, **value}


def exam(language: str, **changes: Any) -> dict[str, Any]:
    return {
        **{"exam": "igakuqa-2018", "language": language, "correct": 201, "questions": 400},
        **{"points": 251, "max_points": 499, "compulsory_points": 121, "compulsory_max": 200},
        **{"general_points": 130, "general_max": 299, "prohibited_choices": 2, "prohibited_choices_folded": 2},
        **{"text_only_correct": 198, "text_only_questions": 287, "unanswered": 113, "pass_marks": [160, 208]},
        **{"verdict": "undetermined"},
        **changes,
    }


def count(benchmark: str, language: str, asked: int, unread: int, errors: int, **left_out: int) -> dict[str, Any]:
    reasons = {reason.replace("_", " "): n for reason, n in left_out.items()}
    head = {"benchmark": benchmark, "language": language, "asked": asked}
    return {**head, "unread": unread, "errors": errors, "left_out": reasons}


def make_results() -> dict[str, Any]:
    return {
        "model": "tiny-model",
        "scores": [
            score("igakuqa-2018", "en", "accuracy", 1187, 2287),
            score("igakuqa-2018", "ja", "accuracy", 151, 287),
            score("igakuqa-2018", "ja", "exact_match", 97, 280),
            score("igakuqa-2018", "ja", "gestalt_accuracy", 149, 280),
            score(JSONL, "en", "accuracy", 7, 19),
        ],
        "subsets": [
            score("igakuqa-2018", "ja", "accuracy", 151, 287),
            score("jmmlu-anatomy", "en", "accuracy", 52, 131),
            score("jmmlu-anatomy", "ja", "accuracy", 61, 132),
        ],
        "exams": [exam("en"), exam("ja", prohibited_choices=3, prohibited_choices_folded=5)],
        "counts": [
            count("igakuqa-2018", "en", 2287, 0, 0),
            count("igakuqa-2018", "ja", 287, 17, 4, needs_an_image=113, of_a_new_kind=6),
            count(JSONL, "en", 19, 0, 0),
        ],
        "timing": {
            **{"seconds": 3723.4, "questions_asked": 2593, "questions_per_second": 0.697},
            **{"tokens_in": 1234567, "tokens_out": 7654},
        },
    }


def make_identity() -> dict[str, Any]:
    return {
        **{"format": 1, "job": "evaluate", "benchmarks": ["igakuqa-2018", JSONL], "languages": ["ja", "en"]},
        **{"method": "generate", "prompt": None, "shots": 3, "limit": 2400, "scoring": "paper", "max_new_tokens": 77},
        **{"seed": 41, "batch_tokens": 8192, "quantization": "nf4", "dtype": "auto", "templates": "t" + HASH[1:]},
        **{"model": {"model.safetensors": "m" + HASH[1:]}, "adapter": None},
        "data": {"igakuqa/data/2018/112-A.jsonl": "d" + HASH[1:]},
    }


def answer(question_id: str, language: str, prediction: str = "a", **changes: Any) -> dict[str, Any]:
    """A row of answers.parquet; right if `prediction` is a."""
    benchmark, prompt, method = (changes.get(key) or own for key, own in (
        ("benchmark", "igakuqa-2018"), ("prompt", "choice-text"), ("method", "generate")))  # fmt: skip
    stem = {"ja": "痛みの原因はどれか。", "en": "What is the cause of the pain?"}[language]
    return {
        **{"item_id": f"{benchmark}/{question_id}/{language}/{prompt}/{method}", "benchmark": benchmark},
        **{"question_id": question_id, "language": language, "prompt": prompt, "method": method},
        **{
            "model": "tiny-model",
            "prompt_text": f"{stem}\nA. one\nB. two\nAnswer:",
            "choices": ["one", "two", "three"],
        },
        **{"continuations": [], "option_logprobs": [], "response": f"It is {prediction}.", "prediction": prediction},
        **{"gold": "a", "correct": prediction == "a", "exact_match": None, "gestalt_match": None, "error": None},
        **{"tokens_in": 40, "tokens_out": 5},
        **changes,
    }


def question(row: dict[str, Any], **changes: Any) -> Question:
    """The question that a row of answers.parquet answers."""
    shown = {"text": row["prompt_text"].split("\n")[0], "specialty": "内科", "subset": "2018", **changes}
    return Question(row["benchmark"], row["question_id"], row["language"], choices=tuple(row["choices"]),
                    accepted=((row["gold"],),), **shown)  # fmt: skip


def table(rows: Iterable[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=ANSWERS)


def known(rows: Iterable[dict[str, Any]]) -> dict[Key, Question]:
    return {(row["benchmark"], row["question_id"], row["language"]): question(row) for row in rows}


def make_run_page(
    folder: Path, results: dict[str, Any], identity: dict[str, Any], rows: Iterable[dict[str, Any]] | None = None
) -> str:
    """The page of a run as text; `rows` are its answers."""
    rows = list(rows) if rows is not None else [answer("112A1", "ja"), answer("112A1", "en", "b")]
    write_run_page(results, identity, RunAnswers("tiny-model", table(rows)), known(rows), folder / "report.html")
    return (folder / "report.html").read_text("utf-8")
