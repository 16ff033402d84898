"""What strangers wrote: files are opened, read and shown so that they cannot hang, flood or deceive."""

import errno
import os
import stat
import unicodedata
from io import BufferedReader
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 16 * 1024**2  # of one line, or of a file that is parsed as a whole
MAX_YAML = 256 * 1024  # bytes of a YAML file, which is parsed slowly
MAX_MESSAGE = 20_000  # characters of an error message

_SIGNATURES = {
    b"PAR1\x15": "a Parquet file",
    b"ARROW1\0\0": "an Arrow file",
    b"\x1f\x8b": "compressed by gzip",
    b"BZh91AY&": "compressed by bzip2",
    b"\xfd7zXZ\0": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"PK\x03\x04": "a zip archive (as Excel files are)",
    b"%PDF-": "a PDF",
}
# Control and format signs (escape sequences of a terminal, signs that reverse the writing), surrogates, line ends.
_UNSHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading; OSError also for a pipe or a device, which might wait or go on for ever.

    ValueError: a name that no file can have.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer would wait
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise OSError(errno.EINVAL, "it is a pipe or a device; expected a file")


def read_whole(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The content of a file; OSError if it is larger than `limit` bytes."""
    with open_regular(path) as stream:
        raw = stream.read(limit + 1)
    if len(raw) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {readable_size(limit)}")
    return raw


def readable_size(count: int) -> str:
    """A number of bytes for a message: `16 MiB`, `256 KiB`."""
    return f"{count // 1024**2} MiB" if count >= 1024**2 else f"{count // 1024} KiB"


def known_format(start: bytes) -> str:
    """What a file is by its first bytes, such as `a Parquet file`; empty if they are no known signature."""
    return next((name for mark, name in _SIGNATURES.items() if start.startswith(mark)), "")


class PlainLoader(yaml.SafeLoader):
    """YAML without aliases: a few lines of them can stand for more values than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None, None, f"found the alias *{event.anchor}; write its value out", event.start_mark
            )
        return super().compose_node(parent, index)


def printable(text: str) -> str:
    """Text as a terminal may show it: every sign that would move, colour or reverse it is written as its escape."""
    return "".join(sign if shown(sign) else _escape(sign) for sign in text)


def shown(sign: str) -> bool:
    """Whether a sign only shows itself."""
    return unicodedata.category(sign) not in _UNSHOWN


def message(text: str) -> str:
    """An error message as a terminal may show it, with its line ends, and never endless."""
    cut = f"… ({len(text) - MAX_MESSAGE:,} more characters)" if len(text) > MAX_MESSAGE else ""
    return "\n".join(map(printable, text[:MAX_MESSAGE].split("\n"))) + cut


def _escape(sign: str) -> str:
    return sign.encode("unicode_escape", "surrogatepass").decode("ascii")
