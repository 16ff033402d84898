"""Addresses in object storage among a job's keys: which are refused, before anything is read."""

from collections.abc import Iterator
from typing import Any

from jmed.storage.address import is_url, problem, url_in, without_secrets


def refused_address(values: dict[str, Any]) -> str:
    """Why a configuration (as nested values) is refused for an address in it; empty: it is not."""
    output = str(values["output_dir"])
    if is_url(output):
        return (
            f"output_dir: found {without_secrets(output)}; results are written to a folder only: a run is locked while "
            "a job works on it, and its files appear whole or not at all, which object storage cannot do. Give a "
            "folder that all machines see, and copy it to object storage when the job is done"
        )
    for key, url in _addresses(values):
        if wrong := problem(url):
            return f"{key}: {wrong}"
        if values["offline"]:
            return (
                f"{key}: {url} is in object storage, and offline is true, which forbids every network call; copy it "
                "to a folder and give its path, or set offline to false"
            )
    return ""


def _addresses(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, address) of every value that is an address, or holds one behind `jsonl:`."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _addresses(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _addresses(inner, f"{key}[{number}]")
    elif isinstance(value, str) and (url := url_in(value)):
        yield key, url
