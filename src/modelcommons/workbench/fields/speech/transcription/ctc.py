"""ctc: log-mel features through convolutions and recurrent layers to the label of every frame.

Source: Amodei et al., Deep Speech 2 (2016), in small.
"""

# B batch, T frames, M mel bands, W width, K labels, of which 0 is the blank

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from modelcommons.workbench.fields.speech.transcription.architectures import CtcOptions

SIZES, STRIDES = (5, 3), (3, 1)  # of the convolutions over time


@dataclass(slots=True)
class Heard:
    """What a streaming network has to remember: frames that a convolution still needs, and the recurrent state."""

    frames: list[Tensor] = field(default_factory=list)  # (1, channels, frames) before each convolution
    state: Tensor | None = None  # (layers, 1, W)


class Ctc(nn.Module):
    """A third as many frames as the features have; in both directions, or in one for streaming."""

    def __init__(self, options: CtcOptions, num_labels: int) -> None:
        super().__init__()
        width, self.streaming = options.width, options.streaming
        inside = (options.mels, width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inside[at], width, SIZES[at], STRIDES[at]) for at in range(len(SIZES))
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in SIZES)
        self.dropout = nn.Dropout(options.dropout)
        self.recurrent = nn.GRU(
            width, width, options.layers, batch_first=True, bidirectional=not self.streaming,
            dropout=options.dropout if options.layers > 1 else 0.0,
        )  # fmt: skip
        self.head = nn.Linear(width * (1 if self.streaming else 2), num_labels)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log probabilities (B, T', K) and how many frames each row has, (B,); what is beyond them means nothing.

        Args:
            features: float32 (B, T, M), padded at the end with anything.
            lengths: frames of each row, int64 (B,).
        """
        x_BWT = features.transpose(1, 2)
        for convolution, norm, size, stride in zip(self.convolutions, self.norms, SIZES, STRIDES, strict=True):
            x_BWT = x_BWT * _inside(lengths, x_BWT.shape[2])[:, None]
            before = size - 1 if self.streaming else size // 2
            x_BWT = nn.functional.pad(x_BWT, (before, size - 1 - before))
            x_BWT = self._activated(convolution(x_BWT), norm)
            lengths = (lengths - 1) // stride + 1
        packed = pack_padded_sequence(
            self.dropout(x_BWT.transpose(1, 2)), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        x_BTW, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)
        return self.head(self.dropout(x_BTW)).log_softmax(2), lengths

    def listen(self, features: Tensor, heard: Heard) -> Tensor:
        """Log probabilities (1, T', K) of the frames that these, (1, T, M), make whole; `heard` goes along."""
        x_BWT = features.transpose(1, 2)
        for at, (size, stride) in enumerate(zip(SIZES, STRIDES, strict=True)):
            if len(heard.frames) == at:
                heard.frames.append(x_BWT.new_zeros(1, x_BWT.shape[1], size - 1))
            x_BWT = torch.cat([heard.frames[at], x_BWT], 2)
            count = max(0, (x_BWT.shape[2] - size) // stride + 1)
            heard.frames[at] = x_BWT[:, :, count * stride :]
            if not count:
                return features.new_zeros(1, 0, self.head.out_features)
            x_BWT = self._activated(self.convolutions[at](x_BWT), self.norms[at])
        x_BTW, heard.state = self.recurrent(x_BWT.transpose(1, 2), heard.state)
        log_probs: Tensor = self.head(x_BTW).log_softmax(2)
        return log_probs

    def _activated(self, x_BWT: Tensor, norm: nn.Module) -> Tensor:
        found: Tensor = norm(x_BWT.transpose(1, 2)).relu().transpose(1, 2)
        return found


def _inside(lengths: Tensor, size: int) -> Tensor:
    """1 for the frames of a row, 0 beyond; float32 (B, size)."""
    return (torch.arange(size, device=lengths.device) < lengths[:, None]).float()
