"""The copies that this process has made, so that messages name what the user wrote and not where its copy lies."""

from pathlib import Path

from jmed.storage.address import without_secrets

_copies: dict[str, Path] = {}  # address as the user wrote it → its copy


def keep(url: str, copy: Path) -> Path:
    """Note a copy."""
    _copies[url] = copy
    return copy


def copy_of(url: str) -> Path | None:
    """The last copy that was made of an address; None: none yet."""
    return _copies.get(url)


def state_of(copy: Path) -> str:
    """What two copies share only if they hold the same objects in the same state."""
    return copy.parent.name


def with_urls(text: str) -> str:
    """A message in which copies have the addresses that the user gave, and no address shows a key."""
    for url, copy in sorted(_copies.items(), key=lambda pair: len(str(pair[1])), reverse=True):
        text = text.replace(str(copy), url.rstrip("/"))
    return without_secrets(text)
