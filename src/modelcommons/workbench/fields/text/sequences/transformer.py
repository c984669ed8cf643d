"""transformer: a small encoder-decoder that reads a source text and foretells its target token by token."""

# B batch, S source tokens, T target tokens, H heads, D width, V vocabulary

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding, linear, relu, scaled_dot_product_attention

from modelcommons.workbench.fields.text.language.gpt import FACTOR, PRIME, TURN, KeysValues


@dataclass(frozen=True, slots=True)
class Memory:
    """What a decoder looks back at: the source, and the target so far."""

    mask: Tensor  # (B, 1, 1, S) bool, false where a source is shorter
    source: list[KeysValues]  # of each block, (B, H, S, D / H)
    past: list[KeysValues] | None = None  # of each block, (B, H, T, D / H)

    def of(self, rows: Tensor) -> Memory:
        """The memories of these rows, (N,) int64, in that order."""
        past = None if self.past is None else [(k[rows], v[rows]) for k, v in self.past]
        return Memory(self.mask[rows], [(k[rows], v[rows]) for k, v in self.source], past)


class Transformer(nn.Module):
    """Encoder and decoder over one vocabulary, whose vectors are also those of the output.

    Source: Vaswani et al., Attention Is All You Need (2017), normalised before each part of a block instead of behind
    it (Xiong et al., On Layer Normalization in the Transformer Architecture, 2020). A source token is read together
    with the hashed n-grams that end in it (Huang et al., Over-Tokenized Transformer, 2025): whole phrases have vectors,
    which a small network else must put together.
    """

    def __init__(
        self, size: int, width: int, encoder_layers: int, decoder_layers: int, heads: int, ngrams: int, buckets: int,
        dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.width, self.dropout = width, dropout
        self.embed = nn.Parameter(torch.randn(size, width) * width**-0.5)  # (V, D)
        self.embed_ngrams = nn.ParameterList(torch.randn(buckets, width) * 0.02 for _ in range(ngrams - 1))
        self.encoder = nn.ModuleList(Block(width, heads, dropout, causal=False) for _ in range(encoder_layers))
        self.decoder = nn.ModuleList(Block(width, heads, dropout, causal=True) for _ in range(decoder_layers))
        self.read_norm, self.write_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor) -> Tensor:
        """Sources (B, S), 1 where they have a token (B, S), targets (B, T) -> logits of the tokens after (B, T, V)."""
        return self.decode(decoder_input_ids, self.encode(input_ids, attention_mask))[0]

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Memory:
        """What a decoder needs of sources, (B, S)."""
        mask = attention_mask.bool()[:, None, None, :]
        x_BSD = self._embedded(input_ids, 0, with_ngrams=True)
        for block in self.encoder:
            x_BSD, _ = block(x_BSD, mask, None, None)
        x_BSD = self.read_norm(x_BSD)
        return Memory(mask, [block.across.keys_values(x_BSD) for block in self.decoder])  # type: ignore[union-attr,operator]

    def decode(self, ids: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Logits (B, T, V) behind each of the tokens (B, T), and a memory that holds them too."""
        x_BTD, kept = self._embedded(ids, 0 if memory.past is None else memory.past[0][0].shape[2]), []
        for at, block in enumerate(self.decoder):
            past = None if memory.past is None else memory.past[at]
            x_BTD, own = block(x_BTD, memory.mask, past, memory.source[at])
            kept.append(own)
        logits = linear(self.write_norm(x_BTD), self.embed)
        return logits, Memory(memory.mask, memory.source, kept)

    def _embedded(self, ids: Tensor, first: int, with_ngrams: bool = False) -> Tensor:
        """(B, T) -> (B, T, D); `first`: the position of the first."""
        x_BTD = embedding(ids, self.embed) * self.width**0.5 + self._positions(ids, first)
        hashed, before = ids, ids
        for vectors in self.embed_ngrams if with_ngrams else ():
            before = torch.cat([torch.full_like(ids[:, :1], -1), before[:, : ids.shape[1] - 1]], dim=1)
            hashed = (hashed * FACTOR + before + 1) % PRIME
            x_BTD = x_BTD + embedding(hashed % len(vectors), vectors)
        return dropout(x_BTD, self.dropout, self.training)

    def _positions(self, ids: Tensor, first: int) -> Tensor:
        """Sines and cosines of each position, (T, D)."""
        half = self.width // 2
        pace = TURN ** (-torch.arange(half, device=ids.device, dtype=torch.float32) / half)
        angle = (first + torch.arange(ids.shape[1], device=ids.device, dtype=torch.float32))[:, None] * pace
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class Block(nn.Module):
    """Attention to the own text, in a decoder also to the source, then feed-forward; each added to what it read."""

    def __init__(self, width: int, heads: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.causal, self.dropout = causal, dropout
        self.own_norm, self.own = nn.LayerNorm(width), Attention(width, heads)
        if causal:
            self.across_norm, self.across = nn.LayerNorm(width), Attention(width, heads)
        self.wide_norm = nn.LayerNorm(width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(
        self, x_BTD: Tensor, mask: Tensor, past: KeysValues | None, source: KeysValues | None
    ) -> tuple[Tensor, KeysValues]:
        """What it makes of the tokens, and the keys and values of all of them so far.

        Args:
            mask: which source tokens there are, (B, 1, 1, S).
            past: keys and values of the tokens before; one token is then read at a time.
            source: those of the source, for a decoder.
        """
        normed = self.own_norm(x_BTD)
        queries, (keys, values) = self.own.queries(normed), self.own.keys_values(normed)
        if past is not None:
            keys, values = torch.cat([past[0], keys], 2), torch.cat([past[1], values], 2)
        # one token behind others sees all of them; several are read from the beginning only
        read = (
            self.own.mixed(queries, keys, values, causal=past is None)
            if self.causal
            else self.own.mixed(queries, keys, values, mask)
        )
        x_BTD = x_BTD + dropout(read, self.dropout, self.training)
        if source is not None:
            found = self.across.mixed(self.across.queries(self.across_norm(x_BTD)), *source, mask)
            x_BTD = x_BTD + dropout(found, self.dropout, self.training)
        hidden = dropout(relu(self.widen(self.wide_norm(x_BTD))), self.dropout, self.training)
        return x_BTD + dropout(self.narrow(hidden), self.dropout, self.training), (keys, values)


class Attention(nn.Module):
    """Several heads of scaled dot products."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.out = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)

    def queries(self, x_BTD: Tensor) -> Tensor:
        """(B, H, T, D / H)"""
        return self._by_head(self.query(x_BTD))

    def keys_values(self, x_BTD: Tensor) -> KeysValues:
        keys, values = self.key_value(x_BTD).chunk(2, dim=-1)
        return self._by_head(keys), self._by_head(values)

    def mixed(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """(B, T, D)"""
        found = scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=causal)
        out: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return out

    def _by_head(self, x_BTD: Tensor) -> Tensor:
        batch, time, width = x_BTD.shape
        return x_BTD.view(batch, time, self.heads, width // self.heads).transpose(1, 2)
