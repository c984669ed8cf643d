"""attention: several heads of scaled dot products."""

# B batch, S tokens looked at, T tokens that look, H heads, D width

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from modelcommons.workbench.fields.text.language.gpt import KeysValues


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
