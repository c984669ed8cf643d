"""network: log magnitudes through dilated convolutions over time to a mask, the share of each band that is kept.

Source: the separator of Luo & Mesgarani, Conv-TasNet (2019), in small; the mask over frequencies is that of Wang,
Narayanan & Wang, On Training Targets for Supervised Speech Separation (2014).
"""

# B batch, T frames, F frequencies, W width

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from modelcommons.workbench.fields.speech.denoising.architectures import SIZE, TcnOptions


@dataclass(slots=True)
class Memory:
    """The frames that each layer of a streaming network still needs, (1, W, 2 x dilation) each."""

    frames: list[Tensor] = field(default_factory=list)


class Layer(nn.Module):
    """What stands around a frame, some frames apart, added to what is known of it."""

    def __init__(self, options: TcnOptions, dilation: int) -> None:
        super().__init__()
        self.span = (SIZE - 1) * dilation  # frames looked at beside one's own
        self.before = self.span if options.streaming else self.span // 2
        self.around = nn.Conv1d(options.width, options.width, SIZE, dilation=dilation)
        self.norm = nn.BatchNorm1d(options.width)
        self.dropout = nn.Dropout(options.dropout)
        self.inside = nn.Conv1d(options.width, options.width, 1)

    def forward(self, x_BWT: Tensor, before: Tensor | None = None) -> Tensor:
        """
        Args:
            before: the frames before these, (B, W, span), of a network that streams; silence where not given.
        """
        if before is None:
            wide = nn.functional.pad(x_BWT, (self.before, self.span - self.before))
        else:
            wide = torch.cat([before, x_BWT], 2)
        found: Tensor = x_BWT + self.inside(self.dropout(self.norm(self.around(wide)).relu()))
        return found


class Tcn(nn.Module):
    """One mask, 0 to 1, for each frame and frequency."""

    def __init__(self, options: TcnOptions, bins: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(bins, options.width, 1)
        self.layers = nn.ModuleList(Layer(options, dilation) for dilation in options.dilations)
        self.last = nn.Conv1d(options.width, bins, 1)

    def forward(self, features: Tensor) -> Tensor:
        """float32 (B, T, F) -> (B, T, F)."""
        x_BWT = self.first(features.transpose(1, 2))
        for layer in self.layers:
            x_BWT = layer(x_BWT)
        mask: Tensor = self.last(x_BWT.relu()).sigmoid().transpose(1, 2)
        return mask

    def listen(self, features: Tensor, memory: Memory) -> Tensor:
        """The mask of frames (1, T, F) that come after those before; `memory` goes along."""
        x_BWT = self.first(features.transpose(1, 2))
        for at, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            if len(memory.frames) == at:
                memory.frames.append(x_BWT.new_zeros(1, x_BWT.shape[1], layer.span))
            before = memory.frames[at]
            memory.frames[at] = torch.cat([before, x_BWT], 2)[:, :, -layer.span :]
            x_BWT = layer(x_BWT, before)
        mask: Tensor = self.last(x_BWT.relu()).sigmoid().transpose(1, 2)
        return mask
