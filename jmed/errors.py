"""The errors that have a meaning of their own: what the user can mend, and what going on cannot mend."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: a job prints it on standard error and exits with 2.

    The message names the key or the file and line, what was found, what is expected, and what to do.
    """


class GaveUp(RuntimeError):
    """Going on would only repeat what has failed again and again."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint such as `; did you mean 'igakuqa'?`, or an empty string when nothing is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
