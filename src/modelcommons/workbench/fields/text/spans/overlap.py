"""overlap: which words question and context share, how rare these are, and where they stand close together."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from modelcommons.workbench.fields.text.ngrams import WORD, rarity
from modelcommons.workbench.fields.text.spans.kinds import fits, kind_of
from modelcommons.workbench.fields.text.spans.questions import Asked
from modelcommons.workbench.task import Answer, Row

BUCKETS = 2**14  # words share so many rarities
# an end of a sentence: a mark and a blank, or a mark of a script without blanks
SENTENCE_END = re.compile(r"[.!?;]+[\"')\]]*\s+|[。！？；]+[”』」）]*|\n+")
NEAR, FAR = 0.7, 0.92  # what a shared word still counts one word further on
LONG_RUN = 4  # shared words in a row; more tell no more
SENTENCE = 7  # which of them tells the best sentence
FEATURES = 15  # numbers for each word of a context; those of a question are 0 but the first two


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a text: where they begin, characters (words,) int64, in lower case, and their buckets."""

    spans: list[tuple[int, int]]
    lower: list[str]
    buckets: np.ndarray

    @classmethod
    @lru_cache(maxsize=64)  # questions about one context come one after the other
    def of(cls, text: str) -> Words:
        found = list(WORD.finditer(text))
        lower = [match[0].lower() for match in found]
        return cls([match.span() for match in found], lower, np.array([_bucket(word) for word in lower], np.int64))

    def at(self, chars: np.ndarray) -> np.ndarray:
        """Index of the word in which each character stands, or behind which; int64."""
        starts = np.array([start for start, _ in self.spans], np.int64)
        return np.maximum(0, np.searchsorted(starts, chars, side="right") - 1)


def _bucket(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass")) % (BUCKETS - 1) + 1


def learn_rarity(contexts: Sequence[str]) -> np.ndarray:
    """Inverse document frequency of each bucket of words, float32 (BUCKETS,); 0 for what all contexts have."""
    found = (np.unique(Words.of(text).buckets) for text in contexts)
    return np.maximum(0.0, rarity(found, BUCKETS) - 1.0).astype(np.float32)


def sentences(text: str) -> list[tuple[int, int]]:
    """Where sentences begin and end, characters; together they are the text."""
    ends = [match.end() for match in SENTENCE_END.finditer(text) if match.end() < len(text)]
    return list(zip([0, *ends], [*ends, len(text)], strict=True))


def features(question: Words, context: Words, asked: Asked, rare: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What overlap tells of each word: (question words, FEATURES) and (context words, FEATURES), float32.

    Source: the exact-match features of Chen et al., Reading Wikipedia to Answer Open-Domain Questions (2017), with
    distances to shared words as in the sliding window of Richardson, Burges & Renshaw, MCTest (2013).
    """
    text, shared, there = asked.context, set(question.lower), set(context.lower)
    most = max(1e-6, float(rare[question.buckets].max(initial=0.0)))
    of_question = np.zeros((len(question.lower), FEATURES), np.float32)
    of_question[:, 0] = [word in there for word in question.lower]
    of_question[:, 1] = of_question[:, 0] * rare[question.buckets] / most
    found = np.zeros((len(context.lower), FEATURES), np.float32)
    found[:, 0] = [word in shared for word in context.lower]
    found[:, 1] = found[:, 0] * rare[context.buckets] / most
    runs = _runs(question.buckets, context.buckets)
    found[:, 2] = np.minimum(runs, LONG_RUN) / LONG_RUN
    weight = found[:, 1] * (1 + (runs > 1))
    found[:, 3], found[:, 4] = _before(weight, NEAR), _before(weight[::-1], NEAR)[::-1]
    found[:, 5], found[:, 6] = _before(weight, FAR), _before(weight[::-1], FAR)[::-1]
    found[:, SENTENCE] = _sentence_scores(question, context, text, rare)
    found[:, 8] = [word.isdigit() for word in context.lower]
    found[:, 9] = [text[start].isupper() for start, _ in context.spans]
    found[:, 10] = marks = np.array([not word[0].isalnum() for word in context.lower], bool)
    found[1:, 11], found[:-1, 12] = marks[:-1], marks[1:]  # begins, or ends, a clause
    found[:, 13] = np.minimum(1.0, rare[context.buckets] / 5)
    kind = kind_of(asked.question)
    found[:, 14] = [fits(kind, text[start:end]) for start, end in context.spans]
    return of_question, found


def _runs(question: np.ndarray, context: np.ndarray) -> np.ndarray:
    """For each context word, how long the longest run of words is that it stands in and that the question has too."""
    same = question[:, None] == context[None, :]
    ends = np.zeros((len(question) + 1, len(context) + 1), np.int64)  # length of the run that ends here
    for at in range(len(question)):
        ends[at + 1, 1:] = np.where(same[at], ends[at, :-1] + 1, 0)
    whole = ends[1:, 1:].copy()  # and of the whole run, told backwards
    for at in range(len(question) - 2, -1, -1):
        goes_on = same[at, :-1] & same[at + 1, 1:]
        whole[at, :-1] = np.where(goes_on, whole[at + 1, 1:], whole[at, :-1])
    return np.asarray(whole.max(axis=0, initial=0))


def _before(weights: np.ndarray, decay: float) -> np.ndarray:
    """At each word the sum of the weights before it, each fading with its distance."""
    total, found = 0.0, np.zeros(len(weights), np.float32)
    for at, weight in enumerate(weights.tolist()):
        found[at] = total
        total = total * decay + weight
    return found


def _sentence_scores(question: Words, context: Words, text: str, rare: np.ndarray) -> np.ndarray:
    """At each word, what its sentence shares with the question, the best sentence of the context being 1."""
    scores = np.zeros(len(context.lower))
    asked = set(question.lower)
    bounds = np.array([end for _, end in sentences(text)], np.int64)
    which = np.searchsorted(bounds, [start for start, _ in context.spans], side="right")
    for sentence in range(len(bounds)):
        here = np.flatnonzero(which == sentence)
        shared = {context.lower[at]: float(rare[context.buckets[at]]) for at in here if context.lower[at] in asked}
        scores[here] = math.fsum(shared.values())
    best = scores.max(initial=0.0)
    return np.asarray(scores / best if best > 0 else scores, np.float32)


class BestSentence:
    """The floor: the sentence that shares most with the question, each word counted by its rarity; the first of equals.

    Source: the sliding window of Richardson, Burges & Renshaw, MCTest (2013), section 5.1, with sentences as windows.
    """

    labels: Sequence[str] = ()

    def __init__(self, rare: np.ndarray) -> None:
        self._rare = rare

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        return [{"prediction": self._answer(row.x)} for row in rows]

    def _answer(self, asked: Asked) -> dict[str, object]:
        question, context = Words.of(asked.question), Words.of(asked.context)
        scores = _sentence_scores(question, context, asked.context, self._rare)
        at = context.spans[int(scores.argmax())][0] if len(scores) else 0
        start, end = next((start, end) for start, end in sentences(asked.context) if start <= at < end)
        return stretch(asked.context, start, end)


class NoAnswer:
    """The floor where most questions have no answer."""

    labels: Sequence[str] = ()

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        return [{"prediction": stretch("", 0, 0)} for _ in rows]


def stretch(context: str, start: int, end: int) -> dict[str, object]:
    """A prediction: the text of a stretch without the blanks around it, and where it begins; None where it is empty."""
    text = context[start:end]
    start += len(text) - len(text.lstrip())
    return {"text": text.strip(), "start": start if text.strip() else None}
