"""yolo: a single-stage detector without anchors, what it is trained to say, and how that is read as boxes."""

# B batch, C channels, H height, W width, A places of all feature maps, K classes, M objects of a picture

from __future__ import annotations

import torch
from torch import Tensor, nn

from modelcommons.workbench.engine.cnn import convolution
from modelcommons.workbench.engine.train import Mean
from modelcommons.workbench.fields.image.boxes.geometry import complete_iou, iou
from modelcommons.workbench.fields.image.boxes.pyramid import STRIDES, Pyramid, mixed

SMALLEST = 4.5  # half a side, in pixels, so that every object has a place inside
FARTHEST = 5.0  # logarithm of a distance in strides
RARE = 0.01  # share of the places at which an object is expected before anything was learned
PLACES = 13  # of the best aligned ones that an object is assigned to
ALIGNED = (1.0, 6.0)  # powers of score and IoU in how well a place is aligned
GAIN = 5.0  # of the loss of boxes, beside that of classes


class Yolo(nn.Module):
    """A feature pyramid that is gone down again, and a head that tells classes and boxes apart.

    Sources: Redmon et al., You Only Look Once (2016), for one look at the picture; Liu et al., Path Aggregation
    Network (2018), for the way down; Ge et al., YOLOX (2021), for the decoupled head; Tian et al., FCOS (2019), for
    distances to the four sides.
    """

    def __init__(self, num_labels: int, width: int, depth: int) -> None:
        super().__init__()
        self.pyramid = Pyramid(width, depth)
        inner = self.pyramid.channels
        self.lower = nn.ModuleList(convolution(inner, inner, stride=2) for _ in STRIDES[1:])
        self.down = nn.ModuleList(mixed(inner, depth) for _ in STRIDES[1:])
        self.classes = nn.ModuleList(_tower(inner, num_labels) for _ in STRIDES)
        self.sides = nn.ModuleList(_tower(inner, 4) for _ in STRIDES)
        for tower in self.classes:
            nn.init.constant_(tower[-1].bias, float(torch.logit(torch.tensor(RARE))))  # type: ignore[index]

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W), sides multiples of 32 -> logits (B, A, K), and logarithms of the distances of each place to the
        left, top, right and bottom side, in strides (B, A, 4)."""
        maps = self.pyramid(pixel_values)
        for at, lower, mix in zip((1, 2), self.lower, self.down, strict=True):
            maps[at] = mix(torch.cat([maps[at], lower(maps[at - 1])], 1))
        logits_BAK, sides_BA4 = (
            torch.cat([tower(one).flatten(2) for tower, one in zip(towers, maps, strict=True)], 2).transpose(1, 2)
            for towers in (self.classes, self.sides)
        )
        return logits_BAK, sides_BA4

    def loss(self, pixels: Tensor, wanted: Tensor, codes: Tensor, there: Tensor) -> Mean:
        """Of a batch; see `detection_loss`."""
        logits, sides = self(pixels)
        height, width = pixels.shape[2:]
        return detection_loss(logits, sides, (height, width), wanted, codes, there)

    def proposals(self, pixels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Of each picture boxes (A, 4) in pixels, and scores (A, K)."""
        height, width = pixels.shape[2:]
        logits, sides = self(pixels)
        return read(logits, sides, (height, width))


def _tower(channels: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(convolution(channels, channels // 2), nn.Conv2d(channels // 2, outputs, 1))


# --- places ---------------------------------------------------------------------------------------------------------


def places(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Centres (A, 2), x and y in pixels, and strides (A,) of all places, in the order of the network's outputs."""
    centres, strides = [], []
    for stride in STRIDES:
        y, x = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
        centres.append((torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride)
        strides.append(torch.full((x.numel(),), float(stride)))
    return torch.cat(centres), torch.cat(strides)


def boxes_of(sides: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Left, top, right, bottom in pixels (B, A, 4), from what the network says of them."""
    far = sides.float().clamp(max=FARTHEST).exp() * strides[:, None]
    return torch.cat([centres - far[..., :2], centres + far[..., 2:]], -1)


def read(logits: Tensor, sides: Tensor, size: tuple[int, int]) -> list[tuple[Tensor, Tensor]]:
    """Of each picture, of this size, boxes (A, 4) in pixels and scores (A, K), from what the network says."""
    centres, strides = (part.to(logits.device) for part in places(*size))
    return list(zip(boxes_of(sides, centres, strides), logits.float().sigmoid(), strict=True))


# --- training -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def assigned(
    scores: Tensor, boxes: Tensor, centres: Tensor, wanted: Tensor, codes: Tensor, there: Tensor
) -> tuple[Tensor, Tensor]:
    """Task-aligned assignment: every object gets those places inside it whose score of its class and whose box are good
    together; of several objects a place takes the one its box overlaps most.

    Source: Feng et al., TOOD: Task-aligned One-stage Object Detection (2021), section 3.2.

    Args:
        scores: (B, A, K).
        boxes: (B, A, 4), as the network has them now.
        wanted: (B, M, 4); codes: int64 (B, M); there: bool (B, M), whether that is an object or fills up.

    Returns:
        The object of each place, int64 (B, A), -1 for none; and what its score should be, (B, A).
    """
    overlaps = iou(wanted[:, :, None], boxes[:, None])  # (B, M, A)
    index = codes[:, :, None].expand(-1, -1, scores.shape[1])
    mine = scores.transpose(1, 2).gather(1, index)
    middle, half = (wanted[..., :2] + wanted[..., 2:]) / 2, (wanted[..., 2:] - wanted[..., :2]) / 2
    reach = half.clamp(min=SMALLEST)[:, :, None] - (centres - middle[:, :, None]).abs()  # (B, M, A, 2)
    inside = reach.amin(-1) > 0
    inside &= there[:, :, None]
    aligned = (mine.clamp(min=1e-9) ** ALIGNED[0]) * overlaps ** ALIGNED[1] * inside
    aligned = torch.where(inside, aligned + 1e-12, aligned)  # an object that no box meets yet has places all the same
    number = min(PLACES, aligned.shape[2])
    chosen = torch.zeros_like(inside).scatter_(2, aligned.topk(number, 2).indices, True) & inside
    best = torch.where(chosen, overlaps + 1e-9, -1.0).max(1)
    owner = torch.where(best.values > 0, best.indices, -1)
    owned = chosen & (owner[:, None] == torch.arange(wanted.shape[1], device=owner.device)[None, :, None])
    strength, quality = aligned * owned, overlaps * owned
    scale = quality.amax(2, keepdim=True) / strength.amax(2, keepdim=True).clamp(min=1e-12)
    return owner, (strength * scale).sum(1)


def detection_loss(
    logits: Tensor, sides: Tensor, size: tuple[int, int], wanted: Tensor, codes: Tensor, there: Tensor
) -> Mean:
    """Cross-entropy with scores that say how good a box is, and 1 - complete IoU of the boxes, weighted by them; over
    the sum of these scores.

    Args:
        size: height and width of the network's pictures.
        wanted, codes, there: as `assigned` has them.
    """
    logits = logits.float()
    centres, strides = (part.to(logits.device) for part in places(*size))
    boxes = boxes_of(sides, centres, strides)
    owner, quality = assigned(logits.sigmoid(), boxes, centres, wanted, codes, there)
    taken = owner >= 0
    index = owner.clamp(min=0)
    targets = torch.zeros_like(logits).scatter_(2, codes.gather(1, index)[..., None], quality[..., None])
    named = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
    theirs = wanted.gather(1, index[..., None].expand(-1, -1, 4))
    placed = ((1 - complete_iou(boxes, theirs)) * quality)[taken].sum()
    return Mean(named + GAIN * placed, quality.sum())
