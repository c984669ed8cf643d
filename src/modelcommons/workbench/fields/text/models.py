"""the networks: a bag of n-grams, a recurrent reader, a small Transformer encoder."""

# B batch, T time (tokens or n-grams), D width, L labels

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Bag(nn.Module):
    """The weighted sum of n-gram vectors, through one hidden layer.

    Source: Joulin et al., Bag of Tricks for Efficient Text Classification (2016), with TF-IDF weights.
    """

    def __init__(self, num_labels: int, width: int, buckets: int, dropout: float, **rest: Any) -> None:
        super().__init__()
        self.register_buffer("rarity", torch.zeros(buckets))
        self.embed = nn.Embedding(buckets, width)
        nn.init.normal_(self.embed.weight, std=0.1)
        self.direct = nn.Embedding(
            buckets, num_labels
        )  # each n-gram's own vote: a linear model beside the hidden layer
        nn.init.zeros_(self.direct.weight)
        self.hidden = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_labels)

    def forward(self, input_ids: Tensor, weights: Tensor) -> Tensor:
        """input_ids (B, T) buckets, weights (B, T) -> logits (B, L)."""
        text_BD = torch.einsum("btd,bt->bd", self.embed(input_ids), weights)
        votes_BL = torch.einsum("btl,bt->bl", self.direct(input_ids), weights)
        logits: Tensor = self.head(self.dropout(torch.relu(self.hidden(text_BD)))) + votes_BL
        return logits


class Rnn(nn.Module):
    """Gated recurrent units in both directions, then the mean and the maximum over time.

    Source: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder (2014).
    """

    def __init__(self, num_labels: int, width: int, layers: int, vocabulary: int, dropout: float, **rest: Any) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width, padding_idx=0)
        inner = dropout if layers > 1 else 0.0
        self.forwards = nn.GRU(width, width, layers, batch_first=True, dropout=inner)
        self.backwards = nn.GRU(width, width, layers, batch_first=True, dropout=inner)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * width, num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B, T), attention_mask (B, T) 1 or 0, padded on the right -> logits (B, L)."""
        mask_BT1 = attention_mask.unsqueeze(-1).to(torch.float32)
        tokens_BTD = self.dropout(self.embed(input_ids))
        there, _ = self.forwards(tokens_BTD)
        # each text turned round within its own length, so that padding stays behind it and changes nothing
        last_B1 = attention_mask.sum(1, keepdim=True) - 1
        turned_BT = (last_B1 - torch.arange(input_ids.shape[1], device=input_ids.device)).clamp(min=0)
        back, _ = self.backwards(tokens_BTD.gather(1, turned_BT.unsqueeze(-1).expand_as(tokens_BTD)))
        states_BTD = torch.cat([there, back], dim=-1)
        mean = (states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1)
        top = (states_BTD - 1e4 * (1 - mask_BT1)).amax(1)
        logits: Tensor = self.head(self.dropout(torch.cat([mean, top], dim=-1)))
        return logits


class Transformer(nn.Module):
    """An encoder with attention, normalised before each part, then the mean over time.

    Source: Vaswani et al., Attention Is All You Need (2017); pre-norm by Xiong et al. (2020).
    """

    def __init__(
        self,
        num_labels: int,
        width: int,
        layers: int,
        heads: int,
        vocabulary: int,
        dropout: float,
        max_length: int,
        **rest: Any,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width, padding_idx=0)
        self.embed_place = nn.Embedding(max_length, width)
        nn.init.normal_(self.embed_place.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids (B, T), attention_mask (B, T) 1 or 0 -> logits (B, L)."""
        places_T = torch.arange(input_ids.shape[1], device=input_ids.device)
        x_BTD = self.dropout(self.embed(input_ids) + self.embed_place(places_T))
        seen_B11T = attention_mask.bool()[:, None, None, :]
        for block in self.blocks:
            x_BTD = block(x_BTD, seen_B11T)
        mask_BT1 = attention_mask.unsqueeze(-1).to(torch.float32)
        mean_BD = (self.norm(x_BTD) * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1)
        logits: Tensor = self.head(self.dropout(mean_BD))
        return logits


class Block(nn.Module):
    """Attention, then feed-forward, each added to what it read."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, seen_B11T: Tensor) -> Tensor:
        batch, time, width = x_BTD.shape
        split = self.queries_keys_values(self.norm_1(x_BTD)).view(batch, time, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)  # each (B, heads, T, D / heads)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen_B11T)
        x_BTD = x_BTD + self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, time, width)))
        added: Tensor = x_BTD + self.dropout(self.narrow(nn.functional.gelu(self.widen(self.norm_2(x_BTD)))))
        return added


def build(architecture: str, options: dict[str, Any], num_labels: int, max_length: int) -> nn.Module:
    """A new network, its weights from torch's current seed."""
    kind = {"bag": Bag, "rnn": Rnn, "transformer": Transformer}[architecture]
    network: nn.Module = kind(num_labels=num_labels, max_length=max_length, **options)
    return network
