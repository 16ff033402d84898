"""One table of all that was timed, at the end."""

from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Row:
    """What was timed, beside what: how many times as fast or as small jmed is, and what was aimed at."""

    work: str
    beside: str
    ratios: tuple[float, ...]  # one a pair
    goal: float
    below: bool = False  # the goal is a most, not a least
    note: str = ""

    def line(self) -> str:
        ordered = sorted(self.ratios)
        median = ordered[len(ordered) // 2]
        reached = median <= self.goal if self.below else median >= self.goal
        sign, verdict = "≤" if self.below else "≥", "reached" if reached else "**not reached**"
        spread = f" ({ordered[0]:.2f}, {ordered[-1]:.2f})" if len(ordered) > 1 else ""
        return (
            f"| {self.work} | {self.beside} | {median:.2f}{spread} | {sign} {self.goal:g} | {verdict} | {self.note} |"
        )


class Table(list[Row]):
    """Shows each row when it comes: the whole takes half an hour."""

    def append(self, row: Row) -> None:
        super().append(row)
        print(f"\n{row.line()}", flush=True)


_rows = Table()


@pytest.fixture(scope="session")
def table() -> list[Row]:
    return _rows


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _rows:
        terminalreporter.write_line("")
        for line in (
            "| work | beside | ratio: median (least, most) | goal | | |",
            "|---|---|---|---|---|---|",
            *(row.line() for row in _rows),
        ):
            terminalreporter.write_line(line)
