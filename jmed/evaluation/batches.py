"""Items grouped into batches: by their lengths alone, never by workers."""

import hashlib
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jmed.data.question import Question
from jmed.evaluation.items import Item, Items, to_rows
from jmed.evaluation.table import PLANNED, REQUESTS
from jmed.rows import Rows, take
from jmed.spool import Lazy, Spool, View

PIECE, SIGNS = 5_000, 16_000_000  # items that are written at once, and characters of their prompts
COUNTED = 500  # items whose tokens are counted at once: an encoding takes ten times the memory of its text
AHEAD = 2 * PIECE // COUNTED  # so many counts may wait
FILLED = 0.6  # of a batch's width is the least that each row fills: more rows are worth some padding


class Batches(Lazy[list[Item]]):
    """Items in the order in which they are asked, some a batch."""

    def __init__(self, items: Items, starts: Sequence[int]) -> None:
        """`starts`: where each batch begins."""
        self.items, self._starts = items, starts

    def __len__(self) -> int:
        return len(self._starts)

    def size(self, number: int) -> int:
        """Items of a batch, which are not read for it."""
        return len(self._places(number))

    def ids(self, number: int) -> pa.ChunkedArray:
        """Ids of the items of a batch, as texts."""
        places = self._places(number)
        return self.items.rows["item_id"].slice(places.start, len(places))

    def requests(self, number: int) -> pa.Table:
        """Requests of a batch, of the schema REQUESTS."""
        places = self._places(number)
        return self.items.rows.slice(places.start, len(places)).select(REQUESTS.names).cast(REQUESTS)

    def _at(self, number: int) -> list[Item]:
        return list(self.items.read(self._places(number)))

    def _places(self, number: int) -> range:
        end = self._starts[number + 1] if number + 1 < len(self._starts) else len(self.items)
        return range(self._starts[number], end)


class Planned:
    """Items as they come: they go to disk, and a thread of its own counts their tokens meanwhile."""

    def __init__(self, tokenizer: Any) -> None:
        self.count = TokenCounter(tokenizer)
        self.digest = hashlib.sha256()  # of every row
        self._questions: Spool[Question] = Spool()
        self._rows = Rows(PLANNED)
        self._lengths = array("i")
        self._waiting: list[Item] = []
        self._signs = 0  # of their prompts
        self._counter = ThreadPoolExecutor(1, "Tokens")
        self._counts: deque[Future[list[int]]] = deque()

    def __len__(self) -> int:
        return len(self._questions)

    def add(self, item: Item) -> None:
        self._questions.append(item.question)
        self._waiting.append(item)
        self._signs += len(item.request.prompt)
        if len(self._waiting) == PIECE or self._signs >= SIGNS:
            self._write()

    def grouped(self, budget: int, max_length: int) -> tuple[View[Item], Batches]:
        """All items by their ids; and in batches, longest first, equally long ones by their ids."""
        self._write()
        self._take_counts(0)
        self._counter.shutdown()
        rows, lengths = self._rows.table(), np.asarray(self._lengths)
        by_id = pc.sort_indices(rows["item_id"]).to_numpy().astype(np.int32)
        order = by_id[np.argsort(-lengths[by_id], kind="stable")]
        asked = numbers(order)
        items = Items(View(self._questions, asked), _in_order(rows, asked))
        places = np.empty_like(order)  # in the new order
        places[order] = np.arange(len(order), dtype=np.int32)
        starts = _starts(numbers(lengths[order]), budget, max_length)
        return View(items, numbers(places[by_id])), Batches(items, starts)

    def _write(self) -> None:
        if not self._waiting:
            return
        rows = to_rows(self._waiting)
        self._rows.append(rows)
        for buffer in (buffer for column in rows.columns for buffer in column.buffers() if buffer):
            self.digest.update(buffer)
        for start in range(0, len(self._waiting), COUNTED):
            some = self._waiting[start : start + COUNTED]
            self._counts.append(self._counter.submit(lengths_of, some, self.count))
        self._waiting, self._signs = [], 0
        self._take_counts(AHEAD)

    def _take_counts(self, left: int) -> None:
        """Wait until no more than `left` counts are to come."""
        while len(self._counts) > left:
            self._lengths.extend(self._counts.popleft().result())


def make_batches(items: Sequence[Item], tokenizer: Any, budget: int, max_length: int) -> Batches:
    """Group items of similar length under a token budget, longest first; no row is more than two fifths padding.

    Only `generate` computes padding. The batches depend on the questions alone, never on workers: a batch's shape moves
    the last bits of a sum, and the answers must be the same for any number of workers. An item too long for the model
    stands alone, where it fails without disturbing others.
    """
    planned = Planned(tokenizer)
    for item in items:
        planned.add(item)
    return planned.grouped(budget, max_length)[1]


def numbers(values: np.ndarray) -> Sequence[int]:
    """As Python's own numbers when they are read, four bytes each."""
    return array("i", values.astype(np.int32).tobytes())


def _in_order(rows: pa.Table, order: Sequence[int]) -> pa.Table:
    """The rows in this order, again on disk."""
    ordered = Rows(rows.schema)
    for (some,) in take(order, rows):
        ordered.append(some)
    return ordered.table()


def _starts(lengths: Iterable[int], budget: int, max_length: int) -> Sequence[int]:
    """Where each batch begins among items of these lengths, which fall."""
    starts = array("q")
    width = rows = 0
    for place, length in enumerate(lengths):
        rows += 1
        alone = max(length, width) > max_length
        if not starts or length < FILLED * width or rows * width > budget or alone:
            starts.append(place)
            width, rows = length, 1
    return starts


def lengths_of(items: Sequence[Item], count: "TokenCounter") -> list[int]:
    """Tokens of each item's row: the prompt, and behind it the answer's room, a letter, or the texts of all options."""
    options = list(dict.fromkeys(option for item in items for option in item.request.continuations))
    counts = count([item.request.prompt for item in items] + options)  # at once: a thread waits for each call's end
    tokens = dict(zip(options, counts[len(items) :], strict=True))
    lengths = []
    for item, prompt in zip(items, counts, strict=False):
        added = [tokens[option] for option in item.request.continuations] or [item.request.max_new_tokens]
        lengths.append(prompt + (sum(added) if item.method == "options" else max(added)))
    return lengths


class TokenCounter:
    """Counts tokens by the tokenizer's backend alone, which is not asked where in the text each token stands.

    The first text goes the whole way: that sets the backend up, and shows a tokenizer which does more than it.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.backend = getattr(tokenizer, "backend_tokenizer", None)
        self.checked = False

    def __call__(self, texts: Sequence[str]) -> list[int]:
        if not self.checked and texts:
            first = texts[:1]
            if self.backend and self.tokenizer(first)["input_ids"][0] != self.backend.encode_batch_fast(first)[0].ids:
                self.backend = None
            self.checked = True
        if self.backend:
            return [len(encoding) for encoding in self.backend.encode_batch_fast(texts)]
        return [len(ids) for ids in self.tokenizer(texts)["input_ids"]] if texts else []
