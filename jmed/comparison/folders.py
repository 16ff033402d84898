"""The output folder of a finished evaluate or score, opened for reading."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from jmed.errors import UserError
from jmed.runs.hashes import sha256_file
from jmed.storage.address import is_url
from jmed.untrusted import MAX_BYTES, MAX_YAML, PlainLoader, read_whole

FILES = ("run.yaml", "results.json", "answers.parquet")
JOBS = ("evaluate", "score")
_COLUMNS = ("item_id", "benchmark", "question_id", "language", "correct", "prediction", "gold", "choices",
            "option_logprobs", "error", "tokens_in", "response", "method")  # fmt: skip
MAX_RECORD = 16 * MAX_YAML  # bytes of run.yaml, which holds a hash for every file of model and data


@dataclass(frozen=True)
class Folder:
    """What a run left."""

    given: str  # as the user named it
    path: Path
    record: Mapping[str, Any]  # run.yaml
    results: Mapping[str, Any]  # results.json
    table: pa.Table  # answers.parquet

    @property
    def model(self) -> str:
        return str(self.results["model"])

    @property
    def identity(self) -> Mapping[str, Any]:
        return self.record["identity"]

    @property
    def configuration(self) -> Mapping[str, Any]:
        return self.record["configuration"]

    @property
    def job(self) -> str:
        return str(self.identity["job"])

    @property
    def prompt(self) -> str:
        """The template that was used; several, where benchmarks have their own."""
        return ", ".join(self._different("prompt"))

    @property
    def method(self) -> str:
        return ", ".join(self._different("method"))

    @property
    def benchmarks(self) -> list[str]:
        return self._different("benchmark")

    def _different(self, column: str) -> list[str]:
        return sorted(self.table[column].unique().to_pylist())

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of its files: what a comparison was made from."""
        return {name: sha256_file(self.path / name) for name in FILES}

    def way(self, key: str) -> Any:
        """quantization, method, prompt, shots or scoring."""
        if key in ("prompt", "method"):
            return self.prompt if key == "prompt" else self.method
        return self.identity.get(key, 0 if key == "shots" else "")

    def rows(self, column: str) -> Iterator[dict[str, Any]]:
        """The rows of the table, a piece at a time, with the columns that are compared and this one."""
        for batch in self.table.select(list(dict.fromkeys((*_COLUMNS, column)))).to_batches(max_chunksize=5_000):
            yield from batch.to_pylist()


def open_folder(given: str) -> Folder:
    """Read the files of a finished run; UserError names what is missing or damaged."""
    if is_url(given):
        raise UserError(f"runs: {given} is in object storage; copy it to a folder and give its path")
    path = Path(given).expanduser().absolute()
    for name in FILES:
        if not (path / name).is_file():
            why = "there is no such folder" if not path.is_dir() else f"holds no {name}"
            raise UserError(f"runs: {given}: {why}; expected the output_dir of a finished evaluate or score")
    record, results = read_record(path / "run.yaml"), _json(path / "results.json")
    if not all(isinstance(record.get(key), dict) for key in ("identity", "configuration")):
        raise damaged(path / "run.yaml")
    job = record["identity"].get("job")
    if job not in JOBS:
        raise UserError(f"runs: {given} was written by the job {job}; expected a run of {' or '.join(JOBS)}")
    return Folder(given, path, record, results, _table(path / "answers.parquet"))


def read_record(file: Path) -> dict[str, Any]:
    """run.yaml of any job; empty if it is not there, or no such file."""
    try:
        found = yaml.load(read_whole(file, MAX_RECORD).decode(), Loader=PlainLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_whole(file, MAX_BYTES))
        if isinstance(found["model"], str) and isinstance(found["exams"], list) and isinstance(found["timing"], dict):
            return found
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise damaged(file)


def _table(file: Path) -> pa.Table:
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException):
        raise damaged(file) from None
    if not set(_COLUMNS) <= set(table.column_names) or not table.num_rows:
        raise damaged(file)
    return table


def damaged(file: Path) -> UserError:
    return UserError(f"runs: {file} is not what jmed wrote, or damaged; run its job again in another folder")
