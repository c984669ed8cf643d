"""models: two networks: two towers that also know what items are about, and self-attention over a history.

B batch, T time (the latest last), D width, I items of the catalogue, F features, C candidates
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from modelcommons.workbench.fields.recommendation.closed import Asked, Scorer

if TYPE_CHECKING:
    from modelcommons.workbench.fields.recommendation.catalogue import Catalogue

NETWORK = "network."  # how the names of its tensors begin in a model folder


class TwoTower(nn.Module):
    """One vector for who asks and one for each item; their product is the score.

    Source: the retrieval model of Yi et al., Sampling-bias-corrected neural modeling (RecSys 2019), and for items that
    nobody chose yet Volkovs et al., DropoutNet (NeurIPS 2017): an item's own vector is left out at times, so that its
    features learn to stand in for it.
    """

    bags: Tensor
    offsets: Tensor
    shares: Tensor
    trained: Tensor

    def __init__(self, catalogue: Catalogue, width: int, dropout: float, longest: int, trained: np.ndarray) -> None:
        super().__init__()
        num_items, num_values = len(catalogue.items), len(catalogue.values)
        self.own = nn.Embedding(num_items, width)
        self.about = nn.Embedding(max(num_values, 1), width)
        self.of_user = nn.Embedding(max(len(catalogue.user_values), 1), width)
        self.recency = nn.Parameter(torch.zeros(longest))
        self.nobody = nn.Parameter(torch.zeros(width))
        self.mix = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )
        self.bias = nn.Parameter(torch.zeros(num_items))
        self.drop = dropout
        for table in (self.own, self.about, self.of_user):
            nn.init.normal_(table.weight, std=0.05)
        has = catalogue.profiles if num_values else catalogue.profiles[:, :0]
        self.register_buffer("bags", torch.from_numpy(has.indices.astype(np.int64)), persistent=False)
        self.register_buffer("offsets", torch.from_numpy(has.indptr.astype(np.int64)), persistent=False)
        self.register_buffer("shares", torch.from_numpy(has.data.astype(np.float32)), persistent=False)
        self.register_buffer("trained", torch.from_numpy((trained > 0).astype(np.float32)))  # (I,): has events

    def items(self) -> tuple[Tensor, Tensor]:
        """Vectors (I, D) and biases (I,) of the catalogue."""
        own = self.own.weight * self.trained[:, None]
        bias = self.bias * self.trained
        if self.training and self.drop:
            kept = (torch.rand(len(own), 1, device=own.device) >= self.drop).to(own.dtype)
            own = own * kept
        about = functional.embedding_bag(
            self.bags, self.about.weight, self.offsets, mode="sum", per_sample_weights=self.shares.to(own.dtype),
            include_last_offset=True,
        )  # fmt: skip
        return own + about, bias

    def users(self, items: Tensor, history: Tensor, features: Tensor | None) -> Tensor:
        """(B, D) of histories (B, T), padded on the left with -1; features (B, F) 0 or 1."""
        known = history >= 0
        chosen = items[history.clamp(min=0)]  # (B, T, D)
        weight = self.recency[-history.shape[1] :].masked_fill(~known, -torch.inf)
        weight = torch.nan_to_num(weight.softmax(dim=1))  # no history at all: no weights
        users = (weight[:, :, None] * chosen).sum(dim=1) + self.nobody
        if features is not None:
            users = users + features.to(users.dtype) @ self.of_user.weight
        mixed: Tensor = users + self.mix(users)
        return mixed

    def forward(self, history: Tensor, features: Tensor | None = None) -> Tensor:
        """Scores (B, I)."""
        items, bias = self.items()
        return self.users(items, history, features) @ items.T + bias


class Sasrec(nn.Module):
    """What comes next from what came before, by causal self-attention.

    Source: Kang & McAuley, Self-Attentive Sequential Recommendation (ICDM 2018); with layer norm first and the loss
    over all items, which Klenitskiy & Vasilev, Turning Dross Into Gold Loss (RecSys 2023), found to do better than
    BERT4Rec. Every history begins with the same token, so that somebody without one gets an answer too.
    """

    def __init__(self, num_items: int, width: int, layers: int, heads: int, dropout: float, longest: int) -> None:
        super().__init__()
        self.num_items, self.heads, self.longest = num_items, heads, longest
        self.items = nn.Embedding(num_items + 1, width)  # the last: everybody's start
        self.places = nn.Embedding(longest + 1, width)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.bias = nn.Parameter(torch.zeros(num_items))
        for table in (self.items, self.places):
            nn.init.normal_(table.weight, std=0.02)

    def states(self, history: Tensor) -> Tensor:
        """What is known at each place, (B, T, D); places count back from the end, padding (-1) comes last."""
        length = (history >= 0).sum(dim=1, keepdim=True)
        place = (length - 1 - torch.arange(history.shape[1], device=history.device)).clamp(min=0)
        x = self.dropout(self.items(history.clamp(min=0)) + self.places(place))
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out

    def scores(self, states: Tensor) -> Tensor:
        """(..., I) of states (..., D)."""
        return states @ self.items.weight[: self.num_items].T + self.bias

    def forward(self, history: Tensor) -> Tensor:
        """Scores (B, I) after the whole history."""
        length = (history >= 0).sum(dim=1)
        states = self.states(history)
        return self.scores(states[torch.arange(len(states)), length - 1])


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.drop = heads, dropout
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.joint, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        query, key, value = (
            part.view(batch, time, self.heads, -1).transpose(1, 2)
            for part in self.joint(self.before(x)).chunk(3, dim=2)
        )
        mixed = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=self.drop if self.training else 0.0, is_causal=True
        )
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, time, width)))
        out: Tensor = x + self.dropout(self.narrow(functional.gelu(self.wide(self.between(x)))))
        return out


def build(architecture: str, catalogue: Catalogue, options: Mapping[str, Any], trained: np.ndarray) -> nn.Module:
    """The network without its weights. `trained`: how often each item stands in the training events, (I,)."""
    if architecture == "two-tower":
        return TwoTower(catalogue, options["width"], options["dropout"], options["longest"], trained)
    return Sasrec(
        len(catalogue.items), options["width"], options["layers"], options["heads"], options["dropout"],
        options["longest"],
    )  # fmt: skip


def left_padded(items: list[np.ndarray], longest: int) -> np.ndarray:
    """Histories of the two towers, (B, T) int64: the latest items, -1 before them."""
    size = max([1, *(min(len(one), longest) for one in items)])
    out = np.full((len(items), size), -1, np.int64)
    for row, one in zip(out, items, strict=True):
        some = one[-longest:]
        row[size - len(some) :] = some
    return out


def right_padded(items: list[np.ndarray], longest: int, start: int) -> np.ndarray:
    """Histories of SASRec, (B, T) int64: the start, the latest items, then -1."""
    size = 1 + max([0, *(min(len(one), longest) for one in items)])
    out = np.full((len(items), size), -1, np.int64)
    out[:, 0] = start
    for row, one in zip(out, items, strict=True):
        some = one[-longest:]
        row[1 : 1 + len(some)] = some
    return out


def many_hot(features: list[np.ndarray], size: int) -> np.ndarray:
    out = np.zeros((len(features), size), np.float32)
    for row, one in zip(out, features, strict=True):
        row[one] = 1
    return out


def inputs(network: nn.Module, asked: Asked, longest: int) -> dict[str, Tensor]:
    """What a network is called with."""
    if isinstance(network, Sasrec):
        return {"history": torch.from_numpy(right_padded(list(asked.items), longest, network.num_items))}
    assert isinstance(network, TwoTower)
    made = {"history": torch.from_numpy(left_padded(list(asked.items), longest))}
    if len(asked.features):
        made["features"] = torch.from_numpy(many_hot(list(asked.features), network.of_user.num_embeddings))
    return made


def network_scorer(network: nn.Module, longest: int) -> Scorer:
    """A network as something that scores, on the device where it is."""

    def scores(asked: Asked) -> np.ndarray:
        with torch.inference_mode():
            place = next(network.parameters()).device
            made = {name: tensor.to(place) for name, tensor in inputs(network, asked, longest).items()}
            return np.array(network(**made).float().cpu().numpy())

    return scores


def load_scorer(
    architecture: str, weights: Mapping[str, np.ndarray], catalogue: Catalogue, options: Mapping[str, Any]
) -> Scorer:
    """A scorer from stored weights; in double precision, so that six digits do not depend on batch or threads."""
    network = build(architecture, catalogue, options, catalogue.counts)
    state = {name.removeprefix(NETWORK): torch.from_numpy(value) for name, value in weights.items()}
    network.load_state_dict(state)
    return network_scorer(network.double().eval(), options["longest"])
