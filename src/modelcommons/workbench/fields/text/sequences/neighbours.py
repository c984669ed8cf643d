"""neighbours: the part of a network that reads pairs beside a source, and copies from them."""

# B batch, S source tokens with those of the pairs, T target tokens, D width, V vocabulary

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding


class Neighbours(nn.Module):
    """What it takes to read pairs beside a source, and to copy from them.

    A token is told which text it is of, its place in that text and the token before it, so that a writer finds what
    comes next. What is written is either drawn from the vocabulary or copied from where a query points.

    Source: Bulté & Tezcan, Neural Fuzzy Repair (2019); See, Liu & Manning, Get To The Point (2017), section 2.2.
    """

    def __init__(self, width: int, count: int, end: int) -> None:
        super().__init__()
        self.end = end
        self.embed_texts = nn.Parameter(torch.randn(1 + 2 * count, width) * 0.5)  # source; source and target of each pair
        self.before = nn.Linear(width, width, bias=False)
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, 1)

    def marked(self, ids: Tensor, x_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors that also tell text and token before, and the place of each token in its text, (B, S)."""
        ends = (ids == self.end).long()
        texts = ends.cumsum(1) - ends
        same = (texts[:, :, None] == texts[:, None, :]).long()
        before = torch.cat([torch.zeros_like(x_BSD[:, :1]), x_BSD[:, :-1]], dim=1)
        kinds = embedding(texts.clamp(max=len(self.embed_texts) - 1), self.embed_texts)
        return x_BSD + kinds + self.before(before), same.tril(-1).sum(2)

    def mixed(self, x_BTD: Tensor, logits: Tensor, keys: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Logarithms of drawing and copying together, (B, T, V). `mask`: (B, 1, S)."""
        scores = self.query(x_BTD) @ keys.transpose(1, 2) * keys.shape[-1] ** -0.5
        gate = self.gate(x_BTD).float().sigmoid()
        copied = gate * scores.float().masked_fill(~mask, -torch.inf).softmax(-1)  # (B, T, S)
        drawn = (1 - gate) * logits.float().softmax(-1)
        places = ids[:, None].expand(-1, x_BTD.shape[1], -1)
        return drawn.scatter_add(2, places, copied).clamp(min=1e-12).log()
