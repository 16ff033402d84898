"""The tokenised data on disk: what goes in comes out, in little memory, whole or not at all."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from jmed.configuration.finetune import FinetuneConfig
from jmed.data.corpora import benchmark_examples, read_examples
from jmed.data.examples import Example
from jmed.errors import UserError
from jmed.models.tiny import train_tokenizer
from jmed.training import table as module
from jmed.training.encoding import Encoded, Encoder
from jmed.training.table import Counts, TokenTable, write_token_table
from tests.conftest import ROOT


class Given:
    """An encoder that gives what each example says: its text names the row of `rows`."""

    def __init__(self, rows: list[list[Encoded]]) -> None:
        self.rows = rows

    def encode(self, example: Example, source: int) -> list[Encoded]:
        return self.rows[int(example.text)]


def written(path: Path, rows: list[list[Encoded]], sources: list[int] | None = None) -> list[Counts]:
    numbered = [(number, Example("x", None, text=str(row))) for row, number in enumerate(sources or [0] * len(rows))]
    return write_token_table(path, numbered, Given(rows), max(sources or [0]) + 1)  # type: ignore[arg-type]


def check(table: TokenTable, sequences: list[Encoded], sources: list[int]) -> None:
    assert len(table) == len(sequences)
    assert (table.lengths.dtype, table.supervised.dtype, table.sources.dtype) == (np.int32, np.int32, np.int16)
    assert table.lengths.tolist() == [len(one.ids) for one in sequences]
    assert table.supervised.tolist() == [sum(one.supervised) for one in sequences]
    assert table.sources.tolist() == sources
    for index, one in enumerate(sequences):
        ids, supervised = table.tokens(index)
        assert (ids.dtype, supervised.dtype) == (np.int32, np.bool_)
        assert (ids.tolist(), supervised.tolist()) == (one.ids, one.supervised)


SEQUENCES = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.booleans()), min_size=1, max_size=20).map(
    lambda pairs: Encoded([token for token, _ in pairs], [wanted for _, wanted in pairs])
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.lists(SEQUENCES, max_size=3), st.integers(0, 3)), min_size=1, max_size=30),
    chunk=st.integers(1, 100),
)
def test_what_goes_in_comes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[tuple[list[Encoded], int]], chunk: int
) -> None:
    """For any sequences, over any number of record batches."""
    monkeypatch.setattr(module, "CHUNK", chunk)
    path = tmp_path / "tokens.arrow"
    encoded, sources = [row for row, _ in rows], [number for _, number in rows]
    if not any(encoded):
        with pytest.raises(UserError, match="nothing is left to train on"):
            written(path, encoded, sources)
        return
    counts = written(path, encoded, sources)
    check(
        TokenTable.open(path),
        [one for row in encoded for one in row],
        [number for row, number in rows for _ in row],
    )
    for number, count in enumerate(counts):
        own = [row for row, source in rows if source == number]
        flat = [one for row in own for one in row]
        assert count == Counts(
            examples=len(own),
            sequences=len(flat),
            too_long=sum(not row for row in own),
            tokens=sum(len(one.ids) for one in flat),
            supervised_tokens=sum(sum(one.supervised) for one in flat),
        )


def test_the_file_is_an_arrow_file_of_several_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 5)
    path = tmp_path / "tokens.arrow"
    written(path, [[Encoded([1, 2], [False, True])]] * 7)
    with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
        assert reader.num_record_batches == 3
        assert reader.schema.names == ["ids", "supervised", "source"]


def test_tokens_are_not_copied(tmp_path: Path) -> None:
    """Ids are the file's own pages; what is read of them belongs to no process alone."""
    path = tmp_path / "tokens.arrow"
    written(path, [[Encoded(list(range(10_000)), [False] + [True] * 9_999)]] * 3)
    before = pa.total_allocated_bytes()
    table = TokenTable.open(path)
    ids, _ = table.tokens(2)
    assert pa.total_allocated_bytes() - before < 40_000  # the ids of one sequence; its bits become a byte each
    assert not ids.flags.owndata
    assert not ids.flags.writeable
    del table
    assert ids.tolist() == list(range(10_000))  # the file stays mapped as long as anything is seen of it


def test_nothing_is_left_behind_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 1)

    def examples() -> Iterator[tuple[int, Example]]:
        yield 0, Example("x", None, text="0")
        raise UserError("data.jsonl:2: wrong")

    path = tmp_path / "tokens.arrow"
    encoder = Given([[Encoded([1, 2], [False, True])]])
    with pytest.raises(UserError, match="wrong"):
        write_token_table(path, examples(), encoder, 1)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="nothing is left to train on: 2 examples read, 2 of them too long"):
        written(path, [[], []])
    assert list(tmp_path.iterdir()) == []


def configured(stage: str, format: str, **keys: object) -> FinetuneConfig:
    base = {"model": {"path": "x"}, "output_dir": "x", "stage": stage, "data": [{"path": "x", "format": format}] * 2}
    return FinetuneConfig.model_validate({**base, **keys})


def test_real_corpora_come_back_as_text(tmp_path: Path, data_root: Path, qwen2_tokenizer: Path) -> None:
    """Two sources; windows of a text joined are the text."""
    tokenizer = AutoTokenizer.from_pretrained(qwen2_tokenizer, local_files_only=True)
    files = sorted((data_root / "corpora").iterdir())
    examples = [
        (number, example)
        for number, file in enumerate(files)
        for example in list(read_examples(file, "text", "ja"))[:200]
    ]
    encoder = Encoder(tokenizer, configured("pretrain", "text", sequence_length=128))
    counts = write_token_table(tmp_path / "tokens.arrow", examples, encoder, 2)
    table = TokenTable.open(tmp_path / "tokens.arrow")
    assert [count.examples for count in counts] == [200, 200]
    assert [count.sequences for count in counts] == np.bincount(table.sources).tolist()
    assert sum(count.tokens for count in counts) == table.lengths.sum()
    assert (
        sum(count.supervised_tokens for count in counts) == table.supervised.sum() == table.lengths.sum() - len(table)
    )
    assert table.lengths.max() == 128
    row = 0
    for _, example in examples:
        ids: list[int] = []
        while ids[-1:] != [tokenizer.eos_token_id]:
            ids = ids[:-1] + table.tokens(row)[0].tolist()
            row += 1
        assert tokenizer.decode(ids) == tokenizer.decode(tokenizer(example.text)["input_ids"]) + "<|im_end|>"
    assert row == len(table)


def test_what_is_dropped_is_counted(tmp_path: Path, data_root: Path, qwen2_tokenizer: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(qwen2_tokenizer, local_files_only=True)
    config = configured("instruct", "mcqa", sequence_length=200, too_long="drop")
    examples = [(0, example) for example in benchmark_examples("yakugakuqa-2015", "ja", data_root)]
    (counts,) = write_token_table(tmp_path / "tokens.arrow", examples, Encoder(tokenizer, config), 1)
    lengths = [
        len(Encoder(tokenizer, configured("instruct", "mcqa")).encode(example)[0].ids) for _, example in examples[:40]
    ]
    table = TokenTable.open(tmp_path / "tokens.arrow")
    kept = [length for length in lengths if length <= 200]
    assert 0 < len(kept) < len(lengths)
    assert table.lengths[: len(kept)].tolist() == kept
    assert counts.examples == len(examples) == counts.sequences + counts.too_long
    assert counts.sequences == len(table)


_MEMORY = """
import resource, sys
from jmed.data.examples import Example
from jmed.training.encoding import Encoded
from jmed.training.table import write_token_table
from pathlib import Path

class Long:
    def encode(self, example, source):
        return [Encoded(list(range(1000, 9192)), [True] * 8192)]

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
(counts,) = write_token_table(Path(sys.argv[1]), ((0, Example("x", None, text="x")) for _ in range(1500)), Long(), 1)
print(counts.tokens, peak() - before)
"""


def test_a_large_corpus_needs_little_memory(tmp_path: Path) -> None:
    """12 million tokens, 50 MB on disk; as lists of numbers they would fill 500 MB."""
    path = tmp_path / "tokens.arrow"
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    tokens, kilobytes = map(int, done.stdout.split())
    assert tokens == 1500 * 8192
    assert path.stat().st_size > 49e6
    assert kilobytes < 30_000
    assert TokenTable.open(path).supervised.sum() == tokens


def test_the_table_needs_no_torch() -> None:
    modules = "jmed.training.table, jmed.training.encoding, jmed.data.corpora"
    code = f"import sys, {modules}; print(sorted({{'torch', 'ray', 'transformers'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_tiny_tokenizer_serves_too(tmp_path: Path) -> None:
    encoder = Encoder(train_tokenizer(["abc"], vocabulary=300), configured("pretrain", "text", sequence_length=4))
    write_token_table(tmp_path / "t", [(1, Example("x", None, text="abcabc" * 3))], encoder, 2)
    assert set(TokenTable.open(tmp_path / "t").sources.tolist()) == {1}
