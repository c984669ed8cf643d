"""n-grams: a text as hashed n-grams of words, characters and shape, in numpy; what the `bag` network reads."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

# a word, or one character of a script that is written without spaces
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|\w+|[^\w\s]")
LETTER, DIGIT = re.compile(r"[^\W\d_]"), re.compile(r"\d")
PRIME = np.uint64(0x100000001B3)
MIX = np.uint64(0x9E3779B97F4A7C15)
LONGEST = 20_000  # characters; what comes after is not read


@dataclass(frozen=True, slots=True)
class Grams:
    """Which n-grams are read, and into how many buckets they are hashed; bucket 0 is empty."""

    words: int  # up to this length
    characters: int
    shapes: int
    buckets: int

    def of(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Buckets (int64, in order) and how often each comes, of one text."""
        text = text[:LONGEST].lower()
        words = np.array([zlib.crc32(word.encode()) for word in WORD.findall(text)], np.uint64)
        found = [_windows(words, length, 1) for length in range(1, self.words + 1)]
        found += [_windows(_letters(text), length, 2) for length in range(1, self.characters + 1)]
        found += [_windows(_letters(shape(text)), length, 4) for length in range(1, self.shapes + 1)]
        hashed = np.concatenate(found) if found else np.zeros(0, np.uint64)
        if not len(hashed):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        buckets = (hashed % np.uint64(self.buckets - 1)).astype(np.int64) + 1
        return np.unique(buckets, return_counts=True)


def grams(options: Mapping[str, Any]) -> Grams:
    """As the options of a `bag` say."""
    return Grams(**{each.name: options[each.name] for each in fields(Grams)})


def shape(text: str) -> str:
    """How a text is laid out, whatever it says: every letter an x, every digit a 9, marks and blanks as they are."""
    return DIGIT.sub("9", LETTER.sub("x", text))


def _letters(text: str) -> np.ndarray:
    """Code points, uint64, with a blank before and behind."""
    return np.frombuffer(f" {text} ".encode("utf-32-le"), np.uint32).astype(np.uint64)


def _windows(units: np.ndarray, length: int, kind: int) -> np.ndarray:
    """A 64-bit hash of every `length` units in a row."""
    if len(units) < length:
        return np.zeros(0, np.uint64)
    with np.errstate(over="ignore"):
        hashed = np.full(len(units) - length + 1, kind * 8 + length, np.uint64) * MIX
        for offset in range(length):
            hashed = (hashed ^ units[offset : len(units) - length + 1 + offset]) * PRIME
            hashed ^= hashed >> np.uint64(29)
    return hashed


def rarity(texts: Iterable[np.ndarray], buckets: int) -> np.ndarray:
    """Inverse document frequency of each bucket over the training texts, float32 (buckets,); smoothed.

    Args:
        texts: the buckets that each has, each once.
    """
    seen, count = np.zeros(buckets), 0
    for found in texts:
        seen[found] += 1
        count += 1
    weights: np.ndarray = np.log((1 + count) / (1 + seen)) + 1
    weights[0] = 0
    return weights.astype(np.float32)


def padded(bags: Sequence[np.ndarray], rare: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Buckets (batch, most) int64, 0 where there are no more, and weights (batch, most) float32 of length 1 a text."""
    most = max(1, max(len(found) for found, _ in bags))
    buckets = np.zeros((len(bags), most), np.int64)
    weights = np.zeros((len(bags), most), np.float32)
    for row, (found, often) in enumerate(bags):
        buckets[row, : len(found)] = found
        weight = (1 + np.log(often)) * rare[found]
        weights[row, : len(found)] = weight / max(1e-9, float(np.sqrt((weight**2).sum())))
    return buckets, weights
