"""figures: how often what belongs together is found among the first, both ways, beside chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from modelcommons.workbench.engine.drawing import ACCENT, INK, PALE, plain, svg
from modelcommons.workbench.fields.multimodal.metrics import recall
from modelcommons.workbench.task import Line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FURTHEST = 50  # ranks that are drawn
WORDS = {
    "en": {
        "title": "Found among the first", "rank": "number of candidates looked at", "share": "share found",
        "texts": "texts of a picture", "images": "pictures of a text", "chance": "any order",
    },
    "zh": {
        "title": "排在前列的比例", "rank": "查看的候选数", "share": "找到的比例",
        "texts": "以图找文", "images": "以文找图", "chance": "随机顺序",
    },
}  # fmt: skip


def figures(lines: Sequence[Line], language: Literal["en", "zh"] = "en") -> list[tuple[str, str]]:
    """(title, SVG) pairs."""
    words = WORDS[language]
    candidates = max(int(line["target"]["candidates"]["texts"]) for line in lines)
    cuts = np.arange(1, min(FURTHEST, candidates) + 1)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for key, color in (("texts", INK), ("images", ACCENT)):
            rank, tied = (np.array([line["prediction"][key][name] for line in lines]) for name in ("rank", "tied"))
            axes.plot(cuts, [recall(rank, tied, cut).mean() for cut in cuts.tolist()], color=color, label=words[key])
        axes.plot(cuts, cuts / candidates, linestyle=":", color=PALE, label=words["chance"])
        axes.set(xlabel=words["rank"], ylabel=words["share"], ylim=(0, 1.02))
        axes.legend(frameon=False)
        plain(axes)

    return [(words["title"], svg(draw, 4.8, 3.2))]
