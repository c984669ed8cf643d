"""metrics: words, characters and whole texts that a recogniser got wrong, from stored lines alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from modelcommons.errors import DataError, FormatError
from modelcommons.workbench.engine.drawing import INK, plain, svg
from modelcommons.workbench.engine.statistics import bootstrap_ratio, wilson
from modelcommons.workbench.task import Line, Metric, Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = (
    Metric("wer", "lower", 0.0, float("inf"), "word error rate: words put in, left out or wrong, over words said"),
    Metric("cer", "lower", 0.0, float("inf"), "character error rate: the same over characters"),
    Metric("sentence_accuracy", "higher", 0.0, 1.0, "share of the texts that are right to the letter"),
)
DRAWS = 2000


def edits(said: Sequence[Any], heard: Sequence[Any]) -> int:
    """Fewest words (or characters) put in, left out or replaced that make one out of the other.

    Source: Wagner & Fischer, The String-to-String Correction Problem (1974), a row at a time.
    """
    places = np.arange(len(heard) + 1)
    number = {item: at for at, item in enumerate({*said, *heard})}
    other = np.array([number[item] for item in heard], np.int64)
    row = places
    for item in said:
        wrong = row[:-1] + (other != number[item])
        kept = np.concatenate([row[:1] + 1, np.minimum(wrong, row[1:] + 1)])
        row = np.minimum.accumulate(kept - places) + places  # items put in from any place before
    return int(row[-1])


def scores(lines: Sequence[Line], seed: int = 0) -> list[Score]:
    """Every metric, with a bootstrap of the recordings.

    Raises:
        DataError: there are no lines, or nothing is said in them.
        FormatError: a line is no answer of a recogniser.
    """
    said, heard = _texts(lines)
    if not any(said):
        raise DataError("Expected texts to score, there are none. Give the test at least one row.")
    pairs = list(zip(said, heard, strict=True))
    words = np.array([edits(a.split(), b.split()) for a, b in pairs], np.float64)
    chars = np.array([edits(a, b) for a, b in pairs], np.float64)
    method = f"percentile-bootstrap(draws={DRAWS},seed={seed})"
    found = []
    for metric, wrong, sizes in zip(
        METRICS, (words, chars), ([len(a.split()) for a in said], map(len, said)), strict=False
    ):
        over = np.array(list(sizes), np.float64)
        value = float(wrong.sum() / over.sum())
        low, high = bootstrap_ratio(wrong, over, seed, DRAWS)
        found.append(Score(metric.name, value, metric.direction, min(low, value), max(high, value), method))
    right, asked = sum(a == b for a, b in pairs), len(pairs)
    found.append(Score("sentence_accuracy", right / asked, "higher", *wilson(right, asked), "wilson", right, asked))
    return found


def losses(lines: Sequence[Line]) -> np.ndarray:
    """Wrong words over words said, (lines,)."""
    pairs = zip(*_texts(lines), strict=True)
    return np.array([edits(a.split(), b.split()) / max(1, len(a.split())) for a, b in pairs], np.float64)


def block(lines: Sequence[Line]) -> int:
    """1: recordings are independent."""
    return 1


def changed(a: Line, b: Line) -> bool:
    return bool(a["prediction"]["text"] != b["prediction"]["text"])


def agrees(stored: Line, fresh: Line, noise: float) -> bool:
    """The same text, or one that the recorded margin leaves open."""
    return not changed(stored, fresh) or stored.get("margin", 1.0) <= noise


WORDS = {
    "en": {"title": "Wrong words by recording", "x": "wrong words", "y": "recordings"},
    "zh": {"title": "各录音的错词数", "x": "错词数", "y": "录音数"},
}


def figures(lines: Sequence[Line], language: Literal["en", "zh"] = "en") -> list[tuple[str, str]]:
    """(title, SVG) pairs."""
    words = WORDS[language]
    counts = np.bincount([edits(a.split(), b.split()) for a, b in zip(*_texts(lines), strict=True)])

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.bar(range(len(counts)), counts, color=INK)
        axes.set_xticks(range(len(counts)))
        axes.set(xlabel=words["x"], ylabel=words["y"])
        plain(axes)

    return [(words["title"], svg(draw, 5.0, 2.6))]


def _texts(lines: Sequence[Line]) -> tuple[list[str], list[str]]:
    """What was said, and what was heard."""
    try:
        pairs = [(line["target"], line["prediction"]["text"]) for line in lines]
    except (KeyError, TypeError) as error:
        raise FormatError(
            f"Expected lines with `target` and `prediction.text`; one has none ({error}). Score the model again."
        ) from error
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        raise FormatError("Expected texts in every line, one has something else. Score the model again.")
    return [a for a, _ in pairs], [b for _, b in pairs]
