"""pyramid: feature maps of three strides, of which the fine ones know what the coarse ones saw."""

# B batch, C channels, H height, W width

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from modelcommons.workbench.engine.cnn import Residual, convolution

STRIDES = (8, 16, 32)


class Pyramid(nn.Module):
    """A backbone of residual stages, each of which halves the picture, and a way back up to finer maps.

    Sources: He et al., Deep Residual Learning (2016); Lin et al., Feature Pyramid Networks (2017).
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.channels = 4 * width  # of every map
        self.stem = nn.Sequential(convolution(3, width, stride=2), _stage(width, 2 * width, depth))
        widths = [2 * width, 4 * width, 8 * width, 8 * width]
        self.stages = nn.ModuleList(_stage(inside, outside, depth) for inside, outside in itertools.pairwise(widths))
        self.context = Context(widths[-1])
        self.lateral = nn.ModuleList(convolution(outside, self.channels, 1) for outside in widths[1:])
        self.up = nn.ModuleList(mixed(self.channels, depth) for _ in STRIDES[1:])

    def forward(self, pixel_values: Tensor) -> list[Tensor]:
        """(B, 3, H, W), sides multiples of 32 -> (B, C, H / stride, W / stride) of each stride, the finest first."""
        x_BCHW = self.stem(pixel_values)
        maps = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x_BCHW = stage(x_BCHW)
            maps.append(lateral(self.context(x_BCHW) if stage is self.stages[-1] else x_BCHW))
        for at, mix in zip((1, 0), self.up, strict=True):
            wide = nn.functional.interpolate(maps[at + 1], scale_factor=2.0)
            maps[at] = mix(torch.cat([maps[at], wide], 1))
        return maps


class Context(nn.Module):
    """Adds what stands around a place, near and far, by maxima over growing windows.

    Source: He et al., Spatial Pyramid Pooling in Deep Convolutional Networks (2015), in its sequential form.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = convolution(channels, channels // 2, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.leave = convolution(2 * channels, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        seen = [self.enter(x_BCHW)]
        for _ in range(3):
            seen.append(self.pool(seen[-1]))
        y_BCHW: Tensor = self.leave(torch.cat(seen, 1))
        return y_BCHW


def _stage(inside: int, outside: int, depth: int) -> nn.Sequential:
    blocks = (
        Residual(nn.Sequential(convolution(outside, outside // 2, 1), convolution(outside // 2, outside)))
        for _ in range(depth)
    )
    return nn.Sequential(convolution(inside, outside, stride=2), *blocks)


def mixed(channels: int, depth: int) -> nn.Sequential:
    """From two maps laid on each other to one."""
    blocks = (Residual(convolution(channels, channels)) for _ in range(depth))
    return nn.Sequential(convolution(2 * channels, channels, 1), *blocks)
