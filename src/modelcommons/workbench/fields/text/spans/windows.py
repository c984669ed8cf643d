"""windows: a question and its context as overlapping stretches of tokens, and the best answer over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from modelcommons.errors import FormatError
from modelcommons.workbench.engine.tokenizer import read_tokenizer
from modelcommons.workbench.fields.text.spans.overlap import FEATURES, Words, features
from modelcommons.workbench.fields.text.spans.questions import Asked

QUESTION_SHARE = 3  # a question takes at most so small a part of a window


@dataclass(frozen=True, slots=True)
class Window:
    """What is read at once: the question, and as much of the context as fits."""

    ids: np.ndarray  # (tokens,) int64
    types: np.ndarray  # (tokens,) int64, 1 for the context
    starts: np.ndarray  # (tokens,) int64: where a token begins in the context, characters; -1 outside it
    ends: np.ndarray
    features: np.ndarray | None = None  # (tokens, FEATURES) float32

    def place(self, start: int, end: int) -> tuple[int, int] | None:
        """First and last token of a stretch of the context, end exclusive; None where it is not wholly in here."""
        context = np.flatnonzero(self.starts >= 0)
        inside = np.flatnonzero((self.ends > start) & (self.starts < end) & (self.starts >= 0))
        # a stretch that goes on beyond the window may begin before its first token, or end behind its last
        if not len(inside) or (inside[0] == context[0] and self.starts[context[0]] > start):
            return None
        if inside[-1] == context[-1] and self.ends[context[-1]] < end:
            return None
        return int(inside[0]), int(inside[-1])


class Encoder(Protocol):
    def windows(self, asked: Asked) -> list[Window]:
        """All windows of one question, at least one, in the order of the context."""

    def collate(self, windows: Sequence[Window]) -> dict[str, np.ndarray]:
        """One batch by the names of the network's inputs, padded on the right."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is read at once."""

    length: int  # tokens, question and context
    stride: int  # tokens of the context that neighbours share


class OwnEncoder:
    """By a tokenizer learned from the training texts; beside the tokens, what overlap tells of their words.

    The first token, a question's, stands for `no answer`.
    """

    def __init__(self, folder: Path, rare: np.ndarray, size: Size) -> None:
        self._tokenizer = read_tokenizer(folder)
        self._rare, self._size = rare, size

    def windows(self, asked: Asked) -> list[Window]:
        question, context = (self._tokenizer.encode(text) for text in (asked.question, asked.context))
        words = Words.of(asked.question), Words.of(asked.context)
        told = features(*words, asked, self._rare)
        most = self._size.length // QUESTION_SHARE
        first = np.array(question.ids[:most] or [1], np.int64)
        of_first = _spread(words[0], told[0], _begins(question)[: len(first)], len(first))
        ids = np.array(context.ids, np.int64)
        offsets = np.array(context.offsets, np.int64).reshape(-1, 2)
        of_rest = _spread(words[1], told[1], offsets[:, 0], len(ids))
        if len(offsets):  # a token stands for its whole word: answers do not begin or end inside one
            offsets = np.array(words[1].spans, np.int64)[words[1].at(offsets[:, 0])]
        found = []
        for begin, end in cut(len(ids), self._size.length - len(first), self._size.stride):
            outside, inside = np.full(len(first), -1), offsets[begin:end]
            found.append(
                Window(
                    np.concatenate([first, ids[begin:end]]),
                    np.repeat([0, 1], [len(first), end - begin]),
                    np.concatenate([outside, inside[:, 0]]),
                    np.concatenate([outside, inside[:, 1]]),
                    np.concatenate([of_first, of_rest[begin:end]]),
                )
            )
        return found

    def collate(self, windows: Sequence[Window]) -> dict[str, np.ndarray]:
        made = padded(windows, 0)
        told = np.zeros((*made["input_ids"].shape, FEATURES), np.float32)
        for row, window in enumerate(windows):
            told[row, : len(window.ids)] = window.features
        return {**made, "features": told}


class OpenEncoder:
    """By the tokenizer of an open model, which joins question and context in its own way."""

    def __init__(self, tokenizer: Any, size: Size, folder: Path) -> None:
        """Raises: FormatError: the tokenizer does not say where in a text its tokens stand."""
        if not tokenizer.is_fast:
            raise FormatError(f"The tokenizer in {folder} does not say where tokens stand. Name another model.")
        self._tokenizer, self._size = tokenizer, size
        self._typed = "token_type_ids" in tokenizer.model_input_names

    def windows(self, asked: Asked) -> list[Window]:
        question = self._tokenizer(
            asked.question, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )["offset_mapping"]
        most = self._size.length // QUESTION_SHARE
        text = asked.question if len(question) <= most else asked.question[: question[most - 1][1]]
        made = self._tokenizer(
            text, asked.context, truncation="only_second", max_length=self._size.length, stride=self._size.stride,
            return_overflowing_tokens=True, return_offsets_mapping=True, return_token_type_ids=self._typed,
        )  # fmt: skip
        found = []
        for at, ids in enumerate(made["input_ids"]):
            inside = np.array([part == 1 for part in made.sequence_ids(at)])
            offsets = np.array(made["offset_mapping"][at], np.int64).reshape(-1, 2)
            types = np.array(made["token_type_ids"][at] if self._typed else inside, np.int64)
            starts, ends = (np.where(inside, column, -1) for column in offsets.T)
            found.append(Window(np.array(ids, np.int64), types, starts, ends))
        return found

    def collate(self, windows: Sequence[Window]) -> dict[str, np.ndarray]:
        pad = self._tokenizer.pad_token_id
        made = padded(windows, 0 if pad is None else pad)
        return made if self._typed else {name: made[name] for name in ("input_ids", "attention_mask")}


def cut(count: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Stretches of at most `room` of `count` tokens, neighbours sharing `stride`; one that is empty where none are."""
    step = max(1, room - min(stride, room // 2))
    starts = range(0, max(1, count - room + step), step)
    return [(start, min(start + room, count)) for start in starts]


def padded(windows: Sequence[Window], pad: int) -> dict[str, np.ndarray]:
    """Token ids, mask and types, each (windows, longest) int64."""
    shape = len(windows), max(len(window.ids) for window in windows)
    ids, mask, types = np.full(shape, pad, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, window in enumerate(windows):
        here = slice(0, len(window.ids))
        ids[row, here], mask[row, here], types[row, here] = window.ids, 1, window.types
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def _begins(encoding: Any) -> np.ndarray:
    return np.array([start for start, _ in encoding.offsets] or [0], np.int64)


def _spread(words: Words, told: np.ndarray, begins: np.ndarray, count: int) -> np.ndarray:
    """What is told of words, for each token: that of the word it stands in; (count, FEATURES)."""
    if not len(told):
        return np.zeros((count, FEATURES), np.float32)
    return np.asarray(told[words.at(begins)])


# --- the best answer ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Logits:
    """What a network says of one window: how well each token begins, and ends, an answer; (tokens,) float64."""

    start: np.ndarray
    end: np.ndarray


@dataclass(frozen=True, slots=True)
class Found:
    """The best stretch of a context, and by how much it is better than the next."""

    start: int  # characters; both 0 where there is no answer
    end: int
    margin: float


ALONE = 1e3  # the margin of an answer that has no rival


def best(windows: Sequence[Window], logits: Sequence[Logits], most: int, impossible: bool) -> Found:
    """The stretch of at most `most` tokens with the largest sum of logits over all windows; the first of equals.

    Args:
        impossible: whether `no answer` is one; it is the first token's, and as likely as the window says that is least
            sure of it. Source: Devlin et al., BERT (2019), section 4.3.
    """
    scores: dict[tuple[int, int], float] = {}
    for window, each in zip(windows, logits, strict=True):
        for place, score in _two_best(window, each, most):
            scores[place] = max(score, scores.get(place, -np.inf))
    if impossible or not scores:
        scores[0, 0] = min(float(each.start[0] + each.end[0]) for each in logits)
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    margin = ranked[0][1] - ranked[1][1] if len(ranked) > 1 else ALONE
    return Found(*ranked[0][0], margin)


def _two_best(window: Window, logits: Logits, most: int) -> list[tuple[tuple[int, int], float]]:
    """The two best stretches of one window, characters, with their scores."""
    inside = np.flatnonzero((window.starts >= 0) & (window.ends > window.starts))
    if not len(inside):
        return []
    lengths = min(most, len(inside))
    sums = np.full((lengths, len(inside)), -np.inf)  # by length and first token
    firsts = np.broadcast_to(window.starts[inside], sums.shape)
    lasts = np.full(sums.shape, -1)
    start, end, ends = logits.start[inside], logits.end[inside], window.ends[inside]
    for more in range(lengths):
        here = slice(0, len(inside) - more)
        sums[more, here], lasts[more, here] = start[here] + end[more:], ends[more:]
    found: list[tuple[tuple[int, int], float]] = []
    while len(found) < 2 and np.isfinite(sums.max()):
        at = np.unravel_index(int(sums.argmax()), sums.shape)
        place = int(firsts[at]), int(lasts[at])
        found.append((place, float(sums[at])))
        sums[(firsts == place[0]) & (lasts == place[1])] = -np.inf  # other tokens of the same words
    return found


def log_probability(windows: Sequence[Window], logits: Sequence[Logits], start: int, end: int) -> float:
    """Of a stretch of the context as the answer, among all tokens of the window that gives it most; nats, at most 0."""
    found = [-np.inf]
    for window, each in zip(windows, logits, strict=True):
        place = (0, 0) if start == end else window.place(start, end)
        if place is not None:
            allowed = window.starts >= 0
            allowed[0] = True
            sides = zip((each.start, each.end), place, strict=True)
            found.append(sum(float(side[at] - np.logaddexp.reduce(side[allowed])) for side, at in sides))
    return max(found)
