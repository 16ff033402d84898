"""The preflight's memory table for the terminal."""

import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jmed.report.terminal import PIPE_WIDTH

GIB = 1 << 30
PARTS = ("weights", "adapters", "gradients", "optimizer", "activations", "logits", "overhead")


def print_memory(preflight: dict[str, Any]) -> None:
    """`preflight` is the content of preflight.json; one column a place, so that 80 columns hold two or three."""
    console = Console(file=sys.stderr, width=None if sys.stderr.isatty() else PIPE_WIDTH, highlight=False)
    batch = preflight["batch"]
    console.print(
        f"memory of a worker in GiB, predicted for the largest batch ({batch['rows']} x {batch['width']} tokens)",
        style="bold",
        soft_wrap=True,
    )
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    rows = preflight["workers"]
    for row in rows:
        table.add_column(escape(f"{row['device']}, {row['dtype']}\n{row['machine']}"), justify="right", overflow="fold")
    for part in PARTS:
        table.add_row(part, *(_gib(row["parts"][part]) for row in rows))
    on_cpu = [row["device"] == "CPU" for row in rows]
    table.add_row(
        "libraries, loading", *(_gib(row["host_needed"]) if cpu else "" for row, cpu in zip(rows, on_cpu, strict=True))
    )
    table.add_section()
    table.add_row("needed", *(_gib(row["needed"]) for row in rows))
    table.add_row("available", *(_gib(row["available"]) for row in rows))
    if not all(on_cpu):
        table.add_row("host memory", *(_gib(row["host_needed"]) for row in rows))
    table.add_row("verdict", *("fits" if row["fits"] else "does not fit" for row in rows))
    console.print(table)


def _gib(count: int) -> str:
    return f"{count / GIB:.2f}" if not 0 < count < GIB // 200 else "<0.01"
