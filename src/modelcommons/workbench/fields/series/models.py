"""models: networks for windows of several channels, each channel by itself, with reversible instance normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# B batch, C channels, L look-back, H horizon, N patches, P patch. `history` is (B, L, C), named as the ONNX input


class Linear(nn.Module):
    """r + W (x - r), r the mean of the look-back."""

    def __init__(self, lookback: int, horizon: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(horizon, lookback), requires_grad=False)

    def forward(self, history: Tensor) -> Tensor:
        level = history.mean(dim=1, keepdim=True)
        return level + torch.matmul((history - level).transpose(1, 2), self.weight.T).transpose(1, 2)


class Normalised(nn.Module):
    """Level and spread of each look-back are taken away before the network and given back after it.

    Source: Kim et al. 2022, Reversible Instance Normalization; without its trained affine part.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, history: Tensor) -> Tensor:
        level = history.mean(dim=1, keepdim=True)
        spread = ((history - level) ** 2).mean(dim=1, keepdim=True).add(1e-5).sqrt()
        x_BCL = ((history - level) / spread).transpose(1, 2)
        batch, channels, lookback = x_BCL.shape
        y = self.network(x_BCL.reshape(batch * channels, lookback))  # (B * C, H)
        y_BHC: Tensor = y.reshape(batch, channels, -1).transpose(1, 2)
        return y_BHC * spread + level


class Rnn(nn.Module):
    """A GRU or LSTM over patches instead of steps, so that a look-back of 720 is 30 steps of memory.

    Source: Lin et al. 2023, SegRNN; with one linear head for all steps.
    """

    def __init__(
        self,
        lookback: int,
        horizon: int,
        patch: int,
        width: int,
        dropout: float,
        cell: type[nn.GRU] | type[nn.LSTM] = nn.GRU,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(patch, width)
        self.memory = cell(width, width, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, horizon))

    def forward(self, x_BL: Tensor) -> Tensor:
        x_BL = x_BL[:, x_BL.shape[1] % self.patch :]  # whole patches, the latest
        x_BNP = x_BL.reshape(x_BL.shape[0], -1, self.patch)
        every_BNW, _ = self.memory(torch.relu(self.embed(x_BNP)))
        return self.head(every_BNW[:, -1])  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Patches of one channel as tokens.

    Source: Nie et al. 2023, PatchTST; patches overlap by half.
    """

    def __init__(
        self, lookback: int, horizon: int, patch: int, width: int, dropout: float, layers: int, heads: int
    ) -> None:
        super().__init__()
        self.patch, self.stride = patch, max(patch // 2, 1)
        num_patches = (lookback - patch) // self.stride + 1
        self.embed = nn.Linear(patch, width)
        self.place = nn.Parameter(torch.randn(num_patches, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(num_patches * width, horizon))

    def forward(self, x_BL: Tensor) -> Tensor:
        x_BNP = x_BL.unfold(1, self.patch, self.stride)
        return self.head(self.encoder(self.embed(x_BNP) + self.place))  # type: ignore[no-any-return]


class WithInterval(nn.Module):
    """A network and what conformal prediction adds to it; the outputs of an exported model."""

    def __init__(self, network: nn.Module, low_HC: Tensor, high_HC: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("below", low_HC)  # not `low`, which is an output: the exporter would use the name twice
        self.register_buffer("above", high_HC)

    def forward(self, history: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = self.network(history)
        return mean, mean + self.below, mean + self.above
