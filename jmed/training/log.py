"""train_log.jsonl and exam_log.jsonl: one line a step (or score), each step once, however often a run was continued."""

import json
import os
from pathlib import Path
from typing import Any

from jmed.runs.files import write_text


class Log:
    """A file of JSON lines that each hold `step`; lines behind the step that a run goes on from are taken back."""

    def __init__(self, path: Path, step: int) -> None:
        kept = [line for line in read_log(path) if line["step"] <= step]
        write_text("".join(_line(row) for row in kept), path)
        self.stream = path.open("a", encoding="utf-8")

    def add(self, row: dict[str, Any]) -> None:
        self.stream.write(_line(row))
        self.stream.flush()

    def sync(self) -> None:
        """Everything on disk: a checkpoint must not outlive the lines of its steps."""
        os.fsync(self.stream.fileno())

    def close(self) -> None:
        self.stream.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; a last line that a killed writer left unfinished is not one."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text("utf-8", errors="replace").split("\n")[:-1]:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
