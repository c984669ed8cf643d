"""the networks that find answers: each token with what it shares with the question, then a reader of the text."""

# B batch, T time (tokens of question and context), D width, F features of overlap

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from modelcommons.workbench.fields.text.models import Block
from modelcommons.workbench.fields.text.spans.overlap import BUCKETS, FEATURES, SENTENCE

SURE = 4.0  # logits that the best sentence has before training
KERNEL = 5  # tokens that a convolution sees
NEVER = -1e4  # logit of a token that cannot begin or end an answer


class Convolution(nn.Module):
    """Gated convolutions, each over twice the distance of the one before, added to what they read.

    Source: Dauphin et al., Language Modeling with Gated Convolutional Networks (2017); dilated as in Yu & Koltun,
    Multi-Scale Context Aggregation by Dilated Convolutions (2016).
    """

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        # a convolution as one matrix product over the tokens it sees, which int8 makes small
        self.filters = nn.ModuleList(nn.Linear(KERNEL * width, 2 * width) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, attention_mask: Tensor) -> Tensor:
        mask_BT1 = attention_mask.unsqueeze(-1).to(x_BTD.dtype)
        for layer, (norm, filters) in enumerate(zip(self.norms, self.filters, strict=True)):
            step = 2**layer
            reach = step * (KERNEL // 2)
            padded = nn.functional.pad(norm(x_BTD) * mask_BT1, (0, 0, reach, reach))
            seen = [padded[:, at * step : at * step + x_BTD.shape[1]] for at in range(KERNEL)]
            x_BTD = x_BTD + self.dropout(nn.functional.glu(filters(torch.cat(seen, dim=-1)), dim=-1))
        return x_BTD


class Transformer(nn.Module):
    """Blocks of attention and feed-forward over learned places."""

    def __init__(self, width: int, layers: int, dropout: float, heads: int, max_length: int) -> None:
        super().__init__()
        self.embed_place = nn.Embedding(max_length, width)
        nn.init.normal_(self.embed_place.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x_BTD: Tensor, attention_mask: Tensor) -> Tensor:
        x_BTD = x_BTD + self.embed_place(torch.arange(x_BTD.shape[1], device=x_BTD.device))
        seen_B11T = attention_mask.bool()[:, None, None, :]
        for block in self.blocks:
            x_BTD = block(x_BTD, seen_B11T)
        states: Tensor = self.norm(x_BTD)
        return states


class SpanFinder(nn.Module):
    """Scores each token as the first and as the last one of the answer.

    Beside its own vector a token has the question's vectors as far as they are like it, and what overlap tells of its
    word. The question, summed up by attention, asks each state of the context for a begin and an end.

    Source: the document reader of Chen et al., Reading Wikipedia to Answer Open-Domain Questions (2017).
    """

    def __init__(self, num_tokens: int, width: int, dropout: float, body: nn.Module) -> None:
        super().__init__()
        self.register_buffer("rarity", torch.zeros(BUCKETS))  # of words, learned from the training contexts
        self.embed = nn.Embedding(num_tokens, width, padding_idx=0)
        nn.init.normal_(self.embed.weight, std=0.1)
        self.liken = nn.Linear(width, width)
        self.join = nn.Linear(2 * width + FEATURES, width)
        self.embed_type = nn.Embedding(2, width)
        self.body = body
        self.weigh = nn.Linear(width, 1)
        self.ask = nn.Linear(width, 2 * width)
        self.tell = nn.Linear(width + FEATURES, 2 * width)
        self.score = nn.Linear(2 * width, 2)
        self.direct = nn.Linear(FEATURES, 2)  # their own vote, which begins with the sentence of the floor
        nn.init.zeros_(self.direct.weight)
        nn.init.constant_(self.direct.weight[:, SENTENCE], SURE)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Ids, mask, types (B, T), features (B, T, F) -> logits of begin and end, (B, T) each."""
        asked_BT = attention_mask * (1 - token_type_ids)
        tokens_BTD = self.embed(input_ids)
        # whole words are dropped, so that what they share with the question must do: few questions name the same ones
        tokens_BTD = tokens_BTD * self.dropout(torch.ones_like(tokens_BTD[..., :1]))
        like_BTD = torch.relu(self.liken(tokens_BTD))
        likeness_BTT = like_BTD @ like_BTD.transpose(1, 2)
        shares_BTT = likeness_BTT.masked_fill(asked_BT[:, None, :] == 0, NEVER).softmax(-1)
        joined = self.join(torch.cat([tokens_BTD, shares_BTT @ tokens_BTD, features], dim=-1))
        x_BTD = self.body(self.dropout(joined + self.embed_type(token_type_ids)), attention_mask)

        weights_BT = self.weigh(x_BTD)[..., 0].masked_fill(asked_BT == 0, NEVER).softmax(-1)
        question_BD = (weights_BT.unsqueeze(1) @ x_BTD)[:, 0]
        told_BTE = torch.relu(self.tell(self.dropout(torch.cat([x_BTD, features], dim=-1))))
        both_BT2 = self.score(told_BTE * (1 + torch.tanh(self.ask(question_BD))).unsqueeze(1)) + self.direct(features)
        # the first token stands for `no answer`
        first_BT = torch.arange(input_ids.shape[1], device=input_ids.device).unsqueeze(0) == 0
        allowed_BT = (token_type_ids * attention_mask > 0) | first_BT
        start, end = both_BT2.masked_fill(~allowed_BT.unsqueeze(-1), NEVER).unbind(-1)
        return start, end


def build(architecture: str, options: dict[str, Any], num_tokens: int, max_length: int) -> SpanFinder:
    """A new network, its weights from torch's current seed; `num_tokens`: of the tokenizer."""
    width, layers, dropout = options["width"], options["layers"], options["dropout"]
    body: nn.Module
    match architecture:
        case "convolution":
            body = Convolution(width, layers, dropout)
        case _:
            body = Transformer(width, layers, dropout, options["heads"], max_length)
    return SpanFinder(num_tokens, width, dropout, body)
