"""Copies of objects on this machine: each file whole or not at all, each state of a folder in a folder of its own.

`CACHE/ADDRESS/STATE/name`: ADDRESS is the hash of the address, STATE that of all names, sizes and marks below it. What
a job has found stays as it is, also if the objects change later and another job copies them again; and two machines
that hold the same STATE hold the same files.
"""

import errno
import hashlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from jmed.errors import UserError
from jmed.runs.again import again
from jmed.runs.files import whole
from jmed.storage.address import parse_url
from jmed.storage.names import copy_of, keep
from jmed.storage.remote import PAUSES, Entry, Remote, Trouble, in_parallel

SPARE = 64 * 1024**2  # bytes that stay free
PART = ".part"  # a state that is not whole yet
_SAY_SECONDS = 10.0  # between two lines on how far a copy is


def local_file(url: str, key: str) -> Path:
    """A copy of an object on this machine, in its present state; UserError names the configuration's `key`."""
    remote = Remote(parse_url(url, key), key)
    return keep(url, _mirror(remote, [remote.entry("")]))


def local_folder(
    url: str, key: str, below: Sequence[str] = ("",), wanted: Callable[[str], bool] = lambda name: True, what: str = ""
) -> Path:
    """A copy of the objects below an address whose names (below it) are wanted, only from these folders of it.

    There must be some in each; `what` says in a message what was looked for.
    """
    remote = Remote(parse_url(url, key), key)
    entries = remote.folder(below, wanted)
    for part in below:
        if not any(entry.name.startswith(part) for entry in entries):
            raise UserError(
                f"{key}: found no {what or 'objects'} below {remote.address.below(part).url}/{remote.where}; "
                "check bucket and path"
            )
    return keep(url, _mirror(remote, entries))


def copied_file(url: str, key: str) -> Path:
    """The copy of an object that this process has made already, else a new one."""
    return copy_of(url) or local_file(url, key)


def cache_folder() -> Path:
    """`$JMED_CACHE`, or the user's folder for caches."""
    given = os.environ.get("JMED_CACHE")
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "jmed"
    return base.expanduser().absolute() / "storage"


# --- copying


def _mirror(remote: Remote, entries: Sequence[Entry]) -> Path:
    """The folder or file with these objects; what is not there yet is copied."""
    home = cache_folder() / _digest([remote.endpoint, remote.address.url])
    there = home / _digest([[entry.name, entry.size, entry.mark] for entry in entries])
    files = {there / remote.address.name / entry.name: entry for entry in entries}
    try:
        if not _are_whole(files):
            cache_folder().mkdir(mode=0o700, parents=True, exist_ok=True)  # what is copied may be for few eyes only
            home.mkdir(exist_ok=True)
            with _alone(home, remote):
                if not _are_whole(files):  # another process may have copied them meanwhile
                    _copy_state(remote, there, entries)
    except OSError as error:
        raise _no_cache(remote, error) from None
    return there / remote.address.name


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _are_whole(files: dict[Path, Entry]) -> bool:
    """Whether the files are there; somebody may have cleared away a part of them."""
    return all(file.is_file() and file.stat().st_size == entry.size for file, entry in files.items())


@contextmanager
def _alone(home: Path, remote: Remote) -> Iterator[None]:
    """Only one process of this machine copies from an address at a time; the others wait, and find its copy."""
    lock = FileLock(home / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for another process that copies {remote.address.url}", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _copy_state(remote: Remote, there: Path, entries: Sequence[Entry]) -> None:
    """Copy into a folder beside `there` that takes its place when it is whole; one that was left unfinished goes on."""
    part = there.with_name(there.name + PART)
    if there.exists():  # a part of it was cleared away
        shutil.rmtree(part, ignore_errors=True)
        there.rename(part)
    files = {part / remote.address.name / entry.name: entry for entry in entries}
    for stray in [path for path in part.rglob("*") if path.is_file() and path not in files]:
        stray.unlink()  # left by a process that was killed
    missing = {file: entry for file, entry in files.items() if not _are_whole({file: entry})}
    size = sum(entry.size for entry in missing.values())
    _check_room(remote, there.parent, size)
    print(f"copying {remote.address.url}: {len(missing)} files, {_gigabytes(size)}, to {there}", file=sys.stderr)
    meter = _Meter(size)
    in_parallel(partial(_copy, remote, meter), missing, missing.values(), stop=meter.stop)
    part.rename(there)


def _check_room(remote: Remote, folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        raise UserError(
            f"{remote.key}: {remote.address.url} needs {_gigabytes(size)} on this machine, and the disk of "
            f"{cache_folder()} has {_gigabytes(free)} free; make room there, or let JMED_CACHE name a folder on "
            "another disk"
        )


def _copy(remote: Remote, meter: "_Meter", file: Path, entry: Entry) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)

    def once() -> None:
        with whole(file) as temporary, temporary.open("wb") as stream:
            for block in remote.blocks(entry):
                if meter.stopped:
                    raise Trouble("stopped")
                stream.write(block)
                meter.add(len(block))

    try:
        again(once, PAUSES, lambda error: isinstance(error, Trouble) and not meter.stopped)
    except Trouble as error:
        raise remote.failed(remote.address.below(entry.name), str(error)) from None


class _Meter:
    """Counts the bytes of all threads and says now and then how far the copy is."""

    def __init__(self, size: int) -> None:
        self.size, self.done, self.stopped = size, 0, False
        self.said, self.lock = time.monotonic(), threading.Lock()

    def stop(self) -> None:
        """From now on nothing more is copied."""
        self.stopped = True

    def add(self, count: int) -> None:
        with self.lock:
            self.done += count
            if time.monotonic() - self.said >= _SAY_SECONDS:
                self.said = time.monotonic()
                print(f"copied {_gigabytes(self.done)} of {_gigabytes(self.size)}", file=sys.stderr)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e7 else f"{size / 1e3:,.1f} kB"


def _no_cache(remote: Remote, error: OSError) -> UserError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    do = "make room there" if full else "see to it that it can be written"
    return UserError(
        f"{remote.key}: no copy of {remote.address.url} can be kept in {cache_folder()}: {error.strerror or error}; "
        f"{do}, or let JMED_CACHE name another folder"
    )
