"""gates: EfficientNet weighs its channels by gates; those that are open for good are not asked, which saves their time.

The lite networks have no gates. As a model of the transformers library, which has always some, theirs multiply by one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.models.efficientnet.modeling_efficientnet import EfficientNetSqueezeExciteLayer


class OpenGate(nn.Module):
    """What is left of a gate: its weights under their names, to be saved with the others."""

    def __init__(self, gate: EfficientNetSqueezeExciteLayer) -> None:
        super().__init__()
        self.reduce, self.expand = _Kept(gate.reduce), _Kept(gate.expand)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return hidden_states


class _Kept(nn.Module):
    """Weights of a layer that none train."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        for name, weight in layer.named_parameters():
            self.register_buffer(name, weight.detach())


def skip_open_gates(network: nn.Module) -> None:
    """Answers and gradients stay to the last bit: a gate that is one for every picture has no slope either."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, EfficientNetSqueezeExciteLayer) and _is_open(layer):
            network.set_submodule(name, OpenGate(layer))


def _is_open(gate: EfficientNetSqueezeExciteLayer) -> bool:
    """Whatever comes in: its last layer weighs nothing, and the sigmoid of its bias is 1 in single precision."""
    bias = gate.expand.bias
    return bias is not None and not gate.expand.weight.any() and bool((torch.sigmoid(bias) == 1).all())
