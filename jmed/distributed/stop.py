"""Why workers stopped for good: a file that can be written even when the disk is full."""

import json
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jmed.errors import GaveUp, UserError
from jmed.runs.files import full_disk

STOPPED = "stopped.json"  # why the workers stopped for good
ERRORS = "errors.log"  # tracebacks of workers
ROOM = 4096  # bytes; taken beforehand, overwritten in place


@dataclass(frozen=True)
class Stop:
    """A worker leaves its reason; workers that are started after it see it and end, and the driver tells the user."""

    work: Path  # the run's `unfinished`

    @property
    def path(self) -> Path:
        return self.work / STOPPED

    def prepare(self) -> None:
        """By the driver, before an attempt."""
        self.path.write_bytes(b" " * ROOM)

    def report(self, error: Exception, kept: str) -> None:
        """By a worker, of any error; `kept`: what the run folder holds on to, for a full disk."""
        if isinstance(error, UserError | GaveUp):
            self.say(str(error), mendable=isinstance(error, UserError))
        elif isinstance(error, OSError) and (full := full_disk(error, kept)):
            self.say(str(full), mendable=True)
        else:
            with (self.work / ERRORS).open("a", encoding="utf-8") as stream:
                stream.write(traceback.format_exc() + "\n")

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

    def raise_said(self) -> None:
        """By the driver: the reason as its error, if a worker left one."""
        reason = self.said()
        if reason is None:
            return
        if reason["mendable"]:
            raise UserError(reason["message"])
        raise GaveUp(f"{reason['message']}; see {self.work / ERRORS}, or Ray's own logs for workers that were killed")
