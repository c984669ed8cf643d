"""explaining: which patches of a picture the objects that were found in it rest on, by filling each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from modelcommons.workbench.engine.attribution import occlusion
from modelcommons.workbench.engine.drawing import ACCENT, patched
from modelcommons.workbench.fields.image.explain import PATCHES, SHOWN
from modelcommons.workbench.fields.image.masks.model import Segmenter
from modelcommons.workbench.task import Attribution, Row

if TYPE_CHECKING:
    from torch import Tensor

AT_ONCE = 8


class Explainer:
    """Features are square patches; a patch is removed by filling it with the picture's median colour."""

    def __init__(self, model: Segmenter) -> None:
        self.model = model

    def attribute(self, row: Row) -> Attribution:
        """How far the log-odds of what was found fall when each patch is filled."""
        import torch

        found = self._found(row.x)
        patches, shape, side = grid(*row.x.shape[:2])
        fill = np.broadcast_to(np.median(row.x, axis=(0, 1)), row.x.shape).astype(np.float32)

        def score(pictures: Tensor) -> Tensor:
            return torch.from_numpy(self._strength(pictures.numpy().astype(np.uint8), found))

        picture, empty = (torch.from_numpy(values.astype(np.float32)[None]) for values in (row.x, fill))
        weights = occlusion(score, picture, empty, patches[None, :, :, None], AT_ONCE)
        names = {self.model.labels[code] for code in np.unique(found)} - {self.model.labels[0]}
        answer = ", ".join(sorted(names)) or self.model.labels[0]
        return Attribution(weights, (), shape, f"occlusion, patches of {side} pixels", answer)

    def strength(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """Mean log-odds of the classes that the whole picture gets, where it gets others than background."""
        found, (patches, _, _) = self._found(row.x), grid(*row.x.shape[:2])
        fill = np.median(row.x, axis=(0, 1)).astype(np.uint8)
        values = []
        for features in removed:
            picture = np.where(np.isin(patches, features)[:, :, None], fill, row.x)
            values.append(self._strength(picture[None], found)[0])
        return np.array(values)

    def show(self, row: Row, attribution: Attribution) -> str:
        """The picture with what was found outlined, and beside it with its patches coloured: warm for, cold against."""
        height, width = row.x.shape[:2]
        stroke = f'fill="none" stroke="{ACCENT}" stroke-width="{max(height, width) / 150:.2g}"'
        edges = f'<path d="{outline(self._found(row.x))}" {stroke}/>'
        largest = float(np.abs(attribution.weights).max()) or 1.0
        return patched(row.x, attribution.weights / largest, grid(height, width)[2], attribution.answer, SHOWN, edges)

    def _found(self, picture: np.ndarray) -> np.ndarray:
        """The class of each pixel, int64 (height, width)."""
        return np.asarray(self.model.logits(picture[None])[0].argmax(axis=0))

    def _strength(self, pictures: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Mean log-odds of the classes `found`, over all of it but background, of each picture, float64."""
        logits = self.model.logits(pictures).astype(np.float64)
        theirs = np.take_along_axis(logits, found[None, None], axis=1)[:, 0]
        others = logits.copy()
        np.put_along_axis(others, np.broadcast_to(found[None, None], (len(logits), 1, *found.shape)), -np.inf, axis=1)
        odds = theirs - np.logaddexp.reduce(others, axis=1)
        inside = found > 0 if (found > 0).any() else np.ones_like(found, bool)
        return np.asarray(odds[:, inside].mean(axis=1))


def grid(height: int, width: int) -> tuple[np.ndarray, tuple[int, int], int]:
    """The patch of each pixel, int64 (height, width); rows and columns of patches; pixels a side."""
    side = max(1, round(min(height, width) / PATCHES))
    rows, columns = -(-height // side), -(-width // side)
    return (np.arange(height) // side)[:, None] * columns + np.arange(width) // side, (rows, columns), side


def outline(found: np.ndarray) -> str:
    """The edges between pixels of different classes, as the data of an SVG path: straight pieces, joined in rows."""
    pieces = []
    for axis, kind in ((0, "h"), (1, "v")):
        lines = np.diff(found, axis=axis) != 0
        lines = lines if axis == 0 else lines.T
        for at, line in enumerate(lines):
            steps = np.diff(np.concatenate([[False], line, [False]]).astype(np.int8))
            for start, stop in zip(
                np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True
            ):
                x, y = (start, at + 1) if axis == 0 else (at + 1, start)
                pieces.append(f"M{x} {y}{kind}{stop - start}")
    return "".join(pieces)
