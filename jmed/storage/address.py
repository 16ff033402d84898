"""Addresses in object storage, as a user writes them: `s3://bucket/path`. Nothing here needs a network or pyarrow."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from jmed.errors import UserError

SCHEMES = ("s3", "gs")
MAX_PART = 200  # bytes of one part of a path; file systems hold 255, and a file on its way has a longer name
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# key:secret@, where the secret may hold a slash; or a name before an @ in the first part.
_SECRET = re.compile(r"(://)(?:[^\s'\"/@:]*:[^\s'\"@]*|[^\s'\"/@]*)@")
_QUERY = re.compile(r"(://[^\s'\"?]*)\?[^\s'\"]*=[^\s'\"]*")
_JSONL = "jsonl:"  # in front of an own benchmark's address


@dataclass(frozen=True)
class Address:
    """An object, or all objects below a path."""

    scheme: str
    bucket: str
    path: str  # no slash at its ends; empty: the whole bucket

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.path}".rstrip("/")

    @property
    def name(self) -> str:
        """The last part, as a file or folder here may be called."""
        return self.path.rpartition("/")[2] or self.bucket

    @property
    def place(self) -> str:
        """As pyarrow writes it: `bucket/path`."""
        return f"{self.bucket}/{self.path}".rstrip("/")

    def below(self, name: str) -> "Address":
        return Address(self.scheme, self.bucket, f"{self.path}/{name}".strip("/"))


def is_url(text: str) -> bool:
    """Whether a value is an address and not a path or a hub id."""
    return _URL.match(text) is not None


def url_in(text: str) -> str | None:
    """The address that a configuration's value holds, such as that in `jsonl:s3://bucket/own.jsonl`."""
    found = text.removeprefix(_JSONL)
    return found if is_url(found) else None


def parse_url(url: str, key: str) -> Address:
    """Take an address apart; UserError if it is none that can be read. Nothing in it is decoded: `%20` stays so."""
    if wrong := problem(url):
        raise UserError(f"{key}: {wrong}")
    scheme, _, rest = url.partition("://")
    bucket, _, path = rest.partition("/")
    path = path.rstrip("/")
    if path and safe_path(path) is None:
        raise UserError(f"{key}: {url} has a path that cannot be a path here; expected one without //, . and ..")
    return Address(scheme, bucket, path)


def problem(url: str) -> str:
    """Why an address is refused, without any secret in it; empty: it is not."""
    if without_secrets(url) != url:
        return (
            f"{without_secrets(url)} holds an access key or a setting; it would end in run.yaml and in logs: give "
            "s3://bucket/path alone, and keys by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) on every "
            "machine, or by the machine's role; the endpoint by AWS_ENDPOINT_URL"
        )
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        known = " or ".join(f"{one}://" for one in SCHEMES)
        return f"{url} cannot be read; expected {known} and bucket/path, a folder or a file that this machine sees"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", rest.partition("/")[0]):
        return f"{url} names no bucket; expected {scheme}://bucket/path"
    return ""


def without_secrets(text: str) -> str:
    """A text whose addresses show no keys: `s3://***@bucket/path`, `s3://bucket/path?***`."""
    return _QUERY.sub(r"\1?***", _SECRET.sub(r"\1***@", text))


def safe_path(name: str) -> PurePosixPath | None:
    """A path below a folder, from a name that a stranger chose; None: it is none, or would lead out of the folder."""
    parts = name.split("/")
    for part in parts:
        if part in ("", ".", "..") or "\\" in part or not part.isprintable() or part != part.strip():
            return None
        if len(part.encode("utf-8", "replace")) > MAX_PART or re.match(r"[A-Za-z]:", part):
            return None
    return PurePosixPath(*parts)
