"""explain: which patches of a picture its label rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from modelcommons.workbench.engine.attribution import by_group, integrated_gradients
from modelcommons.workbench.engine.drawing import patched
from modelcommons.workbench.fields.image.classifier import Classifier, logits_of
from modelcommons.workbench.task import Attribution, Row

if TYPE_CHECKING:
    from torch import Tensor

PATCHES = 7  # along the shorter side, about
SHOWN = 168  # pixels of a drawing's height
STEPS = 32


class Explainer:
    """Features are square patches; a patch is removed by filling it with the mean colour of the training pictures."""

    def __init__(self, model: Classifier) -> None:
        self.model = model
        shape = model.preprocess.shape
        self.side = max(1, round(min(shape.height, shape.width) / PATCHES))
        self.rows, self.columns = -(-shape.height // self.side), -(-shape.width // self.side)

    def attribute(self, row: Row) -> Attribution:
        """Integrated gradients of the answer's log probability from the mean colour, summed over each patch."""
        import torch

        picture = self.model.fitted(row.x)
        empty = np.broadcast_to(self.model.preprocess.fill, picture.shape)
        inputs, baseline = (torch.from_numpy(self.model.inputs(one[None])) for one in (picture, empty))
        answer = int(self.model.probabilities(picture[None])[0].argmax())
        network = self.model.network
        assert network is not None

        def score(inputs: Tensor) -> Tensor:
            chosen: Tensor = logits_of(network(inputs)).log_softmax(1)[:, answer]
            return chosen

        weights = by_group(integrated_gradients(score, inputs, baseline, STEPS), self.patches(*inputs.shape[2:]))
        method = f"integrated gradients ({STEPS} steps), patches of {self.side} pixels"
        return Attribution(weights, (), (self.rows, self.columns), method, self.model.labels[answer])

    def strength(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """Probability of the label that the whole picture gets."""
        picture = self.model.fitted(row.x)
        answer = int(self.model.probabilities(picture[None])[0].argmax())
        patches = self.patches(*picture.shape[:2])
        gone = np.stack([np.isin(patches, features) for features in removed])  # (trials, height, width)
        pictures = np.where(gone[..., None], self.model.preprocess.fill, picture)
        return self.model.probabilities(pictures)[:, answer]

    def patches(self, height: int, width: int) -> np.ndarray:
        """The patch each place belongs to, int64 (height, width); an open model's input may be larger than ours."""
        shape = self.model.preprocess.shape
        row = np.arange(height) * shape.height // height // self.side
        column = np.arange(width) * shape.width // width // self.side
        return np.asarray(row[:, None] * self.columns + column)

    def show(self, row: Row, attribution: Attribution) -> str:
        """The picture, and beside it the same with its patches coloured: warm for, cold against the answer."""
        largest = float(np.abs(attribution.weights).max()) or 1.0
        return patched(self.model.fitted(row.x), attribution.weights / largest, self.side, attribution.answer, SHOWN)
