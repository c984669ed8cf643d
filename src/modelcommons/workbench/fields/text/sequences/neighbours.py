"""neighbours: the part of a network that reads pairs beside a source, and copies from them."""

# B batch, S source tokens with those of the pairs, T target tokens, D width, V vocabulary

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

SURE = 4.0  # what a token behind the right one is ahead by, at first


class Neighbours(nn.Module):
    """What it takes to read pairs beside a source, and to copy from them.

    A token is told which text it is of, its place in that text and the token before it, so that a writer finds what
    comes next; the logits of the tokens that a query points at are raised. The scores of drawing and copying are added
    before the softmax (Gu et al., Incorporating Copying Mechanism, 2016): where probabilities are mixed behind it (See,
    Liu & Manning, Get To The Point, 2017), copying is learned at once, and then hardly anything else.

    Source: Bulté & Tezcan, Neural Fuzzy Repair: Integrating Fuzzy Matches into Neural Machine Translation (2019).
    """

    def __init__(self, width: int, heads: int, count: int, end: int) -> None:
        super().__init__()
        self.end = end
        self.embed_texts = nn.Parameter(torch.randn(1 + 2 * count, width) * 0.5)  # source; source and target of each pair
        self.before = nn.Linear(width, width, bias=False)
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.going_on = nn.Parameter(torch.linspace(0.0, SURE, heads + 1))  # of each head, and of the pointer
        self.gate = nn.Linear(width, 1)

    def marked(self, ids: Tensor, x_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors that also tell text and token before, and the place of each token in its text, (B, S)."""
        ends = (ids == self.end).long()
        texts = ends.cumsum(1) - ends
        same = (texts[:, :, None] == texts[:, None, :]).long()
        before = torch.cat([torch.zeros_like(x_BSD[:, :1]), x_BSD[:, :-1]], dim=1)
        kinds = embedding(texts.clamp(max=len(self.embed_texts) - 1), self.embed_texts)
        return x_BSD + kinds + self.before(before), same.tril(-1).sum(2)

    def follows(self, written: Tensor, ids: Tensor) -> Tensor:
        """1 where a token stands behind the same token as the next one to be written, (B, T, S)."""
        before = torch.cat([torch.full_like(ids[:, :1], self.end), ids[:, :-1]], dim=1)
        return (written[:, :, None] == before[:, None]).float()

    def leaning(self, mask: Tensor, follows: Tensor) -> Tensor:
        """What attention to the texts begins with, (B, H, T, S). `mask`: (B, 1, 1, S)."""
        return (self.going_on[:-1, None, None] * follows[:, None]).masked_fill(~mask, -torch.inf)

    def raised(self, x_BTD: Tensor, logits: Tensor, keys: Tensor, ids: Tensor, mask: Tensor, follows: Tensor) -> Tensor:
        """Logits (B, T, V), those of the tokens pointed at raised. `mask`: (B, 1, S)."""
        scores = self.query(x_BTD) @ keys.transpose(1, 2) * keys.shape[-1] ** -0.5 + self.going_on[-1] * follows
        pointed = scores.masked_fill(~mask, -torch.inf).softmax(-1) * self.gate(x_BTD)  # (B, T, S)
        return logits.scatter_add(2, ids[:, None].expand(-1, x_BTD.shape[1], -1), pointed.to(logits))
