"""encoders: from texts to the numbers a network reads: hashed n-grams, or a tokenizer learned or brought along."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from modelcommons.workbench.engine.tokenizer import read_tokenizer
from modelcommons.workbench.fields.text.ngrams import LONGEST, Grams, padded

AT_ONCE = 1000  # texts


class Encodings:
    """Texts as arrays of whole numbers, `rows` each, end to end: four bytes a number.

    An array of its own for each text would take a hundred bytes more. Indices are from 0.
    """

    def __init__(self, texts: Iterable[np.ndarray], rows: tuple[int, ...] = ()) -> None:
        numbers, ends = array("i"), array("q", [0])  # of four and eight bytes, and both grow
        self._rows = rows
        for each in texts:
            numbers.frombytes(each.astype(np.int32).tobytes())
            ends.append(len(numbers))
        self._numbers = np.asarray(numbers)
        self._ends = np.asarray(ends)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self._numbers[self._ends[index] : self._ends[index + 1]].reshape(*self._rows, -1)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> np.ndarray:
        """How much of a batch's width each takes, int64 (texts,)."""
        return np.diff(self._ends) // math.prod(self._rows)


class Encoder(Protocol):
    def encode(self, texts: Sequence[str]) -> Encodings:
        """Each text as what `collate` takes."""

    def collate(self, encoded: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """One batch by the names of the network's inputs."""


class BagEncoder:
    """A text as its n-grams and how often each comes."""

    def __init__(self, grams: Grams, rarity: np.ndarray) -> None:
        self.grams, self.rarity = grams, rarity  # rarity: (buckets,) float32

    def encode(self, texts: Sequence[str]) -> Encodings:
        return bags(self.grams, texts)

    def collate(self, encoded: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        buckets, weights = padded(encoded, self.rarity)
        return {"input_ids": buckets, "weights": weights}


class TokenEncoder:
    """A text as token ids, padded on the right."""

    def __init__(self, ids_of: Callable[[list[str]], list[list[int]]], pad: int) -> None:
        self._ids_of, self._pad = ids_of, pad

    def encode(self, texts: Sequence[str]) -> Encodings:
        some = (texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE))
        found = (ids for part in some for ids in self._ids_of([text[:LONGEST] for text in part]))
        return Encodings(np.array(ids or [self._pad]) for ids in found)

    def collate(self, encoded: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        most = max(map(len, encoded))
        ids = np.full((len(encoded), most), self._pad, np.int64)
        mask = np.zeros((len(encoded), most), np.int64)
        for row, tokens in enumerate(encoded):
            ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
        return {"input_ids": ids, "attention_mask": mask}


def bags(grams: Grams, texts: Iterable[str]) -> Encodings:
    """Of each text the buckets of its n-grams and how often each comes, (2, n-grams)."""
    return Encodings((np.stack(grams.of(text)) for text in texts), rows=(2,))


def own_encoder(folder: Path, max_length: int, pad: int = 0) -> TokenEncoder:
    """By the folder's own tokenizer.json.

    Raises:
        FormatError: it is damaged.
    """
    tokenizer = read_tokenizer(folder)
    tokenizer.enable_truncation(max_length)
    tokenizer.no_padding()
    return TokenEncoder(lambda texts: [found.ids for found in tokenizer.encode_batch(texts)], pad)


def open_encoder(tokenizer: Any, max_length: int) -> TokenEncoder:
    """By an open model's tokenizer; segment ids are left to the model, which takes one segment."""

    def ids_of(texts: list[str]) -> list[list[int]]:
        found: list[list[int]] = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
        return found

    return TokenEncoder(ids_of, tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0)
