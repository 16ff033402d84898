"""Reading JSON lines, JSON and CSV so that whatever is wrong is said with file, line, what was found and expected."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from jmed.errors import UserError
from jmed.untrusted import MAX_BYTES, known_format, open_regular, printable, readable_size, shown

_ENCODING = "expected UTF-8 (a Shift_JIS file: iconv -f CP932 -t UTF-8)"
MAX_NAME = 200  # characters of a question's id, or of any other name
LIMIT = readable_size(MAX_BYTES)  # of a line of JSON lines, and of a whole JSON or CSV file
_LISTED = 20  # so many fields are listed in a message


@dataclass(frozen=True, slots=True)
class Record:
    """One object of a file, with the place it came from; every getter raises UserError with that place."""

    path: Path
    line: int  # counted from 1; 0: the file as a whole
    fields: Mapping[str, Any]
    inside: str = ""  # names of the objects around it, such as "ja."

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}" if self.line else str(self.path)

    @property
    def listed(self) -> str:
        """The names of the fields, for messages."""
        names = [printable(name[:MAX_NAME]) for name in list(self.fields)[:_LISTED]]
        return ", ".join(names + ["…"] * (len(self.fields) > _LISTED)) or "none"

    def error(self, message: str) -> UserError:
        """An error about this record, to be raised by the caller."""
        return UserError(f"{self.place}: {message}")

    def text(self, name: str, default: str | None = None) -> str:
        """Text exactly as published; with a default, the field may be missing or null."""
        if default is not None and self.fields.get(name) is None:
            return default
        return self._checked(name, self._value(name, str, "text"))

    def name(self, name: str) -> str:
        """A short text on one line that can stand in tables, messages and ids: no control or invisible signs.

        It may hold anything else ("../x" too), and is never the name of a file.
        """
        value = self.text(name)
        self.check_name(value, self._label(name))
        return value

    def check_name(self, value: str, label: str = "a field's name") -> None:
        """UserError if a text cannot be a name."""
        if not value.strip():
            raise self.error(f"{label} is empty; expected text")
        if len(value) > MAX_NAME:
            raise self.error(f"{label} has {len(value):,} characters; expected at most {MAX_NAME}")
        if not value.isprintable() and (hidden := next((sign for sign in value if not shown(sign)), "")):
            raise self.error(f"{label} holds the sign {printable(hidden)}; expected none that is invisible")

    def strings(self, name: str) -> tuple[str, ...]:
        """A list of texts, possibly empty."""
        values = self._value(name, list, "a list of texts")
        for number, value in enumerate(values, 1):
            if not isinstance(value, str):
                raise self.error(f"{self._label(name)}: item {number} is {_kind(value)}; expected text")
            self._checked(name, value)
        return tuple(values)

    def flag(self, name: str) -> bool:
        return self._value(name, bool, "true or false")

    def number(self, name: str) -> int:
        """A whole number that is not negative, as a number or, as many publishers write it, as text."""
        value = self._present(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
            return int(value)
        raise self.error(f"{self._label(name)} is {_shown(value)}; expected a whole number")

    def record(self, name: str) -> "Record":
        """The object that a field holds."""
        value = self._value(name, dict, "an object")
        return Record(self.path, self.line, value, f"{self.inside}{name}.")

    def _label(self, name: str) -> str:
        return f"field {self.inside + name!r}"

    def _present(self, name: str) -> Any:
        if name not in self.fields:
            raise self.error(f"{self._label(name)} is missing; fields found: {self.listed}")
        return self.fields[name]

    def _value(self, name: str, kind: type, expected: str) -> Any:
        value = self._present(name)
        if not isinstance(value, kind):
            raise self.error(f"{self._label(name)} is {_kind(value)}; expected {expected}")
        return value

    def _checked(self, name: str, value: str) -> str:
        # JSON can write half of a surrogate pair ("\ud83d"): it is no character, and nothing could store it later.
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self.error(f"{self._label(name)} holds half of a surrogate pair; expected valid Unicode") from None
        return value


def read_jsonl(path: Path) -> Iterator[Record]:
    """The objects of a JSON-lines file; blank lines are skipped and a byte order mark is accepted."""
    with _open(path) as stream:
        for line, raw in enumerate(_lines(stream, path), 1):
            text = _decoded(raw, path, line)
            if text and not text.isspace():
                yield Record(path, line, _object(text.rstrip("\r\n"), path, line))


def read_object(path: Path) -> Record:
    """A JSON file that holds one object."""
    with _open(path) as stream:
        raw = _whole(stream, path)
    return Record(path, 0, _object(_decoded(raw, path, 1), path, 1))


def read_csv(path: Path, names: Sequence[str]) -> Iterator[Record]:
    """The rows of a CSV file without a header, as records whose fields have these names."""
    with _open(path) as stream:
        text = _decoded(_whole(stream, path), path, 1)
    # newline="" keeps line breaks inside fields as published; strict finds a quotation mark that is never closed.
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = rows.line_num + 1  # fields may hold line breaks: a row is named by its first line
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{path}:{line}: not CSV: {error}; expected {', '.join(names)}") from None
        if not row:
            continue
        if len(row) != len(names):
            expected = f"expected {len(names)}: {', '.join(names)}"
            raise UserError(f"{path}:{line}: the row has {len(row)} columns; {expected}")
        yield Record(path, line, dict(zip(names, row, strict=True)))


def _open(path: Path) -> IO[bytes]:
    """A file that is open at its beginning; UserError if it is none, or of a kind that is known to be no text."""
    try:
        stream = open_regular(path)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:  # a folder, no permission; ValueError: a name that no file can have
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if kind := known_format(stream.read(8)):
        stream.close()
        raise UserError(f"{path}: is {kind}; expected plain UTF-8 text (JSON lines, JSON or CSV): convert or unpack it")
    stream.seek(0)
    return stream


def _lines(stream: IO[bytes], path: Path) -> Iterator[bytes]:
    """The lines of a file; one that is too long is never held in memory."""
    line = 0
    while raw := stream.readline(MAX_BYTES + 1):
        line += 1
        if len(raw) > MAX_BYTES:
            raise UserError(f"{path}:{line}: the line is longer than {LIMIT}; expected one object a line")
        yield raw


def _whole(stream: IO[bytes], path: Path) -> bytes:
    raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise UserError(f"{path}: is larger than {LIMIT}; expected a benchmark's file, which is smaller")
    return raw


def _decoded(raw: bytes, path: Path, line: int) -> str:
    """Bytes that begin on this line as text; only the first line may carry a byte order mark."""
    try:
        return raw.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        bad = line + raw[: error.start].count(b"\n")
        raise UserError(f"{path}:{bad}: byte 0x{raw[error.start]:02x} is not UTF-8; {_ENCODING}") from None


def _object(text: str, path: Path, line: int) -> dict[str, Any]:
    """One JSON object that begins on this line of the file."""
    try:
        value = _decode(text)
    except json.JSONDecodeError as error:
        found = f"{error.msg} at column {error.colno}"
        raise UserError(f"{path}:{line + error.lineno - 1}: not JSON: {found}; expected a JSON object") from None
    except (ValueError, RecursionError) as error:  # a repeated field, an endless number, a thousand brackets
        raise UserError(f"{path}:{line}: {error}; expected a JSON object") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}:{line}: found {_kind(value)}; expected a JSON object")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose fields all differ: JSON would silently keep only the last of two that share a name."""
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = next(name for name, n in Counter(name for name, _ in pairs).items() if n > 1)
        raise ValueError(f"field {repeated!r} appears twice")
    return found


_decode = json.JSONDecoder(object_pairs_hook=_without_repeats).decode
_KINDS = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "null")


def _shown(value: object) -> str:
    """A found value for a message: itself when short, its kind otherwise."""
    if isinstance(value, list | dict) or value is None:
        return _kind(value)
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}…"
