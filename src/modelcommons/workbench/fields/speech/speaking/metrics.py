"""metrics: how far a voice is from the recordings of the same texts, from stored lines alone.

A line is `{"id", "prediction": {"cepstra", "seconds", "sha256"}, "target": {"cepstra", "seconds"}}`: the mel-cepstra of
what was said and of the recording (see `cepstra`), their lengths, and the digest of the wave, which is not stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from modelcommons.errors import DataError, FormatError
from modelcommons.formats.digest import sha256
from modelcommons.workbench.engine.drawing import ACCENT, INK, PALE, plain, svg
from modelcommons.workbench.engine.statistics import bootstrap
from modelcommons.workbench.fields.speech.sound import Sound
from modelcommons.workbench.fields.speech.speaking.cepstra import cepstra, distortion, read, written
from modelcommons.workbench.task import Answer, Json, Line, Metric, Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = (
    Metric("mcd", "lower", 0.0, float("inf"), "mel-cepstral distortion in dB after time warping, mean over the texts"),
    Metric("duration_error", "lower", 0.0, float("inf"), "difference in length over the recording's length, mean"),
)
DRAWS = 2000
HEARD_DB = 1.0  # two sounds of the same text that are further apart are different answers
SAME_DB = 0.5  # what other rounding may make of the phases that Griffin-Lim ends at
SAME_SECONDS = 0.05  # and of durations that lie halfway between two frames


def described(sound: Sound, rate_hz: int) -> dict[str, Json]:
    """What is stored of a sound.

    Args:
        rate_hz: of the data; a voice of another rate is brought to it.
    """
    return {"cepstra": written(cepstra(sound.at(rate_hz), rate_hz)), "seconds": float(f"{sound.seconds:.6g}")}


def answer(sound: Sound, rate_hz: int) -> Answer:
    """The answer to one text."""
    return {"prediction": {**described(sound, rate_hz), "sha256": sha256(sound.content())}}


# --- scores ---------------------------------------------------------------------------------------------------------


def losses(lines: Sequence[Line]) -> np.ndarray:
    """Mel-cepstral distortion of each text, (lines,)."""
    pairs = _pairs(lines, "cepstra")
    return np.array([distortion(read(wanted), read(given)) for wanted, given in pairs], np.float64)


def late(lines: Sequence[Line]) -> np.ndarray:
    """Difference in length of each text over the length of its recording, (lines,)."""
    try:
        found = np.array(_pairs(lines, "seconds"), np.float64).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise FormatError(f"Expected seconds in every line, one has something else ({error}).") from error
    if not (np.isfinite(found).all() and (found > 0).all()):
        raise FormatError("Expected seconds above 0 in every line, one has others. Score the model again.")
    return np.asarray(np.abs(found[:, 1] - found[:, 0]) / found[:, 0])


def scores(lines: Sequence[Line], seed: int = 0) -> list[Score]:
    """Every metric, with a bootstrap of the texts.

    Raises:
        DataError: there are no lines.
        FormatError: a line is no answer of a voice.
    """
    if not len(lines):
        raise DataError("Expected predictions to score, there are none. Give the test at least one row.")
    method, found = f"percentile-bootstrap(draws={DRAWS},seed={seed})", []
    for metric, values in zip(METRICS, (losses(lines), late(lines)), strict=True):
        value, (low, high) = float(values.mean()), bootstrap(values, seed, DRAWS)
        found.append(Score(metric.name, value, metric.direction, min(low, value), max(high, value), method))
    return found


# --- comparing two answers ------------------------------------------------------------------------------------------


def block(lines: Sequence[Line]) -> int:
    """1: texts are independent."""
    return 1


def changed(a: Line, b: Line) -> bool:
    return _apart(a, b) > HEARD_DB


def agrees(stored: Line, fresh: Line, noise: float) -> bool:
    """As long and nearly as it was: phases and halves of a frame may come out otherwise on another machine."""
    longer = abs(stored["prediction"]["seconds"] - fresh["prediction"]["seconds"])
    return bool(longer <= SAME_SECONDS and _apart(stored, fresh) <= SAME_DB)


def _apart(a: Line, b: Line) -> float:
    """Distortion between two answers, in dB."""
    return distortion(read(a["prediction"]["cepstra"]), read(b["prediction"]["cepstra"]))


def _pairs(lines: Sequence[Line], name: str) -> list[tuple[Any, Any]]:
    """(of the recording, of the answer) in each line."""
    try:
        return [(line["target"][name], line["prediction"][name]) for line in lines]
    except (KeyError, TypeError) as error:
        raise FormatError(
            f"Expected lines with `target.{name}` and `prediction.{name}`; one has none ({error}). "
            "Score the model again."
        ) from error


WORDS = {
    "en": {"title": "Length of what was said", "x": "recording, seconds", "y": "answer, seconds"},
    "zh": {"title": "语音长度", "x": "录音（秒）", "y": "合成（秒）"},
}


def figures(lines: Sequence[Line], language: Literal["en", "zh"] = "en") -> list[tuple[str, str]]:
    """(title, SVG) pairs."""
    words, pairs = WORDS[language], np.array(_pairs(lines, "seconds"), np.float64)
    longest = float(pairs.max()) * 1.05

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot([0, longest], [0, longest], color=PALE, linewidth=1)
        axes.scatter(pairs[:, 0], pairs[:, 1], color=ACCENT, edgecolor=INK, s=12, linewidth=0.3)
        axes.set(xlabel=words["x"], ylabel=words["y"], xlim=(0, longest), ylim=(0, longest))
        plain(axes)

    return [(words["title"], svg(draw, 3.4, 3.0))]
