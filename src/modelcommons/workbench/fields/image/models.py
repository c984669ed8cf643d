"""networks for small and middle-sized pictures: linear, a small convolutional net, and an 18-layer residual one."""

# B batch, C channels, H height, W width

from __future__ import annotations

from pydantic import BaseModel
from torch import Tensor, nn

from modelcommons.formats.pixels import Shape
from modelcommons.workbench.engine.cnn import Cnn, Residual, convolution
from modelcommons.workbench.fields.image.airbench import Airbench
from modelcommons.workbench.fields.image.architectures import AirbenchOptions, CnnOptions, ResNetOptions


class Linear(nn.Module):
    """One weight per pixel and label: the least a network must beat."""

    def __init__(self, shape: tuple[int, int, int], num_labels: int) -> None:
        super().__init__()
        height, width, channels = shape
        self.head = nn.Linear(height * width * channels, num_labels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits: Tensor = self.head(x_BCHW.flatten(1))  # (B, labels)
        return logits


class ResNet(nn.Module):
    """ResNet-18 with the stem for small pictures.

    Source: He et al., Deep Residual Learning for Image Recognition (2016), section 4.2, and its usual form with one
    projection where size or width change.
    """

    def __init__(self, shape: tuple[int, int, int], num_labels: int, width: int, blocks: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        stages: list[nn.Module] = [convolution(shape[2], width, stride=2 if min(shape[:2]) > 96 else 1)]
        inside = width
        for index, outside in enumerate(widths):
            for block in range(blocks):
                stages += _block(inside, outside, 2 if index and not block else 1)
                inside = outside
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(widths[-1], num_labels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits: Tensor = self.head(self.stages(x_BCHW).mean((2, 3)))  # (B, labels)
        return logits


def _block(inside: int, outside: int, stride: int) -> list[nn.Module]:
    layers = nn.Sequential(
        convolution(inside, outside, stride=stride),
        nn.Conv2d(outside, outside, 3, padding=1, bias=False),
        nn.BatchNorm2d(outside),
    )
    skip = None
    if stride != 1 or inside != outside:
        skip = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
    return [Residual(layers, skip), nn.ReLU()]


def build(options: BaseModel, shape: Shape, num_labels: int) -> nn.Module:
    """The network these options are of, with random weights."""
    dimensions = shape.dimensions
    match options:
        case CnnOptions():
            return Cnn(dimensions, num_labels, options.widths, options.dropout)
        case ResNetOptions():
            return ResNet(dimensions, num_labels, options.width, options.blocks)
        case AirbenchOptions():
            return Airbench(
                shape.channels,
                num_labels,
                options.widths,
                options.depth,
                min(options.patch, *dimensions[:2]),
                options.stride,
                options.residual,
                options.views,
            )
        case _:
            return Linear(dimensions, num_labels)
