"""Items grouped into batches: by their lengths alone, never by workers."""

import hashlib
import json
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jmed.data.question import Question, values_of
from jmed.inference.request import Request
from jmed.spool import Lazy, Spool, View

COUNTED = 500  # items whose tokens are counted at once: an encoding takes ten times the memory of its text
FILLED = 0.6  # of a batch's width is the least that each row fills: more rows are worth some padding
_json = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True)
class Item:
    """One question as it is asked."""

    question: Question
    request: Request
    prompt: str  # name of the template
    method: str
    rotation: int = 0  # so many places the choices are rotated; the question itself is as published

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle: as plain values, which take half the time of three objects with their names."""
        question, request = values_of(self.question), tuple(vars(self.request).values())
        return _item, (question, request, self.prompt, self.method, self.rotation)


def _item(question: tuple[Any, ...], request: tuple[Any, ...], prompt: str, method: str, rotation: int) -> Item:
    return Item(Question(*question), Request(*request), prompt, method, rotation)


class Batches(Lazy[list[Item]]):
    """Items in the order in which they are asked, some a batch."""

    def __init__(self, items: Sequence[Item], ids: pa.StringArray, order: Sequence[int], starts: Sequence[int]) -> None:
        """`ids`: of the items; `order`: places of the items; `starts`: where each batch begins in it."""
        self._items, self._ids, self.order, self._starts = items, ids, order, starts

    def __len__(self) -> int:
        return len(self._starts)

    def size(self, number: int) -> int:
        """Items of a batch, which are not read for it."""
        places = self._places(number)
        return places.stop - places.start

    def ids(self, number: int) -> list[str]:
        """Ids of the items of a batch, which are not read for it."""
        return self._ids.take(pa.array(self.order[self._places(number)])).to_pylist()

    def _at(self, number: int) -> list[Item]:
        return [self._items[place] for place in self.order[self._places(number)]]

    def _places(self, number: int) -> slice:
        ends = self._starts[number + 1] if number + 1 < len(self._starts) else len(self.order)
        return slice(self._starts[number], ends)


class Planned:
    """Items as they come; of each, memory keeps what orders and batches are made from: its id and its length."""

    def __init__(self, tokenizer: Any) -> None:
        self.items: Spool[Item] = Spool()
        self.digest = hashlib.sha256()
        self.tokenizer = tokenizer
        self._waiting: list[Item] = []
        self._ids: list[pa.Array] = []
        self._lengths = array("q")

    def add(self, item: Item) -> None:
        self.items.append(item)
        self.digest.update(_json(vars(item.request)).encode())
        self._waiting.append(item)
        if len(self._waiting) == COUNTED:
            self._count()

    def grouped(self, budget: int, max_length: int) -> tuple[View[Item], Batches]:
        """All items by their ids; and in batches, longest first, equally long ones by their ids."""
        self._count()
        ids = pa.chunked_array(self._ids, pa.string()).combine_chunks()
        by_id = pc.sort_indices(ids).to_numpy()
        lengths = np.asarray(self._lengths, dtype=np.int64)
        order = by_id[np.argsort(-lengths[by_id], kind="stable")]
        starts = _starts(numbers(lengths[order]), budget, max_length)
        return View(self.items, numbers(by_id)), Batches(self.items, ids, numbers(order), starts)

    def _count(self) -> None:
        if self._waiting:
            self._lengths.extend(_lengths(self._waiting, self.tokenizer))
            self._ids.append(pa.array([item.request.item_id for item in self._waiting], pa.string()))
            self._waiting = []


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
    """As Python's own numbers when they are read, eight bytes each."""
    return array("q", values.astype(np.int64).tobytes())


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


def _lengths(items: Sequence[Item], tokenizer: Any) -> list[int]:
    """Tokens of each item's row: the prompt, and behind it the answer's room, a letter, or the texts of all options."""
    prompts = _count_tokens([item.request.prompt for item in items], tokenizer)
    texts = list(dict.fromkeys(option for item in items for option in item.request.continuations))
    options = dict(zip(texts, _count_tokens(texts, tokenizer), strict=True))
    lengths = []
    for item, prompt in zip(items, prompts, strict=True):
        added = [options[option] for option in item.request.continuations] or [item.request.max_new_tokens]
        lengths.append(prompt + (sum(added) if item.method == "options" else max(added)))
    return lengths


def _count_tokens(texts: Sequence[str], tokenizer: Any) -> list[int]:
    """By the tokenizer's backend alone, which is not asked where in the text each token stands.

    The first text goes the whole way: that sets the backend up, and shows a tokenizer which does more than it.
    """
    if not texts:
        return []
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend and tokenizer(texts[:1])["input_ids"][0] == backend.encode_batch_fast(texts[:1])[0].ids:
        return [len(encoding) for encoding in backend.encode_batch_fast(texts)]
    return [len(ids) for ids in tokenizer(texts)["input_ids"]]
