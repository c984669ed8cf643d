"""networks that listen: a small convolutional net over log-mel features."""

# B batch, T frames, M mel bands, C channels

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from modelcommons.workbench.fields.speech.architectures import CnnOptions


def convolution(inside: int, outside: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
    )


class Cnn(nn.Module):
    """A few stages that halve time and frequency, then mean and maximum over time."""

    def __init__(self, options: CnnOptions, num_labels: int) -> None:
        super().__init__()
        stages: list[nn.Module] = [convolution(1, options.widths[0], 5, 2)]
        for inside, outside in itertools.pairwise(options.widths):
            stages += [convolution(inside, outside, stride=2), convolution(outside, outside)]
        self.stages = nn.Sequential(*stages)
        bands = -(-options.mels // 2 ** len(options.widths))
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(2 * options.widths[-1] * bands, num_labels)

    def forward(self, input_values: Tensor) -> Tensor:
        x_BCTM = self.stages(input_values[:, None])
        pooled = torch.cat([x_BCTM.mean(2), x_BCTM.amax(2)], 1).flatten(1)  # (B, 2 C M)
        logits: Tensor = self.head(self.dropout(pooled))  # (B, labels)
        return logits
