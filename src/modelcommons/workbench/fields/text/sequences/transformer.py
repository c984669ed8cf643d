"""transformer: a small encoder-decoder that reads a source text and foretells its target token by token."""

# B batch, S source tokens, T target tokens, H heads, D width, V vocabulary

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding, linear, relu

from modelcommons.workbench.fields.text.language.gpt import FACTOR, PRIME, TURN, KeysValues
from modelcommons.workbench.fields.text.sequences.attention import Attention
from modelcommons.workbench.fields.text.sequences.neighbours import Neighbours, Pairs


@dataclass(frozen=True, slots=True)
class Memory:
    """What a decoder looks back at: the source, and the target so far."""

    mask: Tensor  # (B, 1, 1, S) bool, false where a source is shorter
    source: list[KeysValues]  # of each block, (B, H, S, D / H)
    past: list[KeysValues] | None = None  # of each block, (B, H, T, D / H)
    pairs: Pairs | None = None  # that stand beside the source

    def of(self, rows: Tensor) -> Memory:
        """The memories of these rows, (N,) int64, in that order."""
        past = None if self.past is None else [(k[rows], v[rows]) for k, v in self.past]
        pairs = None if self.pairs is None else self.pairs.of(rows)
        return Memory(self.mask[rows], [(k[rows], v[rows]) for k, v in self.source], past, pairs)


class Transformer(nn.Module):
    """Encoder and decoder over one vocabulary, whose vectors are also those of the output.

    Source: Vaswani et al., Attention Is All You Need (2017), normalised before each part of a block instead of behind
    it (Xiong et al., On Layer Normalization in the Transformer Architecture, 2020). A source token is read together
    with the hashed n-grams that end in it (Huang et al., Over-Tokenized Transformer, 2025): whole phrases have vectors,
    which a small network else must put together.
    """

    def __init__(
        self, size: int, width: int, encoder_layers: int, decoder_layers: int, heads: int, ngrams: int, buckets: int,
        dropout: float, neighbours: int = 0, end: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.width, self.dropout = width, dropout
        self.embed = nn.Parameter(torch.randn(size, width) * width**-0.5)  # (V, D)
        self.embed_ngrams = nn.ParameterList(torch.randn(buckets, width) * 0.02 for _ in range(ngrams - 1))
        self.encoder = nn.ModuleList(Block(width, heads, dropout, causal=False) for _ in range(encoder_layers))
        self.decoder = nn.ModuleList(Block(width, heads, dropout, causal=True) for _ in range(decoder_layers))
        self.read_norm, self.write_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.neighbours = Neighbours(width, heads, neighbours, end) if neighbours else None

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor) -> Tensor:
        """Sources (B, S), 1 where they have a token (B, S), targets (B, T) -> logits of the tokens after (B, T, V)."""
        return self.decode(decoder_input_ids, self.encode(input_ids, attention_mask))[0]

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Memory:
        """What a decoder needs of sources, (B, S); with neighbours, of these too."""
        there = mask = attention_mask.bool()[:, None, None, :]
        if self.neighbours is not None:
            there, mask = self.neighbours.masks(input_ids, mask)
        x_BSD = self._embedded(input_ids, 0, with_ngrams=True)
        for block in self.encoder:
            x_BSD, _ = block(x_BSD, mask, None, None)
        x_BSD = self.read_norm(x_BSD)
        pairs = None if self.neighbours is None else self.neighbours.remembered(x_BSD, input_ids, attention_mask)
        return Memory(there, [block.across.keys_values(x_BSD) for block in self.decoder], None, pairs)  # type: ignore[union-attr,operator]

    def decode(self, ids: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Logits (B, T, V) behind each of the tokens (B, T), and a memory that holds them too."""
        x_BTD, kept = self._embedded(ids, 0 if memory.past is None else memory.past[0][0].shape[2]), []
        for at, block in enumerate(self.decoder):
            past = None if memory.past is None else memory.past[at]
            x_BTD, own = block(x_BTD, memory.mask, past, memory.source[at])
            kept.append(own)
        if self.neighbours is not None and memory.pairs is not None:
            x_BTD = self.neighbours(x_BTD, ids, memory.pairs)
        x_BTD = self.write_norm(x_BTD)
        logits = linear(x_BTD, self.embed)
        if self.neighbours is not None and memory.pairs is not None:
            logits = self.neighbours.raised(logits, x_BTD, ids, memory.pairs)
        return logits, Memory(memory.mask, memory.source, kept, memory.pairs)

    def _embedded(self, ids: Tensor, first: int, with_ngrams: bool = False) -> Tensor:
        """(B, T) -> (B, T, D); `first`: the position of the first."""
        x_BTD = embedding(ids, self.embed) * self.width**0.5
        if with_ngrams and self.neighbours is not None:
            x_BTD, places = self.neighbours.marked(ids, x_BTD)
        else:
            places = first + torch.arange(ids.shape[1], device=ids.device)
        x_BTD = x_BTD + self._positions(places)
        hashed, before = ids, ids
        for vectors in self.embed_ngrams if with_ngrams else ():
            before = torch.cat([torch.full_like(ids[:, :1], -1), before[:, : ids.shape[1] - 1]], dim=1)
            hashed = (hashed * FACTOR + before + 1) % PRIME
            x_BTD = x_BTD + embedding(hashed % len(vectors), vectors)
        return dropout(x_BTD, self.dropout, self.training)

    def _positions(self, places: Tensor) -> Tensor:
        """Sines and cosines of positions, (..., D)."""
        half = self.width // 2
        pace = TURN ** (-torch.arange(half, device=places.device, dtype=torch.float32) / half)
        angle = places.float()[..., None] * pace
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


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
