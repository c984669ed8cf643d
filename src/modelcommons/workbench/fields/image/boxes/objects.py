"""objects: the boxes of a picture with their classes, in memory and as JSON.

    {"size": [height, width], "boxes": [[x, y, width, height], ...], "labels": ["RBC", ...]}

Boxes are those of COCO: pixels of the original picture from its upper left corner, which is (0, 0). What a model found
has `scores` too, the highest first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelcommons.errors import FormatError

DECIMALS = 2  # of a pixel


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """What is on a picture, and where."""

    size: tuple[int, int]  # height and width of the picture
    boxes: np.ndarray  # float64 (objects, 4): x, y, width, height
    codes: np.ndarray  # int64 (objects,), index into `labels`
    labels: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {"size": list(self.size), "boxes": as_lists(self.boxes), "labels": [self.labels[c] for c in self.codes]}


def as_lists(boxes: np.ndarray) -> list[list[float]]:
    """Boxes, (objects, 4), as JSON values."""
    return [[round(value, DECIMALS) for value in box] for box in boxes.tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Boxes out of a line."""

    boxes: np.ndarray  # float64 (boxes, 4)
    labels: list[str]
    scores: np.ndarray  # float64 (boxes,); 1 for a target


def parsed(value: Mapping[str, Any]) -> Boxes:
    """Targets or answers from JSON.

    Raises:
        FormatError: they are none.
    """
    try:
        boxes = np.array(value["boxes"], np.float64).reshape(-1, 4)
        labels = [str(label) for label in value["labels"]]
        scores = np.array(value.get("scores", [1.0] * len(labels)), np.float64)
        if not len(boxes) == len(labels) == len(scores) or not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise ValueError(f"{len(boxes)} boxes, {len(labels)} labels, {len(scores)} scores")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(
            f"Expected `boxes` of four numbers and as many `labels`; one line has others ({error}). "
            "Score the model again."
        ) from error
    return Boxes(boxes, labels, scores)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of each of the boxes x, y, width, height (m, 4) with each of (n, 4); (m, n)."""
    first, second = a[:, None], b[None]
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    both = np.maximum(high - low, 0).prod(axis=-1)
    either = first[..., 2:].prod(axis=-1) + second[..., 2:].prod(axis=-1) - both
    return np.asarray(np.divide(both, either, out=np.zeros_like(both), where=either > 0))
