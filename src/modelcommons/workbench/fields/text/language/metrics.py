"""metrics: what a text costs a language model, per character and per byte, from stored lines alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from modelcommons.errors import DataError, FormatError
from modelcommons.workbench.engine.statistics import bootstrap_ratio
from modelcommons.workbench.fields.text import costs
from modelcommons.workbench.task import Line, Metric, Score

METRICS = (
    Metric("nats_per_char", "lower", 0.0, float("inf"), "cross-entropy in nats over characters, whatever the tokens"),
    Metric("bits_per_byte", "lower", 0.0, float("inf"), "the same in bits over the bytes of UTF-8"),
    Metric(
        "perplexity", "lower", 1.0, float("inf"), "exp of the nats per token; only models with the same tokens compare"
    ),
)
DRAWS = 2000
TOLERANCE = 1e-4  # of the nats: what a re-run on another machine may move, beside the six digits that are stored
NOTICED = 0.01  # nats per character


def scores(lines: Sequence[Line], seed: int = 0) -> list[Score]:
    """Every metric, with a bootstrap of the texts where there are several, else of the passages.

    Raises:
        DataError: there are no lines, or no characters in them.
        FormatError: a line is no answer of a language model.
    """
    nats, chars, size, tokens = _columns(lines)
    if not chars.sum():
        raise DataError("Expected texts to score, there are none. Give the test at least one row.")
    texts = [str(line["id"]).rsplit("@", 1)[0] for line in lines]
    groups = texts if len(set(texts)) > 1 else None
    what = "texts" if groups else "passages"
    method = f"percentile-bootstrap({what},draws={DRAWS},seed={seed})"
    found = []
    for metric, over, unit in zip(METRICS, (chars, size, tokens), (1.0, math.log(2), 1.0), strict=True):
        value = float(nats.sum() / over.sum() / unit)
        low, high = (end / unit for end in bootstrap_ratio(nats, over, seed, DRAWS, groups))
        if metric.name == "perplexity":
            value, low, high = (min(math.exp(min(each, 700.0)), 1e300) for each in (value, low, high))
        found.append(
            Score(metric.name, value, metric.direction, min(low, value), max(high, value), method)
        )  # fmt: skip
    return found


def losses(lines: Sequence[Line]) -> np.ndarray:
    """Nats per character of each passage, (lines,)."""
    nats, chars, _, _ = _columns(lines)
    return np.asarray(nats / np.maximum(chars, 1))


def block(lines: Sequence[Line]) -> int:
    """1: passages do not overlap."""
    return 1


def changed(a: Line, b: Line) -> bool:
    """Whether the passage costs one a hundredth of a nat per character more."""
    return bool(abs(_nats(a) - _nats(b)) > NOTICED * len(a["target"]))


def agrees(stored: Line, fresh: Line, noise: float) -> bool:
    """The same tokens at the same cost."""
    if stored["prediction"]["tokens"] != fresh["prediction"]["tokens"]:
        return False
    allowed = max(noise, TOLERANCE) * max(1.0, _nats(stored))
    return abs(_nats(stored) - _nats(fresh)) <= allowed


WORDS = {
    "en": {"title": "What the test text costs, passage by passage", "x": "passage", "y": "nats per character",
           "mean": "mean"},
    "zh": {"title": "测试文本逐段的代价", "x": "段落", "y": "每字符奈特", "mean": "平均"},
}  # fmt: skip


def figures(lines: Sequence[Line], language: Literal["en", "zh"] = "en") -> list[tuple[str, str]]:
    """(title, SVG) pairs."""
    return costs.figures(losses(lines), scores(lines)[0].value, WORDS[language])


def _columns(lines: Sequence[Line]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Nats, characters, bytes and tokens of each line, float64."""
    try:
        columns = [
            (
                _nats(line),
                len(line["target"]),
                len(line["target"].encode("utf-8", "surrogatepass")),
                line["prediction"]["tokens"],
            )
            for line in lines
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(
            f"Expected lines with a text as target, `nats` and `tokens`; one has none ({error}). Score the model again."
        ) from error
    nats, chars, size, tokens = np.array(columns, np.float64).reshape(-1, 4).T
    return nats, chars, size, tokens


def _nats(line: Line) -> float:
    return float(line["prediction"]["nats"])
