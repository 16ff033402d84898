"""How a training run went, for the terminal: the loss, and the exam by epoch."""

from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from jmed.report.terminal import NOTICE, figures, make_console


def print_learning(steps: list[dict[str, Any]], exams: list[dict[str, Any]]) -> None:
    """`steps` and `exams` are the lines of train_log.jsonl and exam_log.jsonl."""
    console = make_console()
    console.print(learning_line(steps), markup=False, soft_wrap=True)
    if exams:
        console.print(_exam_table(exams))
        console.print(NOTICE)


def learning_line(steps: list[dict[str, Any]]) -> str:
    """`loss 3.21 → 1.05 (means of the first and last 5 of 100 steps), 12,345 tokens in 0:42`."""
    span, first, last = mean_losses(steps)
    tokens, seconds = sum(row["tokens"] for row in steps), sum(row["seconds"] for row in steps)
    return (
        f"loss {first:.3f} → {last:.3f} (means of the first and last {span} of {len(steps)} steps), "
        f"{tokens:,} tokens in {seconds:,.0f} s"
    )


def mean_losses(steps: list[dict[str, Any]]) -> tuple[int, float, float]:
    """(n, mean loss of the first n steps, of the last n), n being a tenth of the steps, ten at most."""
    span = max(1, min(10, len(steps) // 10))
    first, last = (sum(row["loss"] for row in rows) / span for rows in (steps[:span], steps[-span:]))
    return span, first, last


def _exam_table(exams: list[dict[str, Any]]) -> Table:
    table = Table(title="exam while learning", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name in ("step", "epoch", "benchmark", "lang", "metric"):
        table.add_column(name, overflow="fold")
    for name in ("correct", "value", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in exams:
        table.add_row(
            str(row["step"]),
            f"{row['epoch']:.2f}",
            *(escape(row[key]) for key in ("benchmark", "language", "metric")),
            *figures(row),
        )
    return table
