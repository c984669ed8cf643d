"""otsu: the floor of segmentation, which is told nothing but the picture itself; and for many classes the commonest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelcommons.formats.pixels import Shape, pixels
from modelcommons.workbench.fields.image.masks.mask import Mask
from modelcommons.workbench.task import Answer, Row


def threshold(gray: np.ndarray) -> int:
    """The brightness up to which pixels are of the dark part: between the parts the variance is largest.

    Source: Otsu, A threshold selection method from gray-level histograms (1979). Of equal ones the lowest.

    Args:
        gray: uint8, any shape.
    """
    counts = np.bincount(gray.ravel(), minlength=256)
    dark, sums = np.cumsum(counts), np.cumsum(counts * np.arange(256))
    bright = dark[-1] - dark
    apart = (sums[-1] * dark.astype(np.float64) - sums * float(dark[-1])) ** 2
    between = np.divide(apart, dark.astype(np.float64) * bright, out=np.zeros(256), where=(dark > 0) & (bright > 0))
    return int(between.argmax())


@dataclass
class Otsu:
    """The smaller one of the bright and the dark part is what is looked for."""

    labels: Sequence[str]

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        return [{"prediction": self._mask(row.x).as_json()} for row in rows]

    def _mask(self, picture: np.ndarray) -> Mask:
        height, width, _ = picture.shape
        gray = pixels(picture, Shape(height, width, 1))[:, :, 0]
        bright = gray > threshold(gray)
        inside = ~bright if 2 * bright.sum() > bright.size else bright
        return Mask(inside.astype(np.uint8), tuple(self.labels))


@dataclass
class Commonest:
    """Every pixel is of the class that most pixels of the training pictures have."""

    labels: Sequence[str]
    code: int

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        masks = (Mask(np.full(row.x.shape[:2], self.code, np.uint8), tuple(self.labels)) for row in rows)
        return [{"prediction": mask.as_json()} for mask in masks]
