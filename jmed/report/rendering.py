"""Templates, style and scripts become a page: one file that needs no network and may run only its own scripts."""

import base64
import hashlib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jmed import __version__
from jmed.report.figures import Figures, at
from jmed.report.questions import Questions
from jmed.report.words import pair, text, word, words
from jmed.runs.files import whole
from jmed.scoring.exam import MOST_PROHIBITED
from jmed.untrusted import printable

LIBRARIES = ("vendor/d3.min.js", "vendor/plot.min.js")
SCRIPTS = ("dom", "language", "download", "charts", "run_charts", "comparison_charts", "question", "questions", "main")
STYLES = ("page", "tables", "questions", "print")


def write_page(template: str, document: dict[str, Any], questions: Questions, file: Path, **values: Any) -> None:
    """Write a page piece by piece: whole or not at all. `document` is the JSON that all its figures come from."""
    scripts = [*map(read_asset, LIBRARIES), own_script()]
    pieces = (
        _environment()
        .get_template(template)
        .generate(
            document=document,
            figure=Figures(document),
            questions=questions,
            scripts=[Markup(one) for one in scripts],  # our own and the libraries', never a stranger's
            style=Markup("\n".join(read_asset(f"assets/{name}.css") for name in STYLES)),
            hashes=[_hash(one) for one in scripts],
            **values,
        )
    )
    with whole(file) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(pieces)


def own_script() -> str:
    """The page's own scripts as one, with names that nothing else sees."""
    return "\n".join(['{ "use strict";', *(read_asset(f"assets/{name}.js") for name in SCRIPTS), "}"])


@cache
def read_asset(name: str) -> str:
    """A file of this package."""
    return resources.files(__package__).joinpath(name).read_text("utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_finalize,
    )  # fmt: skip
    environment.globals |= {
        "t": text, "at": at, "words": words, "version": __version__, "most_prohibited": MOST_PROHIBITED,
    }  # fmt: skip
    environment.filters |= {
        "word": lambda key: pair(*map(printable, word(key))),
        "en": lambda key: word(key)[0],
        "ja": lambda key: word(key)[1],
    }
    return environment


def _finalize(value: Any) -> Any:
    """Signs that would move or reverse the text of a page are written as their escapes, whoever put them in."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _hash(script: str) -> str:
    """The hash by which the page's policy lets a script run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
