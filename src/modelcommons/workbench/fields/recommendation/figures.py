"""figures: at which rank what was chosen stood, and how the places of all lists are shared among items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from modelcommons.workbench.engine.drawing import INK, PALE, plain, svg
from modelcommons.workbench.fields.recommendation.metrics import LISTED, found
from modelcommons.workbench.task import Line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS = {
    "en": {
        "ranks": "Hits at each rank", "rank": "rank", "hits": "lists with a hit there",
        "shares": "How recommendations are shared among items",
        "items": "share of the catalogue, the most listed first",
        "places": "share of all places", "equal": "all items equally often",
    },
    "zh": {
        "ranks": "各名次的命中", "rank": "名次", "hits": "在此名次命中的列表数",
        "shares": "推荐位在物品之间的分布", "items": "物品目录的比例（推荐最多的在前）", "places": "占全部推荐位的比例",
        "equal": "所有物品同样频繁",
    },
}  # fmt: skip


def figures(lines: Sequence[Line], language: Literal["en", "zh"] = "en") -> list[tuple[str, str]]:
    """(title, SVG) pairs."""
    words = WORDS[language]
    hits = np.sum([found(line) for line in lines], axis=0)
    places = Counter(item for line in lines for item in line["prediction"]["items"])
    often = np.array(sorted(places.values(), reverse=True), np.float64)
    num_items = int(lines[0]["target"]["num_items"])

    def ranks(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.bar(np.arange(1, LISTED + 1), hits, color=INK)
        axes.set(xlabel=words["rank"], ylabel=words["hits"])
        plain(axes)

    def shares(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot((0, 1), (0, 1), linestyle=":", color=PALE, label=words["equal"])
        x = np.append(np.arange(len(often) + 1) / num_items, 1.0)
        axes.plot(x, np.append(np.append(0.0, np.cumsum(often)) / max(often.sum(), 1.0), 1.0), color=INK)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=words["items"], ylabel=words["places"])
        axes.legend(frameon=False)
        plain(axes)

    return [(words["ranks"], svg(ranks, 4.8, 2.8)), (words["shares"], svg(shares, 4.8, 3.2))]
