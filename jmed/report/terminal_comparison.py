"""A comparison for the terminal: its sentences, and the two tables that most people look for."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from jmed.report.terminal import escape, figures, make_console, plain_table
from jmed.untrusted import printable

SHOWN = 30  # pairs


def print_comparison(comparison: Mapping[str, Any]) -> None:
    """`comparison` is the content of comparison.json."""
    console = make_console()
    if comparison["leaderboards"]:
        console.print(_ranks(comparison["leaderboards"]))
    if comparison["pairs"]:
        console.print(_pairs(comparison["pairs"]))
    for sentence in comparison["summary"]:
        console.print(printable(sentence["en"]), markup=False, soft_wrap=True)


def _ranks(boards: list[dict[str, Any]]) -> Table:
    table = plain_table("ranks", ("benchmark", "lang", "run"), ("rank", "correct", "value", "95 % interval"))
    for board in boards:
        for rank in board["ranks"]:
            place = f"{rank['best']}" if rank["best"] == rank["worst"] else f"{rank['best']}-{rank['worst']}"
            table.add_row(*map(escape, (board["benchmark"], board["language"], rank["run"])), place, *figures(rank))
        table.add_section()
    return table


def _pairs(pairs: list[dict[str, Any]]) -> Table:
    more = f" ({len(pairs) - SHOWN} more in comparison.json)" if len(pairs) > SHOWN else ""
    title = f"second minus first, in points{more}"
    table = plain_table(title, ("benchmark", "lang", "first", "second"), ("difference", "95 % interval", "p (Holm)"))
    for pair in pairs[:SHOWN]:
        table.add_row(
            *(escape(pair[key]) for key in ("benchmark", "language", "first", "second")),
            f"{100 * pair['difference']:+.1f}",
            f"{100 * pair['ci_low']:+.1f} to {100 * pair['ci_high']:+.1f}",
            f"{pair['p_holm']:.3g}",
        )
    return table
