"""metrics: what masked words cost, how many are right, and whether a stretch follows, from stored lines alone."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import Literal

import numpy as np

from modelcommons.errors import DataError, FormatError
from modelcommons.workbench.engine.statistics import bootstrap_ratio
from modelcommons.workbench.fields.text import costs
from modelcommons.workbench.task import Json, Line, Metric, Score

METRICS = (
    Metric("masked_cross_entropy", "lower", 0.0, float("inf"), "nats that a masked word costs, whatever the pieces"),
    Metric("masked_accuracy", "higher", 0.0, 1.0, "share of the masked words whose likeliest answer is right"),
    Metric("next_sentence_cross_entropy", "lower", 0.0, float("inf"), "nats that the answer costs whether it follows"),
    Metric("next_sentence_accuracy", "higher", 0.0, 1.0, "share of the pairs rightly told to follow or not"),
)
DRAWS = 2000
LEAST = 1e-6  # of a probability
TOLERANCE = 1e-3  # of a word's nats: what a re-run on another machine may move


def scores(lines: Sequence[Line], seed: int = 0) -> list[Score]:
    """Every metric, with a bootstrap of the documents where there are several, else of the rows; those of pairs only
    where they were asked about and answered.

    Raises:
        DataError: there are no lines, or no words in them.
        FormatError: a line is no answer of a masked language model.
    """
    nats, right, words, unsure, follows, pairs = _columns(lines)
    if not words.sum():
        raise DataError("Expected masked words to score, there are none. Give the test at least one row.")
    texts = [str(line["id"]).rsplit("@", 1)[0] for line in lines]
    groups = texts if len(set(texts)) > 1 else None
    method = f"percentile-bootstrap({'documents' if groups else 'rows'},draws={DRAWS},seed={seed})"
    found = []
    for metric, sums, over in zip(METRICS, (nats, right, unsure, follows), (words, words, pairs, pairs), strict=True):
        if not over.sum():
            continue
        value = float(sums.sum() / over.sum())
        asked = over > 0  # a draw without one of these rows would have no value
        named = None if groups is None else [name for name, one in zip(groups, asked.tolist(), strict=True) if one]
        low, high = bootstrap_ratio(sums[asked], over[asked], seed, DRAWS, named)
        counts = () if metric.direction == "lower" else (int(sums.sum()), int(over.sum()))
        found.append(
            Score(metric.name, value, metric.direction, min(low, value), max(high, value), method, *counts)
        )  # fmt: skip
    return found


def losses(lines: Sequence[Line]) -> np.ndarray:
    """Nats of a masked word of each row, (lines,)."""
    nats, _, words, *_ = _columns(lines)
    return np.asarray(nats / np.maximum(words, 1))


def block(lines: Sequence[Line]) -> int:
    """1: rows do not overlap."""
    return 1


def changed(a: Line, b: Line) -> bool:
    """Whether a place has another likeliest word, or a stretch is said to follow by one only."""
    one, other = a["prediction"], b["prediction"]
    return [_first(place) for place in one["places"]] != [_first(place) for place in other["places"]] or (
        _follows(one["next"]) != _follows(other["next"])
    )


def agrees(stored: Line, fresh: Line, noise: float) -> bool:
    """The same words at the same cost; a likeliest word may give way to one that is as likely."""
    one, other = stored["prediction"], fresh["prediction"]
    if len(one["places"]) != len(other["places"]) or (one["next"] is None) != (other["next"] is None):
        return False
    allowed = max(noise, TOLERANCE)
    if one["next"] is not None and abs(one["next"] - other["next"]) > allowed:
        return False
    return all(_same(a, b, allowed) for a, b in zip(one["places"], other["places"], strict=True))


def folded(word: str) -> str:
    """A word without capitals and accents, which many models do not tell apart."""
    plain = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", word).lower())
    return "".join(char for char in plain if not unicodedata.combining(char))


WORDS = {
    "en": {"title": "What masked words cost, row by row", "x": "row", "y": "nats per word", "mean": "mean"},
    "zh": {"title": "被遮词逐行的代价", "x": "行", "y": "每词奈特", "mean": "平均"},
}


def figures(lines: Sequence[Line], language: Literal["en", "zh"] = "en") -> list[tuple[str, str]]:
    """(title, SVG) pairs."""
    return costs.figures(losses(lines), scores(lines)[0].value, WORDS[language])


def _columns(lines: Sequence[Line]) -> tuple[np.ndarray, ...]:
    """Nats, right words and words of each line, then nats of whether it follows, right answers to it, and such
    questions, float64; no such questions at all where one has no answer."""
    found = []
    answered = True
    try:
        for line in lines:
            target, prediction = line["target"], line["prediction"]
            places = prediction["places"]
            right = [folded(word) == folded(_first(place)) for word, place in zip(target["words"], places, strict=True)]
            asked, said = target["next"] is not None, prediction["next"]
            answered = answered and not (asked and said is None)
            follows = asked and _follows(said) == target["next"]
            unsure = _nats(said if target["next"] else 1 - said) if asked and said is not None else 0.0
            words = sum(float(place["nats"]) for place in places)
            found.append((words, sum(right), len(right), unsure, follows, asked))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(
            f"Expected lines with masked words as target, and `nats` and `top` of each; one has none ({error}). Score "
            "the model again."
        ) from error
    columns = np.array(found, np.float64).reshape(-1, 6).T
    columns[3:] *= answered
    return tuple(columns)


def _first(place: Json) -> str:
    """The likeliest word; nothing where the place was cut off."""
    return str(place["top"][0]["word"]) if place["top"] else ""


def _nats(share: float) -> float:
    """Of an answer that was given this probability; stored ones have six digits, so it may be 0 or 1."""
    return -math.log(min(1.0, max(share, LEAST)))


def _follows(next: float | None) -> bool | None:
    return None if next is None else next >= 0.5


def _same(a: Json, b: Json, allowed: float) -> bool:
    if abs(a.get("nats", 0.0) - b.get("nats", 0.0)) > allowed * max(1.0, a.get("nats", 0.0)):
        return False
    if _first(a) == _first(b):
        return True
    known = {each["word"]: each["logprob"] for each in a["top"]}
    return _first(b) in known and known[_first(b)] >= a["top"][0]["logprob"] - 2 * allowed
