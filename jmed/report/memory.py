"""The preflight's memory table for the terminal."""

import sys
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from jmed.report.terminal import make_console

GIB, MIB = 1 << 30, 1 << 20
PARTS = ("weights", "adapters", "gradients", "optimizer", "activations", "logits", "overhead")
COLUMNS = 3  # places side by side; so many fit into 80 columns
NAME_WIDTH = 18  # columns of the terminal for the name of a place


def print_memory(preflight: dict[str, Any]) -> None:
    """`preflight` is the content of preflight.json. One column a kind of place, the tightest of its kind; GiB."""
    console = make_console(sys.stderr)
    batch = preflight["batch"]
    console.print(
        f"memory of a worker in GiB, predicted for the largest batch ({batch['rows']} x {batch['width']} tokens)",
        style="bold",
        soft_wrap=True,
    )
    kinds = _kinds(preflight["workers"])
    for first in range(0, len(kinds), COLUMNS):
        console.print(_table(kinds[first : first + COLUMNS]))
    for note in preflight["notes"]:
        console.print(note, markup=False, soft_wrap=True)


def size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.0f} MiB"


def _kinds(rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], int]]:
    """Of the rows that differ only in the machine the one with least memory, and how many they are; the worst first."""
    kinds: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault((row["device"], row["dtype"], row["needed"], row["fits"]), []).append(row)
    tightest = [(min(alike, key=lambda row: row["available"]), len(alike)) for alike in kinds.values()]
    return sorted(tightest, key=lambda kind: kind[0]["available"] - (kind[0]["needed"] or 0))


def _table(kinds: list[tuple[dict[str, Any], int]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    for row, count in kinds:
        name = f"{row['device']}\n{row['dtype']}\n{row['machine']}" + (f"\nand {count - 1} more" if count > 1 else "")
        table.add_column(escape(name), justify="right", overflow="fold", max_width=NAME_WIDTH)
    rows = [row for row, _ in kinds]
    on_gpu = any(row["device"] != "CPU" for row in rows)
    for part in PARTS:
        table.add_row(part, *(_gib(row["parts"] and row["parts"][part]) for row in rows))
    if not on_gpu:
        table.add_row("libraries, loading", *(_gib(row["host_needed"]) for row in rows))
    table.add_row("worst moment", *(row["moment"] or "not known" for row in rows))
    table.add_section()
    table.add_row("needed", *(_gib(row["needed"]) for row in rows))
    table.add_row("available", *(_gib(row["available"]) for row in rows))
    if on_gpu:
        table.add_row("host, needed", *(_gib(row["host_needed"]) for row in rows))
        table.add_row("host, available", *(_gib(row["host_available"]) for row in rows))
    table.add_row("verdict", *(_verdict(row) for row in rows))
    return table


def _verdict(row: dict[str, Any]) -> str:
    return {True: "fits", False: "does not fit", None: "not known"}[row["fits"]]


def _gib(count: int | None) -> str:
    if count is None:
        return "not known"
    return f"{count / GIB:.2f}" if not 0 < count < GIB // 200 else "<0.01"
