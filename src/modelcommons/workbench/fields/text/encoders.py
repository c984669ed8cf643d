"""encoders: from texts to the numbers a network reads: hashed n-grams, or a tokenizer learned or brought along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from modelcommons.workbench.engine.tokenizer import read_tokenizer
from modelcommons.workbench.fields.text.ngrams import LONGEST, Grams, padded

AT_ONCE = 1000  # texts


class Encoder(Protocol):
    def encode(self, texts: Sequence[str]) -> list[Any]:
        """Each text as what `collate` takes."""

    def length(self, encoded: Any) -> int:
        """How much of a batch's width it takes."""

    def collate(self, encoded: Sequence[Any]) -> dict[str, np.ndarray]:
        """One batch by the names of the network's inputs."""


class BagEncoder:
    """A text as its n-grams and how often each comes."""

    def __init__(self, grams: Grams, rarity: np.ndarray) -> None:
        self.grams, self.rarity = grams, rarity  # rarity: (buckets,) float32

    def encode(self, texts: Sequence[str]) -> list[Any]:
        return [self.grams.of(text) for text in texts]

    def length(self, encoded: Any) -> int:
        return len(encoded[0])

    def collate(self, encoded: Sequence[Any]) -> dict[str, np.ndarray]:
        buckets, weights = padded(encoded, self.rarity)
        return {"input_ids": buckets, "weights": weights}


class TokenEncoder:
    """A text as token ids, padded on the right."""

    def __init__(self, ids_of: Callable[[list[str]], list[list[int]]], pad: int) -> None:
        self._ids_of, self._pad = ids_of, pad

    def encode(self, texts: Sequence[str]) -> list[Any]:
        found = []
        for start in range(0, len(texts), AT_ONCE):
            some = [text[:LONGEST] for text in texts[start : start + AT_ONCE]]
            found += [np.array(ids or [self._pad], np.int64) for ids in self._ids_of(some)]
        return found

    def length(self, encoded: Any) -> int:
        return len(encoded)

    def collate(self, encoded: Sequence[Any]) -> dict[str, np.ndarray]:
        most = max(map(len, encoded))
        ids = np.full((len(encoded), most), self._pad, np.int64)
        mask = np.zeros((len(encoded), most), np.int64)
        for row, tokens in enumerate(encoded):
            ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
        return {"input_ids": ids, "attention_mask": mask}


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
