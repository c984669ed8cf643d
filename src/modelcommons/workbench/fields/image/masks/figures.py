"""figures: how good the masks are, picture by picture; and the worst, a middling and the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from modelcommons.workbench.engine.drawing import ACCENT, INK, PALE, plain, svg
from modelcommons.workbench.fields.image.masks import mask
from modelcommons.workbench.fields.image.masks.metrics import Areas
from modelcommons.workbench.task import Line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 20
SIDE = 256  # pixels of a mask as it is drawn, at most
WORDS = {
    "en": {"title": "IoU of each picture", "x": "IoU", "y": "pictures", "mean": "mean",
           "shown": "The worst, a middling and the best mask", "both": "found", "missed": "missed", "more": "too much"},
    "zh": {"title": "每张图片的 IoU", "x": "IoU", "y": "图片数", "mean": "平均",
           "shown": "最差、居中与最好的掩码", "both": "找到", "missed": "漏掉", "more": "多出"},
}  # fmt: skip
PAPER = "#ffffff"


def figures(lines: Sequence[Line], language: Literal["en", "zh"] = "en") -> list[tuple[str, str]]:
    """(title, SVG) pairs."""
    words, values = WORDS[language], Areas.of(lines).iou()
    order = np.argsort(values, kind="stable")
    chosen = [int(order[0]), int(order[len(order) // 2]), int(order[-1])]

    def histogram(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.hist(values, bins=BINS, range=(0, 1), color=INK)
        axes.axvline(float(values.mean()), color=ACCENT, linestyle="--", label=words["mean"])
        axes.set(xlabel=words["x"], ylabel=words["y"])
        axes.legend(frameon=False)
        plain(axes)

    def masks(figure: Figure) -> None:
        from matplotlib.colors import ListedColormap
        from matplotlib.patches import Patch

        colors = ListedColormap([PAPER, INK, ACCENT, PALE])
        for axes, at in zip(figure.subplots(1, len(chosen)), chosen, strict=True):
            axes.imshow(compared(lines[at]), colors, vmin=0, vmax=3, interpolation="nearest")
            axes.set(xticks=[], yticks=[], xlabel=f"IoU {values[at]:.3f}")
        legend = {"both": INK, "missed": ACCENT, "more": PALE}
        figure.legend(
            handles=[Patch(color=color, label=words[name]) for name, color in legend.items()],
            loc="outside upper center", ncols=3, frameon=False,
        )  # fmt: skip

    return [(words["title"], svg(histogram, 5.0, 2.6)), (words["shown"], svg(masks, 6.4, 2.8))]


def compared(line: Line) -> np.ndarray:
    """What became of each pixel, uint8 (height, width): 0 background in both, 1 right, 2 an object's, missed or of
    another class, 3 taken for one; every so many pixels of a large mask."""
    labels = mask.classes([line["target"], line["prediction"]])
    wanted, given = (mask.codes(line[name], labels) for name in ("target", "prediction"))
    step = max(1, -(-max(wanted.shape) // SIDE))
    wanted, given = wanted[::step, ::step], given[::step, ::step]
    return np.select([wanted == given, wanted > 0], [(wanted > 0).astype(np.int64), 2], 3).astype(np.uint8)
