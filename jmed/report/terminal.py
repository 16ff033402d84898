"""The figures of a run as a table for the terminal."""

import sys
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.markup import escape as escape_markup
from rich.table import Table

from jmed.untrusted import printable

PIPE_WIDTH = 120  # columns, where there is no terminal to ask
NOTICE = "An exam score is no clearance for clinical use."


def print_results(results: dict[str, Any]) -> None:
    """Model × language × benchmark, then exams, then what was left out; within 80 columns, plain text in a pipe."""
    console = make_console()
    console.print(_scores(results))
    if results["exams"]:
        console.print(_exams(results["exams"]))
    for count in results["counts"]:
        if line := _count_line(count):
            console.print(printable(line), markup=False, soft_wrap=True)
    console.print(NOTICE)


def print_side_by_side(runs: list[tuple[str, dict[str, Any]]]) -> None:
    """The same scores of several runs, one row a run; `runs` are names and their results.json."""
    console = make_console()
    keys = dict.fromkeys(_score_key(score) for _, results in runs for score in results["scores"])
    table = plain_table(
        "scores side by side", ("benchmark", "lang", "metric", "run"), ("correct", "value", "95 % interval")
    )
    for key in keys:
        for name, results in runs:
            for score in results["scores"]:
                if _score_key(score) == key:
                    table.add_row(*map(escape, (*key, name)), *figures(score))
        table.add_section()
    console.print(table)
    console.print(NOTICE)


def make_console(stream: TextIO | None = None) -> Console:
    """`stream` (None: standard output), as wide as the terminal, or as a pipe should be."""
    stream = stream or sys.stdout
    return Console(file=stream, width=None if stream.isatty() else PIPE_WIDTH, highlight=False)


def escape(text: str) -> str:
    """Text as it stands: neither rich's own marks nor the terminal's signs take effect."""
    return escape_markup(printable(text))


def _score_key(score: dict[str, Any]) -> tuple[str, str, str]:
    return score["benchmark"].rsplit("/", 1)[-1], score["language"], score["metric"]


def figures(score: dict[str, Any]) -> tuple[str, str, str]:
    return (
        f"{score['correct']}/{score['n']}",
        f"{100 * score['value']:.1f} %",
        f"{100 * score['ci_low']:.1f} to {100 * score['ci_high']:.1f}",
    )


def plain_table(title: str, left: tuple[str, ...], right: tuple[str, ...]) -> Table:
    """A table without frames; `left` and `right` are the columns by their alignment."""
    table = Table(
        title=escape(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _scores(results: dict[str, Any]) -> Table:
    ways = sorted({f"method {score['method']}, prompt {score['prompt']}" for score in results["scores"]})
    left = ("model", "benchmark", "lang", "metric")
    table = plain_table(f"{results['model']}: {'; '.join(ways)}", left, ("correct", "value", "95 % interval"))
    for score in results["scores"]:
        table.add_row(
            escape(results["model"]),
            *(escape(score[key]) for key in ("benchmark", "language", "metric")),
            *figures(score),
        )
    return table


def _exams(exams: list[dict[str, Any]]) -> Table:
    right = ("points", "compulsory", "general", "prohibited", "verdict")
    table = plain_table("exams: points (pass mark), prohibited choices, verdict", ("exam", "lang"), right)
    for exam in exams:
        compulsory, general = exam["pass_marks"] or ("unknown", "unknown")
        table.add_row(
            escape(exam["exam"]),
            exam["language"],
            f"{exam['points']}/{exam['max_points']}",
            f"{exam['compulsory_points']}/{exam['compulsory_max']} ({compulsory})",
            f"{exam['general_points']}/{exam['general_max']} ({general})",
            str(exam["prohibited_choices"]),
            exam["verdict"],
        )
    return table


def _count_line(count: dict[str, Any]) -> str:
    """`igakuqa ja: 286 asked; left out: 114 needs an image`; empty when there is nothing to say."""
    parts = [f"{n} {reason}" for reason, n in count["left_out"].items()]
    notes = [f"left out: {', '.join(parts)}"] if parts else []
    notes += [
        f"{count[key]} {text}" for key, text in (("unread", "answers unread"), ("errors", "failed")) if count[key]
    ]
    return f"{count['benchmark']} {count['language']}: {count['asked']} asked; {'; '.join(notes)}" if notes else ""
