"""ctc: log-mel features through convolutions over time to the label of every frame.

Source: Collobert, Puhrsch & Synnaeve, Wav2Letter (2016), in small; dilated as in Yu & Koltun, Multi-Scale Context
Aggregation by Dilated Convolutions (2016).
"""

# B batch, T frames, M mel bands, W width, K labels, of which 0 is the blank

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from modelcommons.workbench.fields.speech.transcription.architectures import JOINED, CtcOptions

KERNEL = 5  # frames that a convolution sees
DISTANCES = (1, 2, 4)  # between them, from layer to layer, and again


@dataclass(slots=True)
class Heard:
    """What a streaming network has to remember: frames that are still needed by each layer."""

    features: Tensor | None = None  # (1, fewer than `JOINED`, M)
    frames: list[Tensor] = field(default_factory=list)  # (1, frames, W) before each convolution


class Ctc(nn.Module):
    """A third as many frames as the features have; each sees those around it or, for streaming, those before."""

    def __init__(self, options: CtcOptions, num_labels: int) -> None:
        super().__init__()
        width, layers, self.streaming = options.width, options.layers, options.streaming
        self.reaches = [(KERNEL - 1) * DISTANCES[at % len(DISTANCES)] for at in range(layers)]  # frames seen beside own
        self.join = nn.Linear(JOINED * options.mels, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        # a convolution as one matrix product over the frames it sees, which int8 makes small
        self.filters = nn.ModuleList(nn.Linear(KERNEL * width, width) for _ in range(layers))
        self.mixes = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(width, num_labels)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log probabilities (B, T', K) and how many frames each row has, (B,); what is beyond them means nothing.

        Args:
            features: float32 (B, T, M), padded at the end with anything.
            lengths: frames of each row, int64 (B,), at least `JOINED`.
        """
        lengths = lengths // JOINED
        x_BTW = self._joined(features)
        inside_BT1 = (torch.arange(x_BTW.shape[1], device=x_BTW.device) < lengths[:, None]).unsqueeze(2)
        for at, reach in enumerate(self.reaches):
            before = reach if self.streaming else reach // 2
            seen_BTW = nn.functional.pad(self.norms[at](x_BTW) * inside_BT1, (0, 0, before, reach - before))
            x_BTW = x_BTW + self._convolved(at, seen_BTW)
        return self._labelled(x_BTW), lengths

    def listen(self, features: Tensor, heard: Heard) -> Tensor:
        """Log probabilities (1, T', K) of the frames that these, (1, T, M), make whole; `heard` goes along."""
        features = features if heard.features is None else torch.cat([heard.features, features], 1)
        heard.features = features[:, features.shape[1] // JOINED * JOINED :]
        x_BTW = self._joined(features)
        for at, reach in enumerate(self.reaches):
            if len(heard.frames) == at:
                heard.frames.append(x_BTW.new_zeros(1, reach, x_BTW.shape[2]))
            seen_BTW = torch.cat([heard.frames[at], self.norms[at](x_BTW)], 1)
            heard.frames[at] = seen_BTW[:, -reach:]
            x_BTW = x_BTW + self._convolved(at, seen_BTW)
        return self._labelled(x_BTW)

    def _joined(self, features: Tensor) -> Tensor:
        """(B, T, M) -> (B, T', W); frames at the end that are too few are left out."""
        rows, frames, mels = features.shape
        count = frames // JOINED
        joined: Tensor = self.join(features[:, : count * JOINED].reshape(rows, count, JOINED * mels))
        return joined

    def _convolved(self, at: int, seen_BTW: Tensor) -> Tensor:
        """What layer `at` adds to the frames that stand `reach` before the end of these, or around whose they are."""
        step, count = self.reaches[at] // (KERNEL - 1), seen_BTW.shape[1] - self.reaches[at]
        stretches = [seen_BTW[:, place * step : place * step + count] for place in range(KERNEL)]
        added: Tensor = self.dropout(self.mixes[at](self.filters[at](torch.cat(stretches, 2)).relu()))
        return added

    def _labelled(self, x_BTW: Tensor) -> Tensor:
        log_probs: Tensor = self.head(self.dropout(self.norm(x_BTW))).float().log_softmax(2)
        return log_probs
