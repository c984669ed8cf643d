"""neighbours: the part of a network that reads pairs beside a source, and copies from them."""

# B batch, S source tokens and those of the pairs behind them, T target tokens, H heads, D width, V vocabulary

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, relu

from modelcommons.workbench.fields.text.language.gpt import KeysValues
from modelcommons.workbench.fields.text.sequences.attention import Attention

SURE = 4.0  # by how much a token behind the right one is ahead, at first


@dataclass(frozen=True, slots=True)
class Pairs:
    """What a writer looks at beside the source."""

    ids: Tensor  # (B, S)
    mask: Tensor  # tokens of pairs, and the end of the source for where there is none, (B, 1, S)
    keys_values: KeysValues  # (B, H, S, D / H)
    keys: Tensor  # to be pointed at, (B, S, D)

    def of(self, rows: Tensor) -> Pairs:
        """Those of these rows, (N,) int64, in that order."""
        keys, values = self.keys_values
        return Pairs(self.ids[rows], self.mask[rows], (keys[rows], values[rows]), self.keys[rows])


class Neighbours(nn.Module):
    """Translates as a network without it, then looks at what was made of sources like this one.

    The source is read by itself; the tokens of a pair see the source and their own pair, and are told their text, their
    place in it and the token before them. Behind the decoder one more block looks at them, leaning to what follows the
    token just written, and the logits of the tokens that it points at are raised (Gu et al., Incorporating Copying
    Mechanism in Sequence-to-Sequence Learning, 2016).

    Source: Bulté & Tezcan, Neural Fuzzy Repair: Integrating Fuzzy Matches into Neural Machine Translation (2019).
    """

    def __init__(self, width: int, heads: int, count: int, end: int) -> None:
        super().__init__()
        self.end = end
        self.embed_texts = nn.Parameter(torch.randn(2 * count, width) * 0.5)  # source and target of each pair
        self.before = nn.Linear(width, width, bias=False)
        self.look_norm, self.look = nn.LayerNorm(width), Attention(width, heads)
        self.wide_norm = nn.LayerNorm(width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.leaning = nn.Parameter(torch.linspace(0.0, SURE, heads + 1))  # of each head, and of the pointer
        self.gate = nn.Linear(width, 1)

    def forward(self, x_BTD: Tensor, written: Tensor, pairs: Pairs) -> Tensor:
        """What a writer makes of the pairs, (B, T, D). `written`: its tokens so far, (B, T)."""
        leaning = self.leaning[:-1, None, None] * self._follows(written, pairs.ids)[:, None]  # (B, H, T, S)
        queries = self.look.queries(self.look_norm(x_BTD))
        leaning = leaning.masked_fill(~pairs.mask[:, None], -torch.inf).to(queries)
        x_BTD = x_BTD + self.look.mixed(queries, *pairs.keys_values, leaning)
        out: Tensor = x_BTD + self.narrow(relu(self.widen(self.wide_norm(x_BTD))))
        return out

    def raised(self, logits: Tensor, x_BTD: Tensor, written: Tensor, pairs: Pairs) -> Tensor:
        """Logits (B, T, V), those of the tokens pointed at raised."""
        scores = self.query(x_BTD) @ pairs.keys.transpose(1, 2) * pairs.keys.shape[-1] ** -0.5
        scores = scores + self.leaning[-1] * self._follows(written, pairs.ids)
        pointed = scores.masked_fill(~pairs.mask, -torch.inf).softmax(-1) * self.gate(x_BTD)  # (B, T, S)
        return logits.scatter_add(2, pairs.ids[:, None].expand(-1, x_BTD.shape[1], -1), pointed.to(logits))

    def masks(self, ids: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens of the source, (B, 1, 1, S), and what each token sees, (B, 1, S, S)."""
        pair = (self._texts(ids) + 1) // 2  # 0: the source
        source = there & (pair == 0)[:, None, None]
        return source, source | (there & (pair[:, :, None] == pair[:, None])[:, None])

    def marked(self, ids: Tensor, x_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors that tell pairs' tokens their text and the token before, and each one's place in its text, (B, S)."""
        texts = self._texts(ids)
        before = torch.cat([torch.zeros_like(x_BSD[:, :1]), x_BSD[:, :-1]], dim=1)
        kinds = embedding((texts - 1).clamp(0, len(self.embed_texts) - 1), self.embed_texts)
        same = (texts[:, :, None] == texts[:, None, :]).long()
        return x_BSD + (texts > 0)[..., None] * (kinds + self.before(before)), same.tril(-1).sum(2)

    def remembered(self, x_BSD: Tensor, ids: Tensor, attention_mask: Tensor) -> Pairs:
        beside = (self._texts(ids) > 0) | (ids == self.end)
        mask = (attention_mask.bool() & beside)[:, None]
        return Pairs(ids, mask, self.look.keys_values(x_BSD), self.key(x_BSD))

    def _texts(self, ids: Tensor) -> Tensor:
        """Which text each token is of, (B, S): 0 the source, 1 and 2 the first pair."""
        ends = (ids == self.end).long()
        return ends.cumsum(1) - ends

    def _follows(self, written: Tensor, ids: Tensor) -> Tensor:
        """1 where a token stands behind the one just written, (B, T, S)."""
        before = torch.cat([torch.full_like(ids[:, :1], self.end), ids[:, :-1]], dim=1)
        return (written[:, :, None] == before[:, None]).float()
