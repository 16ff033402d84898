"""python -m jmed.data fetch FAMILY …, and python -m jmed.data list."""

import argparse
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jmed.errors import UserError
from jmed.storage.address import is_url, without_secrets
from jmed.untrusted import message

if TYPE_CHECKING:
    from rich.table import Table

    from jmed.data.catalogue import Family

_NOTHING_TO_FETCH = ("present", "shipped", "unreadable", "not looked for")
_PIPE_WIDTH = 240  # no line of the table is longer: it is never wrapped where nobody looks at it


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 the user can mend it, 1 anything else."""
    asked = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a letter shows another one instead
    try:
        return _fetch(asked) if asked.command == "fetch" else _list(asked.data_root)
    except UserError as error:
        print(message(str(error)), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jmed.data", description="The benchmark files.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="fetch|list")
    about = "fetch benchmark files from their publishers and check them"
    fetch = commands.add_parser("fetch", help=about, description=about, allow_abbrev=False)
    fetch.add_argument("families", nargs="+", metavar="FAMILY", help="such as igakuqa; `list` shows all")
    _add_data_root(fetch, required=True)
    fetch.add_argument("--mirror", default="", metavar="URL", help="take https://HOST/PATH from URL/HOST/PATH")
    fetch.add_argument("--force", action="store_true", help="replace files that are there with another content")
    about = "show the benchmarks, what is in them and which files are there"
    _add_data_root(commands.add_parser("list", help=about, description=about, allow_abbrev=False), required=False)
    return parser


def _add_data_root(parser: argparse.ArgumentParser, required: bool) -> None:
    about = "the folder that holds the benchmarks, each in a folder of its own"
    parser.add_argument("--data_root", "--data-root", type=_folder, required=required, metavar="DIR", help=about)


def _folder(text: str) -> Path:
    if is_url(text):
        found = without_secrets(text)
        raise argparse.ArgumentTypeError(f"found {found}; expected a folder: fetch there, then copy the files")
    return Path(text)


# ---- fetch


def _fetch(asked: argparse.Namespace) -> int:
    """Every family asked for; one that has to be fetched by hand does not keep the others from being fetched."""
    from jmed.data.fetch import ByHand, fetch
    from jmed.data.sources import check_names

    check_names(asked.families)
    by_hand = []
    for family in asked.families:
        try:
            fetch(family, asked.data_root, mirror=asked.mirror, force=asked.force, say=_say)
        except ByHand as error:
            by_hand.append(str(error))
    if by_hand:
        raise UserError("\n".join(by_hand))
    return 0


def _say(line: str) -> None:
    print(line, flush=True)  # a download is watched as it goes, also through a pipe


# ---- list


@dataclass
class _Entry:
    """A family as the list shows it."""

    family: "Family"
    state: str
    parts: list[str] = field(default_factory=list)
    counts: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # questions, with an image, withdrawn
    trouble: str = ""  # why its files cannot be read


def _list(data_root: Path | None) -> int:
    from jmed.data.catalogue import FAMILIES

    if data_root is not None and not data_root.is_dir():
        raise UserError(f"--data_root: there is no folder {data_root}; to make one: python -m jmed.data fetch …")
    entries = [_entry(family, data_root) for name, family in FAMILIES.items() if name != "jsonl"]
    _print(_table(entries))
    for line in _below(entries, data_root):
        print(line)
    return 0


def _entry(family: "Family", data_root: Path | None) -> _Entry:
    from jmed.data.catalogue import load, parts_of

    state = _state(family, data_root)
    if state in ("missing", "not looked for"):
        return _Entry(family, state)
    entry = _Entry(family, state, [part for part in parts_of(family.name, data_root) if part])
    try:
        for language in family.languages:
            questions = load(family.name, language, data_root)
            images = sum(question.needs_image for question in questions)
            entry.counts[language] = len(questions), images, sum(question.withdrawn for question in questions)
    except UserError as error:
        entry.state, entry.counts, entry.trouble = "unreadable", {}, message(str(error))
    return entry


def _state(family: "Family", data_root: Path | None) -> str:
    """Whether the files are there: all that the project knows of the publisher's, some, or none that hold questions."""
    from jmed.data.catalogue import parts_of
    from jmed.data.sources import present, sources

    if not family.layout:
        return "shipped"
    if data_root is None:
        return "not looked for"
    if not (parts_of(family.name, data_root) if family.part else (data_root / family.layout).exists()):
        return "missing"
    source = sources().get(family.name)
    if source is None:
        return "present"  # nothing is known of what belongs to it
    there, known = present(source, data_root), len(source.files)
    return "present" if there == known else f"{there} of {known} files"


def _table(entries: Sequence[_Entry]) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), highlight=False)
    table.add_column("benchmark", no_wrap=True)
    table.add_column("lang", no_wrap=True)
    for name in ("questions", "image", "withdrawn"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("files", no_wrap=True)
    table.add_column("licence")
    for entry in entries:
        family = entry.family
        licence = family.licence.partition(";")[0]  # the name; `fetch` shows what else there is to say
        for language in family.languages:
            counts = [str(count) for count in entry.counts.get(language, ("", "", ""))]
            table.add_row(family.name, language, *counts, entry.state, licence)
    return table


def _print(table: "Table") -> None:
    """The table; no colour, no wrapping and no spaces at the ends of lines where a program reads it."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, no_color=not terminal or None)
    console.width = Console().width if terminal else _PIPE_WIDTH
    console.print(table)
    print("\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n"))


def _below(entries: Sequence[_Entry], data_root: Path | None) -> list[str]:
    """What does not fit into a table: names of parts, what is wrong, and the command for what is missing."""
    lines = ["image: questions that need a picture; withdrawn: questions that the examiner took out of the marking"]
    for entry in entries:
        if entry.parts:
            lines.append(f"{entry.family.name}-{entry.family.part.upper()}: {', '.join(entry.parts)}")
    lines += [f"{entry.family.name}: {entry.trouble}" for entry in entries if entry.trouble]
    lines.append("jsonl:PATH: your own questions, one a line")
    missing = [entry.family.name for entry in entries if entry.state not in _NOTHING_TO_FETCH]
    if data_root is None:
        lines.append("To see which files are there: python -m jmed.data list --data_root DIR")
    elif missing:
        lines.append(f"To fetch what is missing: python -m jmed.data fetch {' '.join(missing)} --data_root {data_root}")
    return ["", *lines]


if __name__ == "__main__":
    sys.exit(main())
