"""figures: how good each text is, for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 20
WORDS = {
    "en": {"title": "How near each text is to a known one", "x": "1 - loss (1: the same)", "y": "texts",
           "mean": "mean"},
    "zh": {"title": "各文本与已知文本的接近程度", "x": "1 - 损失（1 表示相同）", "y": "文本数", "mean": "平均"},
}  # fmt: skip


def figure(losses: np.ndarray, language: Literal["en", "zh"]) -> list[tuple[str, str]]:
    """(title, SVG) pairs. `losses`: (lines,), 0 to 1."""
    from modelcommons.workbench.engine.drawing import ACCENT, INK, plain, svg

    words, good = WORDS[language], 1.0 - losses

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.hist(good, BINS, range=(0.0, 1.0), color=INK)
        axes.axvline(float(good.mean()), color=ACCENT, linestyle="--", label=words["mean"])
        axes.set(xlabel=words["x"], ylabel=words["y"], xlim=(0, 1))
        axes.legend(frameon=False)
        plain(axes)

    return [(words["title"], svg(draw, 5.0, 2.6))]
