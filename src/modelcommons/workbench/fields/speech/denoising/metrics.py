"""metrics: how much of a recording is the voice, in decibels, before and after, from stored lines alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from modelcommons.errors import DataError, FormatError
from modelcommons.workbench.engine.statistics import bootstrap
from modelcommons.workbench.task import Line, Metric, Score

MOST_DB = 100.0  # an exact copy has no noise at all, silence no voice: so many decibels, and so many below 0
METRICS = (
    Metric("si_sdr_improvement", "higher", -2 * MOST_DB, 2 * MOST_DB, "decibels of SI-SDR that the recording gains"),
    Metric(
        "si_sdr", "higher", -MOST_DB, MOST_DB,
        "scale-invariant signal-to-distortion ratio: the voice over all that is not the voice, in decibels",
    ),
    Metric("improved", "higher", 0.0, 1.0, "share of the recordings that come out better than they went in"),
)  # fmt: skip
DRAWS = 2000
TOLERANCE_DB = 0.05  # what a re-run on another machine may move
NOTICED_DB = 0.25  # of SI-SDR, or of the loudness of a stretch
FAINT_DB = -60.0  # what is below is silence


def si_sdr(found: np.ndarray, clean: np.ndarray) -> float:
    """Decibels, at most `MOST_DB` either way; sums are exact, so that every machine gives the same.

    Source: Le Roux, Wisdom, Erdogan & Hershey, SDR - Half-baked or Well Done? (2019), equation 3, means not taken off.

    Args:
        found: int16 (N,), of any loudness.
        clean: int16 (N,), not silent.
    """
    a, b = found.astype(np.int64), clean.astype(np.int64)
    product, energy, all = int(a @ b), int(b @ b), int(a @ a)  # |target|² = product² / energy
    voice, rest = product * product, all * energy - product * product
    if not voice or product < 0:
        return -MOST_DB
    if not rest:
        return MOST_DB
    return float(f"{min(MOST_DB, max(-MOST_DB, 10 * math.log10(voice / rest))):.6g}")


def scores(lines: Sequence[Line], seed: int = 0) -> list[Score]:
    """Every metric, with a bootstrap of the speakers where there are several, else of the recordings.

    Raises:
        DataError: there are no lines.
        FormatError: a line is no answer of an enhancer.
    """
    if not len(lines):
        raise DataError("Expected predictions to score, there are none. Give the test at least one row.")
    before, after = _columns(lines)
    names = [line["target"].get("speaker") or "" for line in lines]
    spoken = len(set(names)) > 1
    groups = names if spoken else [line["target"]["recording"] for line in lines]
    method = f"percentile-bootstrap({'speakers' if spoken else 'recordings'},draws={DRAWS},seed={seed})"
    found = []
    for metric, values in zip(METRICS, (after - before, after, (after > before).astype(np.float64)), strict=True):
        value = float(values.mean())
        low, high = bootstrap(values, seed, DRAWS, groups)
        found.append(Score(metric.name, value, metric.direction, min(low, value), max(high, value), method))
    return found


def losses(lines: Sequence[Line]) -> np.ndarray:
    """Decibels that the improvement falls short of the largest there can be, (lines,)."""
    before, after = _columns(lines)
    return np.asarray(2 * MOST_DB - (after - before))


def block(lines: Sequence[Line]) -> int:
    """1: rows of one recording are in different noises."""
    return 1


def changed(a: Line, b: Line) -> bool:
    """Whether one could hear it: a quarter of a decibel in SI-SDR, or in the loudness of a stretch."""
    return not _near(a, b, NOTICED_DB)


def agrees(stored: Line, fresh: Line, noise: float) -> bool:
    """The same samples, or as good ones that are as loud everywhere."""
    return _near(stored, fresh, max(noise, TOLERANCE_DB))


def levels(samples: np.ndarray, parts: int = 8) -> list[float]:
    """Loudness of equal stretches of a recording, decibels below full scale.

    Args:
        samples: int16 (N,).
    """
    edges = np.linspace(0, len(samples), parts + 1).astype(np.int64)
    squares = np.concatenate([[0], np.cumsum(samples.astype(np.int64) ** 2)])
    power = np.diff(squares[edges]) / np.maximum(1, np.diff(edges)) / 2.0**30
    return [round(10 * math.log10(max(each, 1e-10)), 2) for each in power.tolist()]


def _near(a: Line, b: Line, allowed_db: float) -> bool:
    mine, theirs = a["prediction"], b["prediction"]
    if mine["samples"] != theirs["samples"]:
        return False
    if mine["sha256"] == theirs["sha256"]:
        return True
    loud = zip(mine["levels_db"], theirs["levels_db"], strict=True)
    apart = [abs(max(x, FAINT_DB) - max(y, FAINT_DB)) for x, y in loud]
    return bool(max([*apart, abs(mine.get("si_sdr", 0.0) - theirs.get("si_sdr", 0.0))]) <= allowed_db)


def _columns(lines: Sequence[Line]) -> tuple[np.ndarray, np.ndarray]:
    """SI-SDR of what went in, and of what came out, float64 (lines,) each."""
    try:
        pairs = [
            (line["target"]["si_sdr"], line["prediction"]["si_sdr"], line["target"]["recording"]) for line in lines
        ]
        before, after = (np.array([pair[at] for pair in pairs], np.float64) for at in (0, 1))
        if not all(np.isfinite(each).all() and (np.abs(each) <= MOST_DB).all() for each in (before, after)):
            raise ValueError(f"a ratio beyond {MOST_DB:.0f} dB")
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"Expected lines with `si_sdr` in `target` and `prediction`; one has none ({error}). Score the model again."
        ) from error
    return before, after
