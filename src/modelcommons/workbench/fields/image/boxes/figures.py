"""figures: precision against recall of each class; and the worst, a middling and the best picture with its boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from modelcommons.workbench.engine.drawing import ACCENT, COLORS, INK, plain, svg
from modelcommons.workbench.fields.image.boxes.metrics import SHOWN, curve, losses, matched, precision
from modelcommons.workbench.fields.image.boxes.objects import parsed
from modelcommons.workbench.task import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 6  # classes that are drawn: those with the most objects
WORDS = {
    "en": {"title": "Precision and recall of each class (IoU 0.5)", "x": "recall", "y": "precision",
           "shown": "The worst, a middling and the best picture", "target": "is there", "found": "found",
           "of": "mean over its classes"},
    "zh": {"title": "各类别的精确率与召回率（IoU 0.5）", "x": "召回率", "y": "精确率",
           "shown": "最差、居中与最好的图片", "target": "实际", "found": "找到", "of": "各类别平均"},
}  # fmt: skip


def figures(lines: Sequence[Line], language: Literal["en", "zh"] = "en") -> list[tuple[str, str]]:
    """(title, SVG) pairs."""
    words, lost = WORDS[language], losses(lines)
    order = np.argsort(-lost, kind="stable")
    chosen = [int(order[0]), int(order[len(order) // 2]), int(order[-1])]
    classes = sorted(matched(lines).items(), key=lambda one: -int(one[1].wanted.sum()))[:MOST]
    once = np.ones((1, len(lines)), np.int64)

    def curves(figure: Figure) -> None:
        axes = figure.add_subplot()
        for (name, found), color in zip(classes, COLORS, strict=False):
            if found.wanted.any():
                recall, share = curve(found)
                average = precision(found, once)[0][0, 0]
                axes.plot(recall, share, color=color, drawstyle="steps-pre", label=f"{name} (AP {average:.3f})")
        axes.set(xlabel=words["x"], ylabel=words["y"], xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(frameon=False)
        plain(axes)

    def pictures(figure: Figure) -> None:
        from matplotlib.patches import Patch

        for axes, at in zip(figure.subplots(1, len(chosen)), chosen, strict=True):
            _draw(axes, lines[at])
            axes.set_xlabel(f"AP {1 - lost[at]:.3f}")
        handles = [Patch(color=color, label=words[name]) for name, color in (("target", INK), ("found", ACCENT))]
        figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)

    return [(words["title"], svg(curves, 5.0, 3.2)), (words["shown"], svg(pictures, 6.4, 2.6))]


def _draw(axes: Axes, line: Line) -> None:
    """Where things are and where they were found, without the picture, which no line holds."""
    from matplotlib.patches import Rectangle

    height, width = line["target"]["size"]
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xticks=[], yticks=[])
    for name, color, style in (("target", INK, "-"), ("prediction", ACCENT, "--")):
        boxes = parsed(line[name])
        for (x, y, across, down), score in zip(boxes.boxes.tolist(), boxes.scores.tolist(), strict=True):
            if score >= SHOWN:
                axes.add_patch(Rectangle((x, y), across, down, fill=False, edgecolor=color, linestyle=style))
