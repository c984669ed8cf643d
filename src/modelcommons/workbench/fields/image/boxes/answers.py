"""answers: from everything that a network proposes for a picture to the boxes that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from modelcommons.workbench.fields.image.boxes.metrics import MOST, STEPS
from modelcommons.workbench.fields.image.boxes.objects import as_lists
from modelcommons.workbench.task import Answer

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 0.01  # score of a box that is kept
CANDIDATES = 500  # that non-maximum suppression looks at
NO_LIMIT = 1.0  # of IoU: for networks that propose every thing once


@dataclass(frozen=True, slots=True, eq=False)
class Proposals:
    """All that a network says of one picture."""

    boxes: np.ndarray  # float32 (N, 4) or, of each class its own, (N, classes, 4): left, top, right, bottom, pixels
    scores: np.ndarray  # float32 (N, classes)

    def flat(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (N * classes, 4), scores and classes (N * classes,)."""
        number, classes = self.scores.shape
        boxes = np.broadcast_to(self.boxes if self.boxes.ndim == 3 else self.boxes[:, None], (number, classes, 4))
        return boxes.reshape(-1, 4), self.scores.ravel(), np.tile(np.arange(classes), number)


def answer(found: Proposals, size: tuple[int, int], labels: Sequence[str], limit: float) -> Answer:
    """The best boxes, at most `MOST`, each inside the picture; `margin` is the mean of as many of the highest scores.

    `unsure` says of how many decisions each of `STEPS` is the width: a score near the least, or near that of the last
    box kept; an IoU near the limit; a rival that is nearly as good.

    Args:
        size: height and width of the picture.
        limit: of the IoU of two boxes of a class.
    """
    import torch

    from modelcommons.workbench.fields.image.boxes.geometry import iou, kept

    boxes, scores, codes = found.flat()
    height, width = size
    boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    order = np.argsort(-scores, kind="stable")[:CANDIDATES]
    margin = scores[order[:MOST]].mean(dtype=np.float64) if len(order) else 0.0
    near = order[
        (scores[order] >= LEAST - STEPS[-1]) & (np.diff(boxes[order].reshape(-1, 2, 2), axis=1) > 0).all((1, 2))
    ]
    order = near[scores[near] >= LEAST]
    parts = [torch.from_numpy(np.ascontiguousarray(part[order])) for part in (boxes, scores, codes)]
    overlaps = iou(parts[0][:, None], parts[0][None])
    left = order[kept(overlaps, parts[1], parts[2], limit).numpy()]
    chosen = left[:MOST]
    x1, y1, x2, y2 = boxes[chosen].astype(np.float64).T
    prediction = {
        "boxes": as_lists(np.stack([x1, y1, x2 - x1, y2 - y1], axis=1)),
        "labels": [labels[code] for code in codes[chosen].tolist()],
        "scores": [float(f"{score:.6g}") for score in scores[chosen].tolist()],
        "unsure": _unsure(overlaps, parts[1], parts[2], scores[near], scores[left], limit),
    }
    return {"margin": float(f"{margin:.6g}"), "prediction": prediction}


def _unsure(
    overlaps: Tensor, scores: Tensor, codes: Tensor, near: np.ndarray, left: np.ndarray, limit: float
) -> list[int]:
    """
    Args:
        overlaps: (candidates, candidates) IoU of each with each; of the candidates scores and classes too.
        near: scores that are not far below the least.
        left: scores after suppression.
    """
    rivals = (codes[:, None] == codes[None]).triu(1)
    from_limit, above = (overlaps - limit).abs(), overlaps > limit
    apart = (scores[:, None] - scores[None]).abs()
    edges = [LEAST] if len(left) <= MOST else [LEAST, float(left[MOST - 1])]
    counts = []
    for step in STEPS:
        doubtful = rivals & ((from_limit <= step) | (above & (apart <= step)))
        counts.append(int(doubtful.any(0).sum() + sum((np.abs(near - edge) <= step).sum() for edge in edges)))
    return counts
