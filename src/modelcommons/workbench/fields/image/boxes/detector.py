"""detector: a model that is ready to say where things are, whatever it was made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from modelcommons.workbench.fields.image.boxes.answers import Proposals, answer
from modelcommons.workbench.fields.image.boxes.asked import Asked
from modelcommons.workbench.fields.image.boxes.canvas import Canvas
from modelcommons.workbench.task import Answer, Row

if TYPE_CHECKING:
    from torch import Tensor, nn

AT_ONCE = 8  # pictures

Propose = Callable[[Sequence[np.ndarray]], list[Proposals]]  # pictures uint8 (height, width, 1 or 3) of any sizes
Run = Callable[[np.ndarray], list[Proposals]]  # float32 (B, 3, H, W) -> of each, in pixels of the input


class Detector:
    """A model that is ready to answer."""

    def __init__(
        self,
        labels: Sequence[str],
        propose: Propose,
        limit: float,  # of the IoU of two boxes of a class
        network: nn.Module | None = None,  # where there is one: an export has none
        canvas: Canvas | None = None,  # of a network of ours
    ) -> None:
        self.labels, self.propose, self.limit = labels, propose, limit
        self.network, self.canvas = network, canvas

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        answers = []
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            for row, found in zip(some, self.propose([row.x for row in some]), strict=True):
                height, width = row.x.shape[:2]
                made = answer(found, (height, width), self.labels, self.limit)
                answers.append(row.told(made) if isinstance(row, Asked) else made)
        return answers


def on_canvas(run: Run, canvas: Canvas) -> Propose:
    """What is proposed on the canvas, in pixels of the pictures."""

    def propose(pictures: Sequence[np.ndarray]) -> list[Proposals]:
        scales = [canvas.scale(*picture.shape[:2]) for picture in pictures]
        laid = [canvas.laid(picture, scale) for picture, scale in zip(pictures, scales, strict=True)]
        found = run(canvas.inputs(laid))
        return [Proposals(one.boxes / scale, one.scores) for one, scale in zip(found, scales, strict=True)]

    return propose


def as_arrays(found: Sequence[tuple[Tensor, Tensor]]) -> list[Proposals]:
    return [Proposals(boxes.float().cpu().numpy(), scores.float().cpu().numpy()) for boxes, scores in found]
