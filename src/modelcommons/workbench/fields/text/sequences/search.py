"""search: the likeliest target of a source, token by token, among several beginnings that are kept at a time."""

# K beginnings kept, N rows read at once, V vocabulary

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Reader(Protocol):
    """A network with the sources it was given; it remembers what it read of each row."""

    def advance(self, tokens: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Log probabilities (N, V) of what follows `tokens` (N,) int64, each behind what stood in row `rows` (N,) of
        the call before; at first the rows are the sources."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How targets are searched for."""

    start: int  # token that stands before every target
    end: int  # token that ends one
    longest: int  # tokens of a target, the end included
    beam: int  # beginnings kept; 1: the likeliest token after token
    length_penalty: float  # 0: none; the larger, the longer
    never: tuple[int, ...] = ()  # tokens that are not written

    def normalised(self, log_prob: float, length: int) -> float:
        """Source: Wu et al., Google's Neural Machine Translation System (2016), equation 14."""
        return float(log_prob / ((5 + length) / 6) ** self.length_penalty)


@dataclass(frozen=True, slots=True)
class Found:
    """A target."""

    tokens: tuple[int, ...]  # without the end
    score: float  # log probability, divided by its length's penalty


class Search:
    """One source: beginnings still alive, the likeliest first, and targets that are finished.

    A finished target leaves the beam, which is narrower by it from then on: Sutskever, Vinyals & Le, Sequence to
    Sequence Learning with Neural Networks (2014), section 3.2.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.alive: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
        self.finished: list[Found] = []
        self._closest = float("inf")  # nats between a token taken and the next, where one beginning is kept
        self._given_up = -float("inf")  # the best that beginnings could have come to which were not gone on with

    @property
    def done(self) -> bool:
        return not self.alive

    def take(self, log_probs: np.ndarray) -> tuple[list[int], list[int]]:
        """Goes on by one token. `log_probs`: (K, V) behind each beginning alive.

        Returns:
            The last token of each beginning that is alive now, and which one it goes on from.
        """
        log_probs[:, list(self.rule.never)] = -np.inf
        totals = (np.array([score for _, score in self.alive])[:, None] + log_probs).ravel()
        room = self.rule.beam - len(self.finished)
        best = _largest(totals, room + 1)
        if self.rule.beam == 1 and len(best) > 1:
            self._closest = min(self._closest, float(totals[best[0]] - totals[best[1]]))
        alive, tokens, rows = [], [], []
        for at in best[:room].tolist():
            if totals[at] == -np.inf:
                break
            row, token = divmod(at, log_probs.shape[1])
            before, total = self.alive[row][0], float(totals[at])
            length = len(before) + 1
            if token == self.rule.end:
                self.finished.append(Found(before, self.rule.normalised(total, length)))
            elif length == self.rule.longest:  # cut off
                self.finished.append(Found((*before, token), self.rule.normalised(total, length)))
            else:
                alive.append(((*before, token), total))
                tokens.append(token)
                rows.append(row)
        self.alive = alive
        hope = self.rule.normalised(alive[0][1], self.rule.longest) if alive else -float("inf")
        if self.finished and hope <= self.best.score:  # no beginning can still win
            self.alive, self._given_up = [], hope
            return [], []
        return tokens, rows

    @property
    def best(self) -> Found:
        return max(self.finished, key=lambda found: found.score)  # the first of equal ones

    @property
    def margin(self) -> float:
        """By how much the best is better than what came second, in normalised nats."""
        if self.rule.beam == 1:
            return self._closest
        others = sorted((found.score for found in self.finished), reverse=True)[1:2]
        return self.best.score - max([*others, self._given_up])

    def settled(self) -> tuple[int, ...]:
        """The beginning that whatever is found will have."""
        known = [tokens for tokens, _ in self.alive] + [found.tokens for found in self.finished]
        shortest = min(map(len, known))
        same = next((at for at in range(shortest) if len({tokens[at] for tokens in known}) > 1), shortest)
        return known[0][:same]


def search(reader: Reader, num_sources: int, rule: Rule) -> Iterator[list[Search]]:
    """The searches of all sources after each token, until all are done; those of one reader go together."""
    searches = [Search(rule) for _ in range(num_sources)]
    tokens, rows = np.full(num_sources, rule.start), np.arange(num_sources)
    while len(rows):
        log_probs = reader.advance(tokens, rows)
        next_tokens: list[int] = []
        next_rows: list[int] = []
        first = 0
        for one in searches:
            count = len(one.alive)
            if count:
                new, origins = one.take(log_probs[first : first + count])
                next_tokens += new
                next_rows += [first + origin for origin in origins]
            first += count
        tokens, rows = np.array(next_tokens, np.int64), np.array(next_rows, np.int64)
        yield searches


def _largest(totals: np.ndarray, count: int) -> np.ndarray:
    """Where the largest are, the largest first and the first of equal ones first."""
    if count < len(totals):
        least = np.partition(totals, len(totals) - count)[len(totals) - count]
        some = np.flatnonzero(totals >= least)
    else:
        some = np.arange(len(totals))
    return np.asarray(some[np.argsort(-totals[some], kind="stable")][:count])
