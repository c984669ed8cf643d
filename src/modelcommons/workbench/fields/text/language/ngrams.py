"""n-grams: how often each character followed the four before it; the floor of language models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from modelcommons.workbench.fields.text.language.passages import Passage
from modelcommons.workbench.fields.text.language.tokens import CODE_POINTS
from modelcommons.workbench.task import Answer, Row

ORDER = 5
LETTERS = 4094  # that are told apart, most frequent first: five of them fit into 64 bits
BITS = 12
NONE, OTHER = 0, 1  # codes: before the text; a character of no code


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one length of context, sorted by key so that it is searched."""

    contexts: np.ndarray  # (contexts,) int64
    often: np.ndarray  # how often each was seen
    kinds: np.ndarray  # how many different characters followed it
    grams: np.ndarray  # (grams,) int64: context and character
    counts: np.ndarray


class CharacterNgrams:
    """Interpolated with ever shorter contexts, in the end with every character of Unicode alike.

    Source: Witten & Bell, The zero-frequency problem (1991), method C, interpolated: what followed a context `n` times
    in `k` kinds is trusted by n / (n + k).
    """

    labels: Sequence[str] = ()

    def __init__(self, stretches: Iterable[str], order: int = ORDER) -> None:
        texts = list(stretches)
        points, counts = np.unique(np.concatenate([_points(text) for text in texts]), return_counts=True)
        kept = np.sort(points[np.argsort(-counts, kind="stable")[:LETTERS]])
        self._code = np.full(CODE_POINTS, OTHER, np.int64)
        self._code[kept] = np.arange(2, len(kept) + 2)
        self.order = order
        grams = np.concatenate([self._grams(text, 0) for text in texts])
        self._tables = [_counts(grams & _mask(length + 1)) for length in range(order)]

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        return [self._answer(row.x) for row in rows]

    def _answer(self, passage: Passage) -> Answer:
        before = passage.past(self.order - 1)
        shares = self.shares(before + passage.asked, len(before))
        nats = -float(np.log(shares).sum())
        return {"prediction": {"nats": float(f"{nats:.6g}"), "tokens": len(shares)}}

    def shares(self, text: str, first: int = 0) -> np.ndarray:
        """Probability of each character from `first` on, given those before it."""
        grams = self._grams(text, first)
        share = np.full(len(grams), 1 / CODE_POINTS)
        for length, table in enumerate(self._tables):
            some = grams & _mask(length + 1)
            seen, gram = _found(table.contexts, some >> BITS), _found(table.grams, some)
            often = np.where(seen >= 0, table.often[seen], 0)
            kinds = np.where(seen >= 0, table.kinds[seen], 0)
            # of a character of no code the count is that of many, each as unlikely as if it were new
            count = np.where((gram >= 0) & ((some & _mask(1)) != OTHER), table.counts[gram], 0)
            total = np.maximum(often + kinds, 1)
            share = np.where(seen >= 0, (count + kinds * share) / total, share)
        return share

    def _grams(self, text: str, first: int) -> np.ndarray:
        """Each character from `first` on behind the ones before it, as one number."""
        codes = self._code[_points(text)]
        padded = np.concatenate([np.full(self.order - 1, NONE, np.int64), codes])
        made = np.zeros(len(codes), np.int64)
        for offset in range(self.order):
            made = (made << BITS) | padded[offset : offset + len(codes)]
        return made[first:]


def _counts(grams: np.ndarray) -> Counts:
    found, counts = np.unique(grams, return_counts=True)
    contexts, starts = np.unique(found >> BITS, return_index=True)
    often = np.add.reduceat(counts, starts)
    kinds = np.diff(np.append(starts, len(found)))
    return Counts(contexts, often, kinds, found, counts)


def _found(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index of each wanted one in the sorted keys, -1 where it is not there."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)


def _mask(length: int) -> int:
    return (1 << (BITS * length)) - 1


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
