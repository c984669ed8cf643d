"""explaining: which patches of a picture the best boxes found in it rest on, by filling each."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from modelcommons.workbench.engine.attribution import occlusion
from modelcommons.workbench.engine.drawing import ACCENT, patched
from modelcommons.workbench.fields.image.boxes.answers import Proposals
from modelcommons.workbench.fields.image.boxes.detector import Detector
from modelcommons.workbench.fields.image.boxes.metrics import SHOWN as SURE
from modelcommons.workbench.fields.image.boxes.objects import iou, parsed
from modelcommons.workbench.fields.image.explain import SHOWN
from modelcommons.workbench.fields.image.masks.explain import grid
from modelcommons.workbench.task import Attribution, Row

if TYPE_CHECKING:
    from torch import Tensor

AT_ONCE = 8
BEST = 5  # boxes at most that are explained together
MET = 0.5  # IoU of a proposal that still is the box


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """The boxes of a whole picture that are explained."""

    boxes: np.ndarray  # float64 (boxes, 4): x, y, width, height
    codes: np.ndarray  # int64 (boxes,)
    names: list[str]


class Explainer:
    """Features are square patches; a patch is removed by filling it with the picture's median colour."""

    def __init__(self, model: Detector) -> None:
        self.model = model

    def attribute(self, row: Row) -> Attribution:
        """How far the scores of the best boxes fall when each patch is filled."""
        import torch

        best = self._best(row)
        patches, shape, side = grid(*row.x.shape[:2])
        fill = np.broadcast_to(np.median(row.x, axis=(0, 1)), row.x.shape).astype(np.float32)

        def score(pictures: Tensor) -> Tensor:
            return torch.from_numpy(self._strength(list(pictures.numpy().astype(np.uint8)), best))

        picture, empty = (torch.from_numpy(values.astype(np.float32)[None]) for values in (row.x, fill))
        weights = occlusion(score, picture, empty, patches[None, :, :, None], AT_ONCE)
        answer = ", ".join(best.names) or "nothing"
        return Attribution(weights, (), shape, f"occlusion, patches of {side} pixels", answer)

    def strength(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """Mean score that the best boxes of the whole picture still get."""
        best, (patches, _, _) = self._best(row), grid(*row.x.shape[:2])
        fill = np.median(row.x, axis=(0, 1)).astype(np.uint8)
        pictures = [np.where(np.isin(patches, features)[:, :, None], fill, row.x) for features in removed]
        parts = [self._strength(pictures[at : at + AT_ONCE], best) for at in range(0, len(pictures), AT_ONCE)]
        return np.concatenate(parts)

    def show(self, row: Row, attribution: Attribution) -> str:
        """The picture with its best boxes, and beside it with its patches coloured: warm for, cold against."""
        height, width = row.x.shape[:2]
        best = self._best(row)
        stroke = f'fill="none" stroke="{ACCENT}" stroke-width="{max(height, width) / 150:.2g}"'
        boxes = "".join(
            f'<rect x="{x:g}" y="{y:g}" width="{across:g}" height="{down:g}" {stroke}>'
            f"<title>{html.escape(name)}</title></rect>"
            for (x, y, across, down), name in zip(best.boxes.tolist(), best.names, strict=True)
        )
        largest = float(np.abs(attribution.weights).max()) or 1.0
        return patched(row.x, attribution.weights / largest, grid(height, width)[2], attribution.answer, SHOWN, boxes)

    def _best(self, row: Row) -> Best:
        """The boxes that a person is shown, at most `BEST`; where there are none, the one with the highest score."""
        found = parsed(self.model.predict([row])[0]["prediction"])
        number = min(BEST, max(1, int((found.scores >= SURE).sum())))
        names = found.labels[:number]
        codes = np.array([list(self.model.labels).index(name) for name in names], np.int64)
        return Best(found.boxes[:number], codes, names)

    def _strength(self, pictures: Sequence[np.ndarray], best: Best) -> np.ndarray:
        """Mean over the best boxes of the highest score of their class among proposals that lie on them; float64."""
        return np.array([_mean_score(found, best) for found in self.model.propose(pictures)])


def _mean_score(found: Proposals, best: Best) -> float:
    scores = []
    for box, code in zip(best.boxes, best.codes.tolist(), strict=True):
        theirs = (found.boxes[:, code] if found.boxes.ndim == 3 else found.boxes).astype(np.float64)
        lies = iou(np.concatenate([theirs[:, :2], theirs[:, 2:] - theirs[:, :2]], axis=1), box[None])[:, 0] >= MET
        scores.append(float(found.scores[lies, code].max(initial=0.0)))
    return float(np.mean(scores)) if scores else 0.0
