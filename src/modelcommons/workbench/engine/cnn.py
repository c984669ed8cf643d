"""cnn: a small convolutional net for pictures, and the blocks it is made of."""

# B batch, C channels, H height, W width

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

from torch import Tensor, nn


def convolution(inside: int, outside: int, size: int = 3, stride: int = 1, pool: bool = False) -> nn.Sequential:
    """Convolution, halving where asked, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, size, stride, padding=size // 2, bias=False),
        *([nn.MaxPool2d(2, ceil_mode=True)] if pool else []),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
    )


def fused(network: nn.Module) -> nn.Module:
    """A copy for evaluation, with each batch normalisation folded into the convolution right before it."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    made = copy.deepcopy(network).eval()
    for layers in [module for module in made.modules() if isinstance(module, nn.Sequential)]:
        for at, (first, second) in enumerate(itertools.pairwise(list(layers))):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                layers[at], layers[at + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    return made


class Residual(nn.Module):
    """Adds what its layers make of the input to the input."""

    def __init__(self, layers: nn.Module, skip: nn.Module | None = None) -> None:
        super().__init__()
        self.layers, self.skip = layers, skip or nn.Identity()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW: Tensor = self.skip(x_BCHW) + self.layers(x_BCHW)
        return y_BCHW


class Cnn(nn.Module):
    """A few stages that halve the picture, each with a residual convolution, then the maximum over all places.

    Most of the work of a convolutional net on a processor is in its first, large pictures; they are halved after one
    cheap layer.
    """

    def __init__(self, shape: tuple[int, int, int], num_outputs: int, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        side = min(shape[:2])
        halve = side >= 14
        stages: list[nn.Module] = [convolution(shape[2], widths[0], pool=halve)]
        for inside, outside in itertools.pairwise(widths):
            side = (side + 1) // 2 if halve else side
            halve = side >= 8
            stages += [convolution(inside, outside, pool=halve), Residual(convolution(outside, outside))]
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], num_outputs)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.stages(x_BCHW)
        outputs: Tensor = self.head(self.dropout(x_BCHW.amax((2, 3))))  # (B, outputs)
        return outputs
