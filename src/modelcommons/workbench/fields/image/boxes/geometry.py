"""geometry: boxes as tensors of left, top, right, bottom: how they lie on each other, and which of many are kept."""

# B batch, N boxes, M other boxes, K classes

from __future__ import annotations

import math

import torch
from torch import Tensor


def area(boxes: Tensor) -> Tensor:
    """Of boxes (..., 4); (...)."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """Area that two boxes have in common; shapes (..., 4) that broadcast."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    return (high - low).clamp(min=0).prod(-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union; shapes (..., 4) that broadcast: `iou(a[:, None], b[None])` is of each with each."""
    both = intersection(a, b)
    return both / (area(a) + area(b) - both).clamp(min=1e-9)


def complete_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU less a term for the distance of the centres and one for another aspect ratio; -1.5 to 1.

    Source: Zheng et al., Distance-IoU Loss: Faster and Better Learning for Bounding Box Regression (2020), eq. 10-12.
    """
    low, high = torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])
    diagonal = (high - low).square().sum(-1).clamp(min=1e-9)
    apart = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]).square().sum(-1) / 4
    sides = [(box[..., 2:] - box[..., :2]).clamp(min=1e-4) for box in (a, b)]
    angles = [torch.atan(side[..., 0] / side[..., 1]) for side in sides]
    aspect = 4 / math.pi**2 * (angles[0] - angles[1]).square()
    overlap = iou(a, b)
    with torch.no_grad():
        weight = aspect / (1 - overlap + aspect).clamp(min=1e-9)
    return overlap - apart / diagonal - weight * aspect


def kept(overlaps: Tensor, scores: Tensor, codes: Tensor, limit: float) -> Tensor:
    """Greedy non-maximum suppression, class by class: indices of the boxes that overlap no better one of their class by
    more than `limit`, the best first; of equal ones the first.

    Args:
        overlaps: (N, N) IoU of each with each.
        scores: (N,).
        codes: (N,) class of each.
    """
    order = torch.sort(scores, descending=True, stable=True).indices
    codes = codes[order]
    rivals = (overlaps[order][:, order] > limit) & (codes[:, None] == codes[None])
    beaten = rivals.triu(1).cpu().numpy()  # [i, j]: i is better than j, and lies on it
    gone = torch.zeros(len(order), dtype=torch.bool).numpy()
    for at in range(len(gone)):
        if not gone[at]:
            gone |= beaten[at]
    return order[torch.from_numpy(~gone).to(order.device)]
