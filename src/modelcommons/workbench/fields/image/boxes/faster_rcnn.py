"""faster_rcnn: a two-stage detector: one network proposes regions, a second one looks at each and says what it is."""

# B batch, C channels, H height, W width, N proposals of a picture, K classes, M objects of a picture

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, smooth_l1_loss

from modelcommons.workbench.engine.cnn import convolution
from modelcommons.workbench.fields.image.boxes.geometry import iou, kept
from modelcommons.workbench.fields.image.boxes.pyramid import STRIDES, Pyramid
from modelcommons.workbench.fields.image.boxes.regions import (
    RATIOS,
    SCALES,
    anchors,
    clipped,
    decoded,
    encoded,
    roi_align,
)

STRIDE = STRIDES[0]
BINS = 7  # of a side of a region
ANCHORS = len(SCALES) * len(RATIOS)
BEFORE, AFTER, OVERLAP = 600, 150, 0.7  # proposals looked at and kept, and the IoU above which the weaker is left out
HIGH, LOW = 0.7, 0.3  # IoU of an anchor that is an object, and of one that is not
DRAWN_ANCHORS, DRAWN_REGIONS = 256, 64  # of a picture for a step
OBJECTS = (0.5, 0.25)  # share of them that are objects, at most: of anchors, of regions
MET = 0.5  # IoU of a region that is an object
SPREAD = (0.1, 0.1, 0.2, 0.2)  # of the second network's corrections: they are divided by it


class FasterRcnn(nn.Module):
    """Anchors on the finest map of a feature pyramid, which the proposals are also cut out of.

    Source: Ren et al., Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks (2015); with
    RoIAlign (He et al., Mask R-CNN, 2017), and on one level of a feature pyramid (Lin et al., 2017).
    """

    def __init__(self, num_labels: int, width: int, depth: int, hidden: int) -> None:
        super().__init__()
        self.pyramid = Pyramid(width, depth)
        inner = self.pyramid.channels
        self.look = convolution(inner, inner)
        self.objectness = nn.Conv2d(inner, ANCHORS, 1)
        self.shifts = nn.Conv2d(inner, 4 * ANCHORS, 1)
        self.region = nn.Sequential(
            nn.Flatten(), nn.Linear(inner * BINS**2, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.classes = nn.Linear(hidden, num_labels + 1)  # the last: nothing
        self.corrections = nn.Linear(hidden, 4 * num_labels)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W), sides multiples of 32 -> a map (B, C, h, w), logits (B, anchors), shifts (B, anchors, 4)."""
        features: Tensor = self.pyramid(pixel_values)[0]
        seen = self.look(features)
        logits = self.objectness(seen).float().permute(0, 2, 3, 1).flatten(1)
        shifts = self.shifts(seen).float().permute(0, 2, 3, 1).reshape(len(logits), -1, 4)
        return features.float(), logits, shifts

    def proposals(self, pixels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Of each picture boxes of every class (N, K, 4) in pixels, and scores (N, K)."""
        height, width = pixels.shape[2:]
        features, logits, shifts = self(pixels)
        near = anchors(height, width, STRIDE).to(pixels.device)
        found = []
        for one, odds, shift in zip(features, logits, shifts, strict=True):
            regions = proposed(odds, shift, near, (height, width))
            names, values = self._looked_at(one, regions, (height, width))
            boxes = clipped(decoded(values * values.new_tensor(SPREAD), regions[:, None]), height, width)
            found.append((boxes, names.softmax(1)[:, :-1]))
        return found

    def loss(self, pixels: Tensor, wanted: Tensor, codes: Tensor, there: Tensor) -> Tensor:
        """Of a batch, a scalar: both networks' losses of class and box, mean over the pictures.

        Args:
            wanted: (B, M, 4); codes: int64 (B, M); there: bool (B, M), whether that is an object or fills up.
        """
        height, width = pixels.shape[2:]
        features, logits, shifts = self(pixels)
        near = anchors(height, width, STRIDE).to(pixels.device)
        parts = []
        for at, one in enumerate(features):
            boxes, names = wanted[at, there[at]], codes[at, there[at]]
            parts.append(anchor_loss(logits[at], shifts[at], near, boxes))
            regions = proposed(logits[at].detach(), shifts[at].detach(), near, (height, width))
            regions, owner = drawn_regions(torch.cat([regions, boxes]), boxes)
            parts.append(self._region_loss(one, regions, owner, boxes, names, (height, width)))
        return torch.stack(parts).sum() / len(features)

    def _looked_at(self, features: Tensor, regions: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Logits (N, K + 1) and corrections (N, K, 4) of each region."""
        seen = self.region(roi_align(features, regions, size, BINS))
        return self.classes(seen).float(), self.corrections(seen).float().reshape(len(regions), -1, 4)

    def _region_loss(
        self, features: Tensor, regions: Tensor, owner: Tensor, boxes: Tensor, names: Tensor, size: tuple[int, int]
    ) -> Tensor:
        logits, values = self._looked_at(features, regions, size)
        right = owner >= 0
        targets = torch.full_like(owner, logits.shape[1] - 1)
        targets[right] = names[owner[right]]
        goal = encoded(boxes[owner[right]], regions[right]) / values.new_tensor(SPREAD)
        mine = values[right, targets[right]]
        return cross_entropy(logits, targets) + smooth_l1_loss(mine, goal, reduction="sum") / len(regions)


@torch.no_grad()
def proposed(logits: Tensor, shifts: Tensor, near: Tensor, size: tuple[int, int]) -> Tensor:
    """The most promising regions of a picture, (at most `AFTER`, 4)."""
    best = logits.topk(min(BEFORE, len(logits))).indices
    boxes = clipped(decoded(shifts[best], near[best]), *size)
    real = (boxes[:, 2:] - boxes[:, :2]).amin(1) >= 1
    boxes, scores = boxes[real], logits[best][real]
    chosen = kept(
        iou(boxes[:, None], boxes[None]),
        scores,
        torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device),
        OVERLAP,
    )[:AFTER]
    return boxes[chosen]


def anchor_loss(logits: Tensor, shifts: Tensor, near: Tensor, boxes: Tensor) -> Tensor:
    """Of one picture: whether anchors are objects, and how these lie to them, over some anchors drawn at random."""
    owner = torch.full((len(near),), -1, device=near.device)
    doubtful = torch.zeros(len(near), dtype=torch.bool, device=near.device)
    if len(boxes):
        overlaps = iou(near[:, None], boxes[None])
        best = overlaps.max(1)
        top = (overlaps == overlaps.max(0).values) & (
            overlaps > 0
        )  # the best anchor of an object is it, however little
        taken = (best.values >= HIGH) | top.any(1)
        owner = torch.where(taken, torch.where(top.any(1), top.int().argmax(1), best.indices), owner)
        doubtful = ~taken & (best.values >= LOW)
    chosen = _drawn(owner >= 0, ~doubtful & (owner < 0), DRAWN_ANCHORS, OBJECTS[0])
    right = chosen[owner[chosen] >= 0]
    named = binary_cross_entropy_with_logits(logits[chosen], (owner[chosen] >= 0).float())
    goal = encoded(boxes[owner[right]], near[right])
    return named + smooth_l1_loss(shifts[right], goal, reduction="sum", beta=1 / 9) / len(chosen)


@torch.no_grad()
def drawn_regions(regions: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Some regions, drawn at random, and the object of each, -1 for none."""
    owner = torch.full((len(regions),), -1, device=regions.device)
    if len(boxes):
        best = iou(regions[:, None], boxes[None]).max(1)
        owner = torch.where(best.values >= MET, best.indices, owner)
    chosen = _drawn(owner >= 0, owner < 0, DRAWN_REGIONS, OBJECTS[1])
    return regions[chosen], owner[chosen]


def _drawn(right: Tensor, wrong: Tensor, number: int, share: float) -> Tensor:
    """Indices of so many, at random, at most this share of them right ones."""
    first, second = (torch.nonzero(one)[:, 0] for one in (right, wrong))
    first = first[torch.randperm(len(first))[: round(number * share)].to(first.device)]
    return torch.cat([first, second[torch.randperm(len(second))[: number - len(first)].to(second.device)]])
