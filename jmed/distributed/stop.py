"""Why workers stopped for good: a file that can be written even when the disk is full."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOM = 4096  # bytes; taken beforehand, overwritten in place


@dataclass(frozen=True)
class Stop:
    """A worker leaves its reason; workers that are started after it see it and end."""

    path: Path

    def prepare(self) -> None:
        """By the driver, before an attempt."""
        self.path.write_bytes(b" " * ROOM)

    def say(self, message: str, mendable: bool) -> None:
        """The first reason stays: what other workers meet then follows from it."""
        if self.said() is not None:
            return
        content = json.dumps({"message": message[: ROOM // 8], "mendable": mendable}).encode()
        with self.path.open("r+b") as stream:
            stream.write(content[:ROOM])

    def said(self) -> dict[str, Any] | None:
        content = self.path.read_bytes().strip()
        return json.loads(content) if content else None
