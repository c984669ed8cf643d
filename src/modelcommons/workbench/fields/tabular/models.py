"""models: a small network for tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modelcommons.workbench.fields.tabular.encoder import Run


class Mlp(nn.Module):
    """Layers with a way around each, so that it is a linear model where nothing more helps.

    Source: the residual network of Gorishniy et al., Revisiting Deep Learning Models for Tabular Data (NeurIPS 2021),
    without its normalisation, and with a linear path from input to output.
    """

    def __init__(self, num_features: int, num_outputs: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.direct = nn.Linear(num_features, num_outputs)
        self.enter = nn.Linear(num_features, width)
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.leave = nn.Linear(width, num_outputs)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, features) -> (batch, outputs)."""
        hidden = torch.relu(self.enter(x))
        for layer in self.inner:
            hidden = hidden + self.dropout(torch.relu(layer(hidden)))
        out: Tensor = self.direct(x) + self.leave(self.dropout(hidden))
        return out


def build(options: Mapping[str, Any], num_features: int, num_outputs: int) -> Mlp:
    return Mlp(num_features, num_outputs, int(options["width"]), int(options["layers"]), float(options["dropout"]))


def network_run(network: nn.Module) -> Run:
    """A network in double precision, so that six digits do not depend on batch or threads."""

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(x)).numpy())

    return run


def load_run(options: Mapping[str, Any], num_features: int, num_outputs: int, weights: Mapping[str, np.ndarray]) -> Run:
    network = build(options, num_features, num_outputs)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return network_run(network.double().eval())
