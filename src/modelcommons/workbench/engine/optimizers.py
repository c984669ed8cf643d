"""optimizers: AdamW, SGD and Muon, with decay on matrices only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from modelcommons.workbench.engine.device import fast_bf16
from modelcommons.workbench.engine.shards import laid_out, whole

LARGE = 128  # rows and columns


class Muon(Optimizer):
    """Momentum whose step is made orthogonal: every direction of a weight matrix learns at the same pace.

    Source: Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024), with the quintic
    Newton-Schulz iteration given there. For weights of two or more dimensions; a convolution's are (out, rest).
    """

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float = 0.0, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight)
                average = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                step = weight.grad.lerp(average, group["momentum"])  # Nesterov
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                matrix = whole(step).reshape(len(step), -1)  # gathered where it lies in pieces: all reckon all of it
                rows, columns = matrix.shape
                direction = laid_out(weight, orthogonal(matrix).reshape(weight.shape))
                weight.add_(direction, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrix with all singular values about 1, by Newton-Schulz iteration. `matrix`: (rows, columns).

    Each step multiplies from the left by a polynomial of the matrix times its transpose. Where there are many more
    columns than rows, those small squares are iterated alone and applied once: a third of the work. Products of
    other large ones are made in bf16 where that is fast, as the method's authors make them.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (matrix.norm() + 1e-7)
    x = x.T if (tall := len(x) > x.shape[1]) else x
    if x.shape[1] >= 2 * len(x):
        gram, turned = x @ x.T, None
        for left in reversed(range(steps)):
            turn = torch.addmm(gram, gram, gram, beta=b, alpha=c)
            turn.diagonal().add_(a)
            turned = turn if turned is None else turn @ turned
            gram = turn @ gram @ turn if left else gram
        x = x if turned is None else turned @ x
    else:
        x = x.to(torch.bfloat16 if len(x) >= LARGE and fast_bf16() else x.dtype)
        for _ in range(steps):
            gram = x @ x.T
            x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    made: Tensor = x.T if tall else x
    return made.to(matrix.dtype)


class Optimizers:
    """The optimizers of one network as one: same step, same learning-rate factor, one flat state for checkpoints."""

    def __init__(
        self,
        network: nn.Module,
        name: Literal["adamw", "sgd", "muon"],
        learning_rate: float,
        weight_decay: float,
        scales: dict[str, float],
        momentum: float | None = None,
    ) -> None:
        self.names = {id(weight): name for name, weight in network.named_parameters()}
        hidden: list[dict[str, Any]] = []
        others: list[dict[str, Any]] = []
        for is_hidden, group in _groups(network, weight_decay, scales, learning_rate):
            (hidden if is_hidden and name == "muon" else others).append(group)
        self.parts: list[Optimizer] = []
        if hidden:  # Muon's steps have unit size: its rate is about 0.02 where AdamW's is about 0.002
            larger = [group | {"lr": group["lr"] * 10} for group in hidden]
            self.parts.append(Muon(larger, learning_rate * 10, momentum=0.95 if momentum is None else momentum))
        if others and name == "sgd":
            of_sgd = 0.9 if momentum is None else momentum
            self.parts.append(SGD(others, learning_rate, momentum=of_sgd, nesterov=of_sgd > 0))
        elif others:
            self.parts.append(AdamW(others, learning_rate, betas=(0.9, 0.99), fused=True))
        self.rates = [[group["lr"] for group in part.param_groups] for part in self.parts]

    def step(self, factor: float) -> None:
        """One step at `factor` times every group's peak learning rate."""
        for part, rates in zip(self.parts, self.rates, strict=True):
            for group, rate in zip(part.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            part.step()

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the state as `parameter name/state name`; plain numbers become tensors."""
        return {
            f"{self.names[id(weight)]}/{key}": torch.as_tensor(value)
            for part in self.parts
            for weight, state in part.state.items()
            for key, value in state.items()
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Takes back what `state` gave; a network's parameters have the same names."""
        for part in self.parts:
            for group in part.param_groups:
                for weight in group["params"]:
                    prefix = f"{self.names[id(weight)]}/"
                    mine = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
                    if mine:
                        part.state[weight] = {
                            # fused AdamW walks all tensors in the order of memory: they must lie as the weight lies
                            key: value.clone() if key == "step" else laid_out(weight, value)
                            for key, value in mine.items()
                        }


def _groups(
    network: nn.Module, weight_decay: float, scales: dict[str, float], learning_rate: float
) -> Iterable[tuple[bool, dict[str, Any]]]:
    """(is hidden, parameter group) pairs: decay on matrices only; `scales` (prefix -> factor) sets learning rates."""
    found: dict[tuple[bool, bool, float], list[Tensor]] = {}
    named = [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]
    last = named[-1][0].rsplit(".", 1)[0] if named else ""
    for name, weight in named:
        scale = next((factor for prefix, factor in scales.items() if name.startswith(prefix)), 1.0)
        matrix = weight.ndim >= 2
        embedding = "embed" in name or name.rsplit(".", 1)[0] == last  # first and last layers are AdamW's
        found.setdefault((matrix, matrix and not embedding, scale), []).append(weight)
    for (matrix, hidden, scale), weights in found.items():
        decay = weight_decay if matrix else 0.0
        yield hidden, {"params": weights, "lr": learning_rate * scale, "weight_decay": decay}
