"""unpadded: a BERT's layers over pairs laid end to end, with the weights and modules of the transformers library.

No time goes into padding, and none into answers that nobody asks for: in the last block only the chosen tokens look at
the others, so only they go through what follows. Loss and gradients are those of the library's own forward pass.
"""

# T tokens of P pairs laid end to end, Q of them chosen; W width; in a group N pairs of L (or K) slots, each of H heads

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from modelcommons.workbench.fields.text.pretraining.packing import Spread


def hidden(bert: Any, batch: Mapping[str, Any]) -> Tensor:
    """The last vectors of the chosen tokens, (Q, W), of a batch as `packing.laid` makes it.

    Attention weights are never dropped. Under autocast what passes from block to block has its format.
    """
    ids, types, places = (batch[name][None] for name in ("input_ids", "token_type_ids", "position_ids"))
    x = bert.embeddings(input_ids=ids, token_type_ids=types, position_ids=places)[0]  # (T, W)
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    tokens = batch["tokens"]
    for block in bert.encoder.layer[:-1]:
        x = _run(block, x, x, tokens, tokens)
    return _run(bert.encoder.layer[-1], x.index_select(0, batch["chosen"]), x, batch["queries"], tokens)


def _run(block: Any, *arguments: Any) -> Tensor:
    """Calls a block as the module that it is, so that its hooks run: they gather weights that lie in pieces."""
    block.forward = partial(_forward, block)
    try:
        made: Tensor = block(*arguments)
    finally:
        del block.forward
    return made


def _forward(block: Any, asking: Tensor, x: Tensor, queries: Spread, tokens: Spread) -> Tensor:
    """One block for those tokens that ask, (Q or T, W), of all of which they see, (T, W)."""
    own = block.attention.self
    found: Tensor = Attention.apply(  # type: ignore[no-untyped-call]
        own.query(asking), own.key(x), own.value(x), own.num_attention_heads, own.scaling, queries, tokens
    )
    made: Tensor = block.feed_forward_chunk(block.attention.output(found, asking))
    return made


class Attention(torch.autograd.Function):
    """Attention of each pair to itself, softmax(q k' * scale) v, by plain products of a few pairs of like length.

    On processors this is quicker than torch's own attention, made for long texts; the shares (N, H, L, K) are kept for
    the way back. Source: Vaswani et al., Attention Is All You Need (2017), section 3.2.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, heads: int, scale: float, queries: Spread, tokens: Spread
    ) -> Tensor:
        saved, made = [], []
        with torch.autocast(query.device.type, enabled=False):
            split = [_split(query, heads, queries), _split(key, heads, tokens), _split(value, heads, tokens)]
            for q, k, v, unseen in zip(*split, _unseen(tokens, heads, query.dtype), strict=True):
                shares = torch.baddbmm(unseen, q, k.transpose(1, 2), alpha=scale).softmax(-1)  # (N * H, L, K)
                made.append(shares @ v)
                saved += [q, k, v, shares]
            ctx.save_for_backward(*saved)
            ctx.heads, ctx.scale, ctx.queries, ctx.tokens = heads, scale, queries, tokens
            return _joined(made, heads, queries)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        heads, queries, tokens = ctx.heads, ctx.queries, ctx.tokens
        saved, of_q, of_k, of_v = ctx.saved_tensors, [], [], []
        for at, d in enumerate(_split(gradient, heads, queries, blank=True)):
            q, k, v, shares = saved[4 * at : 4 * at + 4]
            of_v.append(shares.transpose(1, 2) @ d)
            of_shares = d @ v.transpose(1, 2)
            scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype) * ctx.scale
            of_q.append(scores @ k)
            of_k.append(scores.transpose(1, 2) @ q)
        found = _joined(of_q, heads, queries), _joined(of_k, heads, tokens), _joined(of_v, heads, tokens)
        return *found, None, None, None, None


def _split(x: Tensor, heads: int, spread: Spread, blank: bool = False) -> Iterable[Tensor]:
    """Tokens (T, W) of each group side by side, (N * H, L, W / H); padding holds some other token, or zeros."""
    slots = x.index_select(0, spread["slots"])
    if blank:
        slots.masked_fill_(spread["padding"][:, None], 0)
    start = 0
    for pairs, length in spread["groups"]:
        group = slots[start : start + pairs * length].view(pairs, length, heads, -1)
        yield group.transpose(1, 2).reshape(pairs * heads, length, -1)
        start += pairs * length


def _joined(groups: Sequence[Tensor], heads: int, spread: Spread) -> Tensor:
    """The way back from `_split`: (T, W)."""
    slots = []
    for group in groups:
        _, length, width = group.shape
        slots.append(group.view(-1, heads, length, width).transpose(1, 2).reshape(-1, heads * width))
    return torch.cat(slots).index_select(0, spread["places"])


def _unseen(spread: Spread, heads: int, dtype: torch.dtype) -> Iterable[Tensor]:
    """What is added to scores, (N * H, 1, K) of each group: nothing, or at padding so little that it has no share."""
    start = 0
    for pairs, length in spread["groups"]:
        padding = spread["padding"][start : start + pairs * length].view(pairs, 1, length)
        yield (padding * torch.finfo(dtype).min).to(dtype).repeat_interleave(heads, 0)
        start += pairs * length
