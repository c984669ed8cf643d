"""commonest: the floor of detection, which never looks at a picture: the same boxes for each, where most boxes were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelcommons.workbench.fields.image.boxes.metrics import MOST
from modelcommons.workbench.fields.image.boxes.objects import Objects, as_lists, iou
from modelcommons.workbench.task import Answer, Row

BOXES = 2_000  # of a class that are looked at, evenly spaced
MET = 0.5  # IoU of two boxes that count as the same


@dataclass(frozen=True, slots=True, eq=False)
class CommonBox:
    """A box in shares of a picture's sides."""

    box: np.ndarray  # float64 (4,): x, y, width, height
    label: str
    share: float  # of the training pictures that have one like it


def common_boxes(pictures: Sequence[Objects]) -> list[CommonBox]:
    """Class by class, again and again the training box that is met by boxes of most pictures, of equal ones the first;
    what it meets is then taken away. At most as many of a class as a picture has on average, rounded up."""
    found: list[CommonBox] = []
    for code, label in enumerate(pictures[0].labels):
        boxes, where = _boxes_of(pictures, code)
        alike = iou(boxes, boxes) >= MET
        left = np.ones(len(boxes), bool)
        for _ in range(-(-len(boxes) // len(pictures))):
            counts = np.array([len(np.unique(where[row & left])) for row in alike])
            best = int(counts.argmax())
            if not counts[best]:
                break
            found.append(CommonBox(boxes[best], label, counts[best] / len(pictures)))
            left &= ~alike[best]
    return sorted(found, key=lambda one: -one.share)[:MOST]


def _boxes_of(pictures: Sequence[Objects], code: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of a class in shares of their pictures' sides, and the picture of each."""
    boxes, where = [np.empty((0, 4))], [np.empty(0, np.int64)]
    for at, one in enumerate(pictures):
        height, width = one.size
        mine = one.boxes[one.codes == code] / np.array([width, height, width, height])
        boxes.append(mine)
        where.append(np.full(len(mine), at))
    every, owners = np.concatenate(boxes), np.concatenate(where)
    step = max(1, -(-len(every) // BOXES))
    return every[::step], owners[::step]


@dataclass
class Commonest:
    """The common boxes, with the share of training pictures that have one like it as its score."""

    labels: Sequence[str]
    boxes: Sequence[CommonBox]

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        return [{"prediction": self._on(*row.x.shape[:2])} for row in rows]

    def _on(self, height: int, width: int) -> dict[str, object]:
        sides = np.array([width, height, width, height])
        return {
            "boxes": as_lists(np.array([one.box * sides for one in self.boxes]).reshape(-1, 4)),
            "labels": [one.label for one in self.boxes],
            "scores": [float(f"{one.share:.6g}") for one in self.boxes],
        }
