"""unet: a network that gives every pixel of a picture of any size a class."""

# B batch, C channels, K classes, H height, W width; both sides are multiples of 2 ** depth

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from modelcommons.workbench.engine.cnn import convolution


class UNet(nn.Module):
    """Each level halves the picture and doubles the channels; on the way up each level sees again what it saw before.

    Source: Ronneberger, Fischer & Brox, U-Net: Convolutional Networks for Biomedical Image Segmentation (2015); with
    padded convolutions, so that nothing is cut off, and batch normalisation.
    """

    def __init__(self, channels: int, num_labels: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.enter = _twice(channels, width)
        self.down = nn.ModuleList(_twice(inside, outside) for inside, outside in itertools.pairwise(widths))
        self.rise = nn.ModuleList(nn.ConvTranspose2d(2 * outside, outside, 2, 2) for outside in widths[-2::-1])
        self.merge = nn.ModuleList(_twice(2 * outside, outside) for outside in widths[-2::-1])
        self.halve = nn.MaxPool2d(2)
        self.head = nn.Conv2d(width, num_labels, 1)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x_BCHW = self.enter(pixel_values)
        seen = []
        for down in self.down:
            seen.append(x_BCHW)
            x_BCHW = down(self.halve(x_BCHW))
        for rise, merge in zip(self.rise, self.merge, strict=True):
            x_BCHW = merge(torch.cat([seen.pop(), rise(x_BCHW)], 1))
        logits_BKHW: Tensor = self.head(x_BCHW)
        return logits_BKHW


def _twice(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(convolution(inside, outside), convolution(outside, outside))
