"""packing: pairs of one batch put together into rows, with masks drawn; none of them sees another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.workbench.fields.text.pretraining.documents import Options
from modelcommons.workbench.fields.text.pretraining.pairs import Pairs
from modelcommons.workbench.fields.text.pretraining.pieces import Pieces

if TYPE_CHECKING:
    from torch import Tensor

MASKED, KEPT = 0.8, 0.1  # of the drawn tokens; the others become any token

Batch = dict[str, "Tensor"]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One pair as it is trained on."""

    ids: np.ndarray  # (T,) int64, with masks
    types: np.ndarray  # (T,) int64
    asked: np.ndarray  # tokens that are foretold, from the pair's first
    wanted: np.ndarray  # what stood there
    next: int  # 0: the second stretch follows, 1: it is another, -1: not asked


class Stretches:
    """The training rows as tokens; each batch draws pairs and masks anew, by its generator alone."""

    def __init__(self, rows: Pairs, pieces: Pieces, options: Options, ask_next: bool, capacity: int | None) -> None:
        """
        Args:
            ask_next: whether second stretches are drawn from elsewhere too.
            capacity: tokens that pairs are packed into where they fit; None: each is a row of its own.
        """
        self.rows, self.pieces, self.options = rows, pieces, options
        self.ask_next, self.capacity = ask_next, capacity
        used = sorted({*rows.where[:, 0].tolist(), *(at for at in rows.where[:, 4].tolist() if at >= 0)})
        # with the blank that stands before it in the text: to some tokenizers a word without one is another
        made = pieces.of([f" {sentence}" for at in used for sentence in rows.texts[at].sentences])
        self._ids = np.concatenate([ids for ids, _ in made])
        ends = np.cumsum([len(ids) for ids, _ in made])
        steps = np.concatenate([np.diff(words, prepend=-2) != 0 for _, words in made])
        self._words = np.cumsum(steps if options.whole_words else np.ones(len(steps)), dtype=np.int64)
        self._starts = np.concatenate([[0], ends])  # of each sentence
        counts = np.cumsum([0, *(len(rows.texts[at].sentences) for at in used)])
        self._first = dict(zip(used, counts.tolist(), strict=False))  # number of each document's first sentence
        self._plain = np.setdiff1d(np.arange(pieces.size), pieces.special)

    def __len__(self) -> int:
        return len(self.rows)

    def lengths(self) -> list[int]:
        """Tokens of each row in the document itself."""
        return [self._stop(at, end) - self._start(at, start) for at, start, _, end in self.rows.where[:, :4].tolist()]

    def batch(self, indices: np.ndarray, rng: np.random.Generator) -> Batch:
        return collated([self.draw(int(index), rng) for index in indices], self.pieces.pad, self.capacity)

    def draw(self, index: int, rng: np.random.Generator) -> Drawn:
        """A row as a pair of stretches that fit, masked by BERT's rule."""
        at, start, middle, end, other, other_start, other_end = self._pair(index, rng)
        spans = [(self._start(at, start), self._stop(at, middle))]
        if other >= 0:
            spans.append((self._start(other, other_start), self._stop(other, other_end)))
        elif middle < end:
            spans.append((self._start(at, middle), self._stop(at, end)))
        room = self.pieces.room([b - a for a, b in spans])
        spans = [(a, a + most) for (a, _), most in zip(spans, room, strict=True)]
        ids, types, begins = self.pieces.join([self._ids[a:b] for a, b in spans])
        places = np.concatenate([begin + np.arange(b - a) for begin, (a, b) in zip(begins, spans, strict=True)])
        sides = [2 * self._words[a:b] + side for side, (a, b) in enumerate(spans)]  # no word goes over a border
        asked = places[_chosen(np.concatenate(sides), self.options.mask, rng)]
        wanted = ids[asked]
        chance, any_token = rng.random(len(asked)), self._plain[rng.integers(0, len(self._plain), len(asked))]
        ids[asked] = np.where(chance < MASKED, self.pieces.mask, np.where(chance < MASKED + KEPT, wanted, any_token))
        return Drawn(ids, types, asked, wanted, -1 if len(spans) < 2 or not self.ask_next else int(other >= 0))

    def _pair(self, index: int, rng: np.random.Generator) -> list[int]:
        if self.ask_next:
            return [int(each) for each in self.rows.drawn(index, rng)]
        at, start, middle, end = self.rows.where[index, :4].tolist()
        return [at, start, middle, end, -1, -1, -1]

    def _start(self, at: int, sentence: int) -> int:
        return int(self._starts[self._first[at] + sentence])

    def _stop(self, at: int, sentence: int) -> int:
        return int(self._starts[self._first[at] + sentence])


def _chosen(words: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Tokens of words drawn at random until their share of the tokens is reached, one word at least; in order."""
    _, which, sizes = np.unique(words, return_inverse=True, return_counts=True)
    order = rng.permutation(len(sizes))
    total = np.cumsum(sizes[order])
    taken = np.zeros(len(sizes), bool)
    taken[order[total <= max(share * len(words), total[0])]] = True
    return np.flatnonzero(taken[which])


def collated(drawn: Sequence[Drawn], pad: int, capacity: int | None) -> Batch:
    """One batch: R rows of C tokens, in which P pairs have M tokens that are asked for.

    Returns:
        input_ids, token_type_ids, position_ids (R, C); attention_mask (R, 1, C, C) bool where pairs were packed, else
        (R, C); asked (M,) and first (P,): places in the rows laid end to end; wanted (M,); next (P,).
    """
    import torch

    sizes = [len(each.ids) for each in drawn]
    size = max(*sizes, capacity or 0)
    rows = packed(sizes, size) if capacity else [[at] for at in range(len(sizes))]
    size = max(sum(sizes[at] for at in row) for row in rows)
    ids, types, places, of = (np.full((len(rows), size), fill, np.int64) for fill in (pad, 0, 0, -1))
    asked, wanted, first, following = [], [], [], []
    for number, row in enumerate(rows):
        start = 0
        for at in row:
            each, here = drawn[at], slice(start, start + sizes[at])
            ids[number, here], types[number, here], of[number, here] = each.ids, each.types, at
            places[number, here] = np.arange(sizes[at])
            asked.append(number * size + start + each.asked)
            wanted.append(each.wanted)
            first.append(number * size + start)
            following.append(each.next)
            start += sizes[at]
    sees: Any = (of[:, :, None] == of[:, None, :])[:, None] if capacity else (of >= 0).astype(np.int64)
    made = {
        "input_ids": ids, "token_type_ids": types, "position_ids": places, "attention_mask": sees,
        "asked": np.concatenate(asked), "wanted": np.concatenate(wanted), "first": np.array(first),
        "next": np.array(following),
    }  # fmt: skip
    return {name: torch.from_numpy(array) for name, array in made.items()}


def packed(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Which pairs share a row: the longest first, each into the first row that has room for it."""
    rows: list[list[int]] = []
    left: list[int] = []
    for at in sorted(range(len(sizes)), key=lambda index: (-sizes[index], index)):
        into = next((number for number, room in enumerate(left) if room >= sizes[at]), None)
        if into is None:
            rows.append([])
            left.append(capacity)
            into = len(rows) - 1
        rows[into].append(at)
        left[into] -= sizes[at]
    return rows
