"""gpt: a small decoder-only Transformer that foretells each token from those before it."""

# B batch, T time (tokens), H heads, D width, V vocabulary

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, rms_norm, scaled_dot_product_attention

Past = list[tuple[Tensor, Tensor]]  # of each block: keys and values (B, H, T, D / H) of what was read
TURN = 10_000.0  # longest wavelength of positions, over 2 pi


class Gpt(nn.Module):
    """Blocks of causal attention and feed-forward over normalised inputs, positions by rotation.

    Source: Radford et al., Improving Language Understanding by Generative Pre-Training (2018), with what later small
    models gained from: rotary positions (Su et al., RoFormer, 2021), normalised queries and keys (Henry et al., 2020),
    squared ReLU (So et al., Primer, 2021), and last layers of a block that begin at zero.
    """

    def __init__(self, size: int, width: int, layers: int, heads: int, dropout: float, **rest: Any) -> None:
        super().__init__()
        self.embed = nn.Embedding(size, width)
        nn.init.normal_(self.embed.weight, std=0.5)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, size, bias=False)
        nn.init.zeros_(self.head.weight)

    def forward(self, input_ids: Tensor) -> Tensor:
        """input_ids (B, T) -> logits of the token after each (B, T, V)."""
        return self.read(input_ids, None)[0]

    def read(self, input_ids: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """Logits (B, T, V), and what was read so far; `past` is what stood before these tokens."""
        x_BTD = self.dropout(_norm(self.embed(input_ids)))
        kept: Past = []
        for at, block in enumerate(self.blocks):
            x_BTD, own = block(x_BTD, None if past is None else past[at])
            kept.append(own)
        logits: Tensor = self.head(_norm(x_BTD))
        return logits, kept


class Block(nn.Module):
    """Attention to what came before, then feed-forward, each added to what it read."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.widen, self.narrow = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.narrow.weight)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        batch, time, width = x_BTD.shape
        split = self.queries_keys_values(_norm(x_BTD)).view(batch, time, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)  # each (B, H, T, D / H)
        first = 0 if past is None else past[0].shape[2]
        q, k = turned(_norm(q), first), turned(_norm(k), first)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        # one token after others sees all of them; several are read from the beginning only
        mixed = scaled_dot_product_attention(q, k, v, is_causal=past is None)
        x_BTD = x_BTD + self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, time, width)))
        added: Tensor = x_BTD + self.dropout(self.narrow(relu(self.widen(_norm(x_BTD))).square()))
        return added, (k, v)


def turned(x_BHTD: Tensor, first: int) -> Tensor:
    """Each pair of numbers turned by an angle that grows with the position; `first`: that of the first token."""
    half = x_BHTD.shape[-1] // 2
    pace = TURN ** (-torch.arange(half, device=x_BHTD.device, dtype=torch.float32) / half)
    places = first + torch.arange(x_BHTD.shape[2], device=x_BHTD.device, dtype=torch.float32)
    angle = places[:, None] * pace  # (T, D / 2)
    cos, sin = angle.cos().to(x_BHTD.dtype), angle.sin().to(x_BHTD.dtype)
    a, b = x_BHTD[..., :half], x_BHTD[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def _norm(x: Tensor) -> Tensor:
    return rms_norm(x, (x.shape[-1],))
