"""models: networks for windows of several channels, each channel by itself, with reversible instance normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modelcommons.workbench.fields.series.forecaster import Config

HIDDEN = 32  # size of what columns known ahead pass through

# B batch, C channels, L look-back, H horizon, N patches, P patch, V variables (the channel, then columns known up to
# now), K columns known ahead, O outputs (the mean, then levels). Named as the ONNX inputs: `history` (B, L, C), `known`
# (B, L + H, K), `past` (B, L, V - 1); every network here that takes them gives (B, O, H, C)


class Linear(nn.Module):
    """r + W (x - r), r the mean of the look-back; columns known up to now are further look-backs."""

    def __init__(self, lookback: int, horizon: int, num_past: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(horizon, lookback), requires_grad=False)
        if num_past:
            self.past = nn.Parameter(torch.zeros(num_past, horizon, lookback), requires_grad=False)

    def forward(self, history: Tensor, past: Tensor | None = None) -> Tensor:
        level = history.mean(dim=1, keepdim=True)
        y_BHC = level + torch.matmul((history - level).transpose(1, 2), self.weight.T).transpose(1, 2)
        if past is not None:
            beside = (past - past.mean(dim=1, keepdim=True)).transpose(1, 2)  # (B, V - 1, L)
            added = torch.matmul(beside[:, :, None], self.past.transpose(1, 2)).sum(dim=1)  # (B, 1, H)
            y_BHC = y_BHC + added.transpose(1, 2)
        return y_BHC[:, None]


class Regressed(nn.Module):
    """What columns known ahead add in their own step is taken away before the network and given back after it.

    Source: dynamic regression, as for the linear maps; the effect may bend.
    """

    def __init__(self, network: nn.Module, effect: nn.Module, lookback: int) -> None:
        super().__init__()
        self.network, self.effect, self.lookback = network, effect, lookback

    def forward(self, history: Tensor, known: Tensor, past: Tensor | None = None) -> Tensor:
        effect = self.effect(known)  # (B, L + H, C)
        y_BOHC = self.network(history - effect[:, : self.lookback], past)
        return y_BOHC + effect[:, None, self.lookback :]  # type: ignore[no-any-return]


class Effect(nn.Module):
    """Columns known ahead (..., K) -> what they add (..., C); nothing before it is trained."""

    mean: Tensor
    std: Tensor
    unit: Tensor

    def __init__(self, num_known: int, num_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_known))
        self.register_buffer("std", torch.ones(num_known))
        self.register_buffer("unit", torch.ones(num_channels))  # deviation of the channels
        self.body = nn.Sequential(nn.Linear(num_known, HIDDEN), nn.GELU())
        self.head = nn.Linear(HIDDEN, num_channels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, known: Tensor) -> Tensor:
        return self.head(self.body((known - self.mean) / self.std)) * self.unit  # type: ignore[no-any-return]


class Normalised(nn.Module):
    """Level and spread of each look-back are taken away before the network and given back after it.

    Source: Kim et al. 2022, Reversible Instance Normalization; without its trained affine part.
    """

    unit: Tensor

    def __init__(self, network: nn.Module, num_outputs: int, num_past: int) -> None:
        super().__init__()
        self.network, self.num_outputs = network, num_outputs
        if num_past:
            self.register_buffer("unit", torch.ones(num_past))  # deviation of the columns known up to now

    def forward(self, history: Tensor, past: Tensor | None = None) -> Tensor:
        level = history.mean(dim=1, keepdim=True)
        spread = _spread(history)
        x_BCL = ((history - level) / spread).transpose(1, 2)
        batch, channels, lookback = x_BCL.shape
        x_BCVL = x_BCL[:, :, None]
        if past is not None:
            past = past / self.unit
            beside_BVL = ((past - past.mean(dim=1, keepdim=True)) / _spread(past)).transpose(1, 2)
            x_BCVL = torch.cat([x_BCVL, beside_BVL[:, None].expand(-1, channels, -1, -1)], dim=2)
        y = self.network(x_BCVL.reshape(batch * channels, -1, lookback))  # (B * C, O * H)
        y_BOHC: Tensor = y.reshape(batch, channels, self.num_outputs, -1).permute(0, 2, 3, 1)
        return y_BOHC * spread[:, None] + level[:, None]


def _spread(steps: Tensor) -> Tensor:
    """Deviation over time of (B, L, any), (B, 1, any)."""
    return ((steps - steps.mean(dim=1, keepdim=True)) ** 2).mean(dim=1, keepdim=True).add(1e-5).sqrt()


class Rnn(nn.Module):
    """A GRU or LSTM over patches instead of steps, so that a look-back of 720 is 30 steps of memory.

    Source: Lin et al. 2023, SegRNN; with one linear head for all steps.
    """

    def __init__(
        self,
        lookback: int,
        num_answers: int,
        num_variables: int,
        patch: int,
        width: int,
        dropout: float,
        cell: type[nn.GRU] | type[nn.LSTM] = nn.GRU,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(num_variables * patch, width)
        self.memory = cell(width, width, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, num_answers))

    def forward(self, x_BVL: Tensor) -> Tensor:
        x_BVL = x_BVL[:, :, x_BVL.shape[2] % self.patch :]  # whole patches, the latest
        x_BVNP = x_BVL.reshape(*x_BVL.shape[:2], -1, self.patch)
        every_BNW, _ = self.memory(torch.relu(self.embed(x_BVNP.transpose(1, 2).flatten(2))))
        return self.head(every_BNW[:, -1])  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Patches of one channel as tokens.

    Source: Nie et al. 2023, PatchTST; patches overlap by half.
    """

    def __init__(
        self,
        lookback: int,
        num_answers: int,
        num_variables: int,
        patch: int,
        width: int,
        dropout: float,
        layers: int,
        heads: int,
    ) -> None:
        super().__init__()
        self.patch, self.stride = patch, max(patch // 2, 1)
        num_patches = (lookback - patch) // self.stride + 1
        self.embed = nn.Linear(num_variables * patch, width)
        self.place = nn.Parameter(torch.randn(num_patches, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(num_patches * width, num_answers))

    def forward(self, x_BVL: Tensor) -> Tensor:
        x_BVNP = x_BVL.unfold(2, self.patch, self.stride)
        return self.head(self.encoder(self.embed(x_BVNP.transpose(1, 2).flatten(2)) + self.place))  # type: ignore[no-any-return]


class Ensemble(nn.Module):
    """A weighted mean of networks, each over its own look-back; a member without quantiles gives its mean for each."""

    shares: Tensor

    def __init__(self, members: Sequence[nn.Module], lookbacks: Sequence[int], horizon: int) -> None:
        super().__init__()
        self.members, self.lookbacks, self.horizon = nn.ModuleList(members), lookbacks, horizon
        self.register_buffer("shares", torch.zeros(len(members)))

    def forward(self, history: Tensor, known: Tensor | None = None, past: Tensor | None = None) -> Tensor:
        found = []
        for member, lookback in zip(self.members, self.lookbacks, strict=True):
            inputs = {"history": history[:, -lookback:]}
            if known is not None and isinstance(member, Regressed):
                inputs["known"] = known[:, -(lookback + self.horizon) :]
            if past is not None:
                inputs["past"] = past[:, -lookback:]
            found.append(member(**inputs))
        num_outputs = max(answer.shape[1] for answer in found)
        every = torch.stack([answer.expand(-1, num_outputs, -1, -1) for answer in found])
        return (self.shares[:, None, None, None, None] * every).sum(dim=0)


class Finished(nn.Module):
    """A network with its levels around the mean; the outputs of an exported model, in the order of their names."""

    def __init__(self, network: nn.Module, config: Config, spread: Tensor | None) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.register_buffer("spread", spread)

    def forward(self, history: Tensor, known: Tensor | None = None, past: Tensor | None = None) -> tuple[Tensor, ...]:
        inputs = {"history": history, "known": known, "past": past}
        outputs = self.network(**{name: value for name, value in inputs.items() if value is not None})
        if self.spread is None:
            return (outputs[:, 0],)
        own = outputs[:, 1:] if outputs.shape[1] > 1 else outputs
        every = own + self.spread
        if outputs.shape[1] > 1:  # a network's own quantiles may cross
            every = every.sort(dim=1).values
        return self.config.picked(outputs[:, 0], every)
