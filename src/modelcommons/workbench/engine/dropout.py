"""dropout: torch's dropout, quick on processors too: 64 random bits at a time decide about four numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

PARTS = 1 << 16  # a share is rounded to so many parts


class QuickDropout(nn.Dropout):
    """Dropout that draws 16 bits for a number; torch draws a float for each, one after the other.

    Source: Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting (2014).
    """

    def forward(self, input: Tensor) -> Tensor:
        dropped = round(self.p * PARTS)
        if not self.training or input.device.type != "cpu" or dropped in (0, PARTS):
            return super().forward(input)
        size = input.numel()
        bits = torch.empty(math.ceil(size / 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        kept = (bits[:size] >= dropped - PARTS // 2).view(input.shape).to(input.dtype)
        return input * kept.mul_(PARTS / (PARTS - dropped))


def quicken(network: nn.Module) -> None:
    """Puts quick dropout into the place of torch's; weights and their names stay as they are."""
    for name, module in list(network.named_modules()):
        if type(module) is nn.Dropout:
            network.set_submodule(name, QuickDropout(module.p))
