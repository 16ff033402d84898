"""Reading object storage through pyarrow: what lies there, in which state, and its bytes."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from pyarrow import fs

from jmed.errors import UserError
from jmed.runs.again import again
from jmed.storage.address import Address, safe_path, without_secrets

PARALLEL = 8  # files at a time
BLOCK = 8 * 1024**2  # bytes a request
PAUSES = (0.5, 2.0)  # seconds before the second and the third attempt
CONNECT_SECONDS, SILENT_SECONDS = 10, 60
GOOGLE_SECONDS = 20  # of its own attempts; without a limit it tries for a quarter of an hour
SHOWN = 300  # characters of what the service says
_FINAL = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_SIGNATURE")

Value = TypeVar("Value")


@dataclass(frozen=True)
class Entry:
    """An object in one state: its name below the address that was listed, its size in bytes, its mark."""

    name: str
    size: int
    mark: str  # its ETag; where there is none, the time of its last change


class Trouble(Exception):
    """A request failed, or gave something else than was listed."""


def in_parallel(work: Callable[..., Value], *arguments: Iterable[Any], stop: Callable[[], Any] = bool) -> list[Value]:
    """As `map`, several at a time; the first that fails, or Ctrl-C, ends all: no queue is worked off in vain.

    `stop` is called at the end, before it is waited for what has begun.
    """
    pool = ThreadPoolExecutor(PARALLEL)
    try:
        return list(pool.map(work, *arguments))
    finally:
        stop()
        pool.shutdown(cancel_futures=True)


class Remote:
    """One bucket's service, and the configuration key that named it, for messages."""

    def __init__(self, address: Address, key: str) -> None:
        self.address, self.key = address, key
        self.endpoint = _endpoint() if address.scheme == "s3" else ""
        self.files = self.tried(address, lambda: _file_system(address, self.endpoint))

    def folder(self, below: Sequence[str], wanted: Callable[[str], bool]) -> list[Entry]:
        """Every wanted object below the address (only in these folders of it), by name; unsafe names are refused."""
        names: list[str] = []
        for part in below:
            place = self.address.below(part)
            names += self.tried(place, partial(self._names, place))
        names = sorted(name for name in names if wanted(name))
        self._refuse_unsafe(names)
        return in_parallel(self.entry, names)

    def _names(self, place: Address) -> list[str]:
        found = self.files.get_file_info(fs.FileSelector(place.place, recursive=True, allow_not_found=True))
        return [info.path[len(self.address.place) + 1 :] for info in found if info.type == fs.FileType.File]

    def _refuse_unsafe(self, names: list[str]) -> None:
        known = set(names)
        for name in names:
            path = safe_path(name)
            if path is None or any(str(parent) in known for parent in path.parents):
                raise UserError(
                    f"{self.key}: {self.address.url} holds an object that cannot be a file here: {name!r}; "
                    "expected plain names without .., backslashes or empty parts: rename or remove it"
                )

    def entry(self, name: str) -> Entry:
        """The present state of an object; `name` is empty for the address itself."""
        place = self.address.below(name)
        return self.tried(place, lambda: self._state(name))

    def _state(self, name: str) -> Entry:
        place = self.address.below(name)
        with self.files.open_input_file(place.place) as stream:
            mark = {key.lower(): value for key, value in (stream.metadata() or {}).items()}.get("etag")
            size = stream.size()
        if not mark:
            mark = str(self.files.get_file_info(place.place).mtime_ns).encode()
        return Entry(name, size, mark.decode("utf-8", "replace"))

    def blocks(self, entry: Entry) -> Iterator[bytes]:
        """The bytes of an object in the state that `entry` names; Trouble if they are not had, or are others."""
        got = 0
        try:
            with self.files.open_input_stream(self.address.below(entry.name).place) as stream:
                while block := stream.read(BLOCK):
                    got += len(block)
                    yield block
            now = self._state(entry.name)
        except OSError as error:
            raise Trouble(_first_line(error)) from None
        if now != entry:
            raise Trouble("it was changed while it was copied: run the command again")
        if got != entry.size:
            raise Trouble(f"{got:,} bytes came, {entry.size:,} were announced")

    def tried(self, place: Address, ask: Callable[[], Value]) -> Value:
        """A request, some times if need be; UserError with address and reason."""
        try:
            return again(ask, PAUSES, _may_pass)
        except FileNotFoundError:
            raise UserError(f"{self.key}: there is no object {place.url}{self.where}; check bucket and path") from None
        except (OSError, Trouble) as error:
            raise self.failed(place, _first_line(error)) from None

    def failed(self, place: Address, why: str) -> UserError:
        return UserError(
            f"{self.key}: {place.url} cannot be read{self.where}: {why}; check bucket, path, network and "
            f"credentials ({_HINTS[place.scheme]})"
        )

    @property
    def where(self) -> str:
        """The server, for messages; empty: Amazon's or Google's."""
        return f" at {without_secrets(self.endpoint)}" if self.endpoint else ""


_HINTS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's role; AWS_REGION; AWS_ENDPOINT_URL for a "
    "server other than Amazon's",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or the machine's service account",
}


def _endpoint() -> str:
    """The S3 server, if it is not Amazon's. pyarrow 26 does not read these variables itself."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def _file_system(address: Address, endpoint: str) -> Any:
    if address.scheme == "gs":
        return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=GOOGLE_SECONDS))
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region and not endpoint:
        region = fs.resolve_s3_region(address.bucket)
    return fs.S3FileSystem(
        region=region,
        endpoint_override=endpoint or None,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=SILENT_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=3),
    )


def _may_pass(error: Exception) -> bool:
    if isinstance(error, FileNotFoundError) or any(word in str(error) for word in _FINAL):
        return False
    return isinstance(error, OSError | Trouble)


def _first_line(error: Exception) -> str:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return without_secrets(said if len(said) <= SHOWN else f"{said[:SHOWN]}…")
