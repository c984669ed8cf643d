"""figures: the gain in decibels by how loud the noise was, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from modelcommons.workbench.engine.drawing import COLORS, PALE, plain, svg
from modelcommons.workbench.task import Line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS = {
    "en": {"title": "What each noise loses", "x": "voice over noise, dB", "y": "SI-SDR gained, dB"},
    "zh": {"title": "各种噪声的改善", "x": "语音与噪声之比（dB）", "y": "SI-SDR 提升（dB）"},
}


def figures(lines: Sequence[Line], language: Literal["en", "zh"] = "en") -> list[tuple[str, str]]:
    """(title, SVG) pairs."""
    words = WORDS[language]
    gained: dict[str, dict[int, list[float]]] = {}
    for line in lines:
        target, found = line["target"], line["prediction"]["si_sdr"]
        ratios = gained.setdefault(target["noise"], {})
        ratios.setdefault(target["snr_db"], []).append(found - target["si_sdr"])

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axhline(0, color=PALE, linewidth=0.8)
        for at, noise in enumerate(sorted(gained)):
            ratios = sorted(gained[noise])
            means = [float(np.mean(gained[noise][ratio])) for ratio in ratios]
            axes.plot(ratios, means, "o-", markersize=4, color=COLORS[at % len(COLORS)], label=noise)
        axes.set(xlabel=words["x"], ylabel=words["y"])
        axes.legend(frameon=False)
        plain(axes)

    return [(words["title"], svg(draw, 5.0, 2.8))]
