"""gpt: a small decoder-only Transformer that foretells each token from those before it."""

# B batch, T time (tokens), H heads, D width, V vocabulary

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, rms_norm, scaled_dot_product_attention

KeysValues = tuple[Tensor, Tensor]  # each (B, H, T, D / H)
TURN = 10_000.0  # longest wavelength of positions, over 2 pi
PRIME, FACTOR = 2**31 - 1, 1_000_003  # of the hash: no product leaves 64 bits


@dataclass(frozen=True, slots=True)
class Past:
    """What was read before: its last tokens, and the keys and values of each block."""

    last_ids: Tensor  # (B, ngrams - 1), -1 where there was nothing
    blocks: list[KeysValues]


class Gpt(nn.Module):
    """Blocks of causal attention and feed-forward over normalised inputs, positions by rotation.

    Source: Radford et al., Improving Language Understanding by Generative Pre-Training (2018), with what later small
    models gained from: rotary positions (Su et al., RoFormer, 2021), normalised queries and keys (Henry et al., 2020),
    squared ReLU (So et al., Primer, 2021), and last layers of a block that begin at zero. A token is read together
    with the hashed n-grams that end in it (Huang et al., Over-Tokenized Transformer, 2025): what a small network else
    learns first and slowly.
    """

    _no_split_modules = ("Block",)

    def __init__(
        self, size: int, width: int, layers: int, heads: int, ngrams: int, buckets: int, dropout: float, **rest: Any
    ) -> None:
        super().__init__()
        self.buckets = buckets
        self.embed = nn.Embedding(size, width)
        nn.init.normal_(self.embed.weight, std=0.5)
        self.embed_ngrams = nn.ModuleList(nn.Embedding(buckets, width) for _ in range(ngrams - 1))
        for each in self.embed_ngrams:
            nn.init.normal_(each.weight, std=0.02)  # type: ignore[arg-type]
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, size, bias=False)
        nn.init.zeros_(self.head.weight)

    def forward(self, input_ids: Tensor) -> Tensor:
        """input_ids (B, T) -> logits of the token after each (B, T, V)."""
        return self.read(input_ids, None)[0]

    def read(self, input_ids: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """Logits (B, T, V), and what was read so far; `past` is what stood before these tokens."""
        count = len(self.embed_ngrams)
        batch = input_ids.shape[0]  # not len(), which torch.export takes for a constant
        before = input_ids.new_full((batch, count), -1) if past is None else past.last_ids
        ids = torch.cat([before, input_ids], dim=1)  # (B, count + T)
        x_BTD = self.dropout(_norm(self.embed(input_ids) + self._ngrams(ids)))
        kept: list[KeysValues] = []
        for at, block in enumerate(self.blocks):
            x_BTD, own = block(x_BTD, None if past is None else past.blocks[at])
            kept.append(own)
        logits: Tensor = self.head(_norm(x_BTD))
        return logits, Past(ids[:, ids.shape[1] - count :], kept)

    def _ngrams(self, ids: Tensor) -> Tensor | float:
        """Vectors of the n-grams that end in each token, summed, (B, T, D); `ids`: (B, count + T)."""
        count = len(self.embed_ngrams)
        hashed, found = ids[:, count:], 0.0
        for at, embed in enumerate(self.embed_ngrams, start=1):
            hashed = (hashed * FACTOR + ids[:, count - at : ids.shape[1] - at] + 1) % PRIME
            found = found + embed(hashed % self.buckets)
        return found


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

    def forward(self, x_BTD: Tensor, past: KeysValues | None) -> tuple[Tensor, KeysValues]:
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
