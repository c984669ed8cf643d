"""packing: pairs of one batch with masks drawn, laid end to end without padding; none of them sees another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.workbench.fields.text.pretraining.documents import Options
from modelcommons.workbench.fields.text.pretraining.pairs import Pairs
from modelcommons.workbench.fields.text.pretraining.pieces import Pieces

if TYPE_CHECKING:
    from torch import Tensor

MASKED, KEPT = 0.8, 0.1  # of the drawn tokens; the others become any token
TOGETHER = 4  # pairs of like length whose attention is one product: of fewer there are more calls, of more more padding
ROUND = 8  # slots: products of a size that was met before need not be prepared again

Spread = dict[str, Any]  # see `spread`
Batch = dict[str, Any]  # tensors, and of laid pairs two spreads


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

    def __init__(self, rows: Pairs, pieces: Pieces, options: Options, ask_next: bool, padded: bool) -> None:
        """
        Args:
            ask_next: whether second stretches are drawn from elsewhere too.
            padded: whether each pair is a row of its own, as networks other than BERT take them.
        """
        self.rows, self.pieces, self.options = rows, pieces, options
        self.ask_next, self.padded = ask_next, padded
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
        drawn = [self.draw(int(index), rng) for index in indices]
        return collated(drawn, self.pieces.pad) if self.padded else laid(drawn)

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


def collated(drawn: Sequence[Drawn], pad: int) -> dict[str, Tensor]:
    """One batch: P rows of C tokens, in which M tokens are asked for.

    Returns:
        input_ids, token_type_ids, attention_mask (P, C); asked (M,) and first (P,): places in the rows laid end to end;
        wanted (M,); next (P,).
    """
    size = max(len(each.ids) for each in drawn)
    ids, types, seen = (np.full((len(drawn), size), fill, np.int64) for fill in (pad, 0, 0))
    for number, each in enumerate(drawn):
        here = slice(0, len(each.ids))
        ids[number, here], types[number, here], seen[number, here] = each.ids, each.types, 1
    first = np.arange(len(drawn)) * size
    asked = np.concatenate([start + each.asked for start, each in zip(first, drawn, strict=True)])
    return _tensors({
        "input_ids": ids, "token_type_ids": types, "attention_mask": seen, "asked": asked, "first": first,
        "wanted": np.concatenate([each.wanted for each in drawn]), "next": np.array([each.next for each in drawn]),
    })  # fmt: skip


def laid(drawn: Sequence[Drawn]) -> Batch:
    """One batch without padding: T tokens of P pairs end to end, the longest pairs first, in which M are asked for.

    Returns:
        input_ids, token_type_ids, position_ids (T,); chosen (Q,): each pair's first token and those that are asked,
        the only ones that the network's heads look at; first (P,) and asked (M,): places among the chosen; wanted (M,);
        next (P,); tokens and queries: how all tokens, and the chosen ones, stand side by side in attention.
    """
    order = sorted(drawn, key=lambda each: -len(each.ids))
    sizes, counts = [len(each.ids) for each in order], [1 + len(each.asked) for each in order]
    starts, first = np.cumsum([0, *sizes[:-1]]), np.cumsum([0, *counts[:-1]])
    chosen = np.concatenate(
        [start + np.concatenate([[0], each.asked]) for start, each in zip(starts, order, strict=True)]
    )
    made = _tensors({
        "input_ids": np.concatenate([each.ids for each in order]),
        "token_type_ids": np.concatenate([each.types for each in order]),
        "position_ids": np.concatenate([np.arange(size) for size in sizes]),
        "chosen": chosen, "first": first, "asked": np.delete(np.arange(len(chosen)), first),
        "wanted": np.concatenate([each.wanted for each in order]), "next": np.array([each.next for each in order]),
    })  # fmt: skip
    return {**made, "tokens": spread(sizes), "queries": spread(counts)}


def spread(sizes: Sequence[int]) -> Spread:
    """How pairs of so many tokens, laid end to end, stand side by side in groups, padded to their group's longest.

    Returns:
        slots (S,): which token stands in each slot of all groups; padding (S,) bool: slots without one of their own;
        places (T,): the slot of each token; groups: pairs and slots of a pair, of each group.
    """
    starts = np.cumsum([0, *sizes])
    slots, places, groups, end = [], [], [], 0
    for at in range(0, len(sizes), TOGETHER):
        some = np.array(sizes[at : at + TOGETHER])
        length = math.ceil(some.max() / ROUND) * ROUND
        inside = np.arange(length) < some[:, None]  # (pairs, length)
        slots.append(np.where(inside, starts[at : at + len(some), None] + np.arange(length), -1).ravel())
        places.append(end + np.flatnonzero(inside))
        groups.append((len(some), length))
        end += inside.size
    filled = np.concatenate(slots)
    made = {"slots": np.maximum(filled, 0), "padding": filled < 0, "places": np.concatenate(places)}
    return {**_tensors(made), "groups": tuple(groups)}


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    import torch

    return {name: torch.from_numpy(array) for name, array in arrays.items()}
