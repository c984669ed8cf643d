"""floor: how often each word stood in train, whatever stands around it; and what pairs mostly were."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

from modelcommons.workbench.fields.text.language.ngrams import CharacterNgrams
from modelcommons.workbench.fields.text.ngrams import WORD
from modelcommons.workbench.fields.text.pretraining.metrics import folded
from modelcommons.workbench.fields.text.pretraining.model import TOP
from modelcommons.workbench.task import Answer, Row

NAME = "word frequencies"


class Frequencies:
    """Every place gets the same answer: the words of train by how often they came. A word that never came is spelled:
    as likely as a new word (Witten & Bell, 1991, method C) times a 5-gram of the characters of train's different words.
    """

    labels: Sequence[str] = ()

    def __init__(self, rows: Iterable[Row]) -> None:
        written: Counter[str] = Counter()
        following: list[bool] = []
        for row in rows:
            written.update(WORD.findall(row.x.stretch))
            following += [] if row.y.next is None else [row.y.next]
        self._counts: Counter[str] = Counter()
        for word, count in written.items():
            self._counts[folded(word)] += count
        self._total = sum(self._counts.values()) + len(self._counts)
        self._letters = CharacterNgrams([f"{word} " for word in self._counts])
        best = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))[:TOP]
        self._top = [{"word": word, "logprob": float(f"{math.log(n / self._total):.6g}")} for word, n in best]
        self._next = float(f"{sum(following) / len(following):.6g}") if following else None
        self.cost = cache(self._cost)

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        return [{"prediction": {"places": self._places(row), "next": self._next}} for row in rows]

    def _places(self, row: Row) -> list[dict[str, object]]:
        words = [folded(row.x.word(place)) for place in row.x.places]
        return [{"top": self._top, "nats": float(f"{self.cost(word):.6g}")} for word in words]

    def _cost(self, word: str) -> float:
        """Nats of a word."""
        if word in self._counts:
            return -math.log(self._counts[word] / self._total)
        spelled = float(np.log(self._letters.shares(f"{word} ")).sum())
        return math.log(self._total / len(self._counts)) - spelled
