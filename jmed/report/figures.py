"""Figures of a page: each is looked up in the JSON beside the page, and says in `data-figure` where it stands there."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from markupsafe import Markup

from jmed.untrusted import printable

MISSING = "–"
FORMS: dict[str, Callable[[Any], str]] = {
    "text": lambda text: printable(str(text)),  # a sentence that holds figures
    "number": lambda n: f"{n:,}",
    "percent": lambda share: f"{100 * share:.1f}",
    "signed": lambda share: f"{100 * share:+.1f}".replace("-", "−"),  # a difference of two shares, in points
    "decimal": lambda x: f"{x:.3f}",
    "p": lambda p: f"{p:.3f}" if p >= 0.001 else "<0.001",
    "amount": lambda x: f"{x:,.1f}" if abs(x) < 1000 else f"{x:,.0f}",
    "duration": lambda seconds: f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds))),
}


def find(data: Any, pointer: str) -> Iterator[Any]:
    """Every value that a JSON pointer (RFC 6901) names; `*` stands for all members of a list or an object."""
    if not pointer:
        yield data
        return
    head, _, rest = pointer[1:].partition("/")
    rest = f"/{rest}" if _ else ""
    if head == "*":
        for member in data.values() if isinstance(data, dict) else data:
            yield from find(member, rest)
    else:
        key = head.replace("~1", "/").replace("~0", "~")
        yield from find(data[key] if isinstance(data, dict) else data[int(key)], rest)


def at(*keys: str | int) -> str:
    """The JSON pointer of keys and places: `at("scores", 0, "value")` is `/scores/0/value`."""
    return "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in keys)


class Figures:
    """Shows the figures of one JSON document."""

    def __init__(self, document: Any) -> None:
        self.document = document

    def value(self, pointer: str) -> Any:
        """The value at a pointer; where it holds a `*`, the sum of all that it names."""
        found = list(find(self.document, pointer))
        return sum(found) if "*" in pointer else found[0]

    def __call__(self, pointer: str, form: str = "number") -> Markup:
        """A figure as the page shows it."""
        value = self.value(pointer)
        shown = MISSING if value is None else FORMS[form](value)
        return Markup('<span data-figure="{}" data-form="{}">{}</span>').format(pointer, form, shown)
