"""Hashes of files: what a run was made from."""

import hashlib
from pathlib import Path

from jmed.errors import UserError
from jmed.untrusted import open_regular


def sha256_file(path: Path) -> str:
    try:
        stream = open_regular(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    with stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_hashes(files: list[Path], root: Path) -> dict[str, str]:
    """Path below data_root (elsewhere the bare name, numbered where it repeats) → SHA-256."""
    hashes: dict[str, str] = {}
    for file in sorted(set(files)):
        name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
        same = sum(known.partition(" #")[0] == name for known in hashes)
        hashes[f"{name} #{same + 1}" if same else name] = sha256_file(file)
    return hashes
