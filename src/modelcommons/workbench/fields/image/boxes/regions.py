"""regions: boxes described by others near them, anchors, and a piece of a feature map for each box in one size."""

# N boxes, C channels, H height, W width

from __future__ import annotations

import torch
from torch import Tensor, nn

LARGEST = 4.0  # logarithm by which a side may grow
RATIOS = (0.5, 1.0, 2.0)  # height by width
SCALES = (2.0, 4.0, 8.0, 16.0)  # square root of the area, in strides


def anchors(height: int, width: int, stride: int) -> Tensor:
    """Boxes of all scales and ratios around each place of a map, (places * scales * ratios, 4), for pictures of this
    height and width."""
    sides = torch.tensor([[scale / ratio**0.5, scale * ratio**0.5] for scale in SCALES for ratio in RATIOS]) * stride
    y, x = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
    centres = (torch.stack([x, y], -1).reshape(-1, 1, 2) + 0.5) * stride
    return torch.cat([centres - sides / 2, centres + sides / 2], -1).reshape(-1, 4)


def encoded(boxes: Tensor, near: Tensor) -> Tensor:
    """How boxes lie to others: shifts of the centre in sides of the other, logarithms of how the sides grow; (..., 4).

    Source: Girshick et al., Rich Feature Hierarchies (2014), appendix C.
    """
    sides, theirs = ((box[..., 2:] - box[..., :2]).clamp(min=1e-3) for box in (boxes, near))
    shifts = (boxes[..., :2] + boxes[..., 2:] - near[..., :2] - near[..., 2:]) / 2 / theirs
    return torch.cat([shifts, (sides / theirs).log()], -1)


def decoded(values: Tensor, near: Tensor) -> Tensor:
    """The boxes again, from `encoded`."""
    sides, middle = near[..., 2:] - near[..., :2], (near[..., :2] + near[..., 2:]) / 2
    middle = middle + values[..., :2] * sides
    half = sides * values[..., 2:].clamp(max=LARGEST).exp() / 2
    return torch.cat([middle - half, middle + half], -1)


def clipped(boxes: Tensor, height: int, width: int) -> Tensor:
    """What of the boxes lies inside a picture of this height and width."""
    return torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))


def roi_align(features: Tensor, boxes: Tensor, size: tuple[int, int], bins: int, samples: int = 2) -> Tensor:
    """The mean of `samples` times `samples` interpolated values in each of `bins` times `bins` parts of each box.

    Source: He et al., Mask R-CNN (2017), section 3.

    Args:
        features: (C, h, w) of one picture.
        boxes: (N, 4), in pixels of the picture.
        size: height and width of the picture.

    Returns:
        (N, C, bins, bins).
    """
    height, width = size
    along = (torch.arange(bins * samples, device=boxes.device) + 0.5) / (bins * samples)
    x, y = (boxes[:, at, None] + along * (boxes[:, at + 2] - boxes[:, at])[:, None] for at in (0, 1))  # (N, points)
    points = len(along)
    grid = torch.stack(
        [
            (2 * x / width - 1)[:, None, :].expand(-1, points, -1),
            (2 * y / height - 1)[:, :, None].expand(-1, -1, points),
        ],
        -1,
    )
    found = nn.functional.grid_sample(
        features.float()[None], grid.reshape(1, -1, points, 2), align_corners=False, padding_mode="border"
    )
    pieces = found[0].reshape(len(features), len(boxes), points, points).transpose(0, 1)
    return nn.functional.avg_pool2d(pieces, samples)
