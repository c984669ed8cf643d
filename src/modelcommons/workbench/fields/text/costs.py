"""costs: a picture of what each row of a test costs a language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figures(costs: np.ndarray, mean: float, words: Mapping[str, str]) -> list[tuple[str, str]]:
    """(title, SVG) pairs.

    Args:
        costs: of each row, shape (rows,).
        words: `title`, `x`, `y` and `mean` in the language of the report.
    """
    from modelcommons.workbench.engine.drawing import ACCENT, INK, plain, svg

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot(costs, ".", color=INK, markersize=3)
        axes.axhline(mean, color=ACCENT, linestyle="--", label=words["mean"])
        axes.set(xlabel=words["x"], ylabel=words["y"])
        axes.legend(frameon=False)
        plain(axes)

    return [(words["title"], svg(draw, 6.0, 2.6))]
