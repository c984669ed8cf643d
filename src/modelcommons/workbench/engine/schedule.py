"""schedule: every `auto` of how to train as a number, and the learning rate at every step."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from modelcommons.workbench.engine import checkpoint, ranks
from modelcommons.workbench.engine.device import free_memory, precision, to_device
from modelcommons.workbench.engine.training import Defaults, Training

if TYPE_CHECKING:
    from modelcommons.workbench.engine.train import Loss, MakeBatch

PROBE = 8  # rows of the batch that memory per row is measured on


@dataclass(frozen=True, slots=True)
class Plan:
    """Every `auto` resolved; a checkpoint of another plan is not continued."""

    batch_size: int
    accumulate: int
    epochs: float
    steps_per_epoch: int
    total: int  # steps of the whole schedule
    optimizer: Literal["adamw", "sgd", "muon"]
    learning_rate: float
    weight_decay: float
    warmup: float
    schedule: Literal["cosine", "linear", "constant"]
    clip: float
    precision: Literal["fp32", "bf16"]
    patience: int
    seed: int
    momentum: float | None = None
    skip_easy: float | None = None

    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def factor(step: float, plan: Plan) -> float:
    """Learning rate at `step` as a share of the peak: linear warm-up, then the schedule's decay to 0."""
    warm = round(plan.warmup * plan.total)
    if step < warm:
        return (step + 1) / (warm + 1)
    rest = (step - warm) / max(1, plan.total - warm)
    match plan.schedule:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * rest))
        case "linear":
            return 1 - rest
        case "constant":
            return 1.0


def planned(
    network: nn.Module,
    num_rows: int,
    batch: MakeBatch,
    loss: Loss,
    training: Training,
    defaults: Defaults,
    seed: int,
    layout: torch.memory_format,
    found: checkpoint.Checkpoint | None,
) -> Plan:
    """Every `auto` of the recipe as a number; the batch size, which depends on free memory, as it was when begun."""

    def pick(wish: Any, default: Any) -> Any:
        return default if wish == "auto" else wish

    asked = training.batch_size
    if asked != "auto":
        most = asked
    elif found is not None:
        most = int(found.state["batch_size"])
    else:
        most = defaults.batch_size
        if not (training.shard and ranks.count() > 1):  # no device holds such a network to measure it
            most = min(most, _fits(network, num_rows, batch, loss, layout))
    size = min(most, num_rows)
    epochs = pick(training.epochs, defaults.epochs)
    per_epoch = math.ceil(math.ceil(num_rows / size) / training.accumulate)
    return Plan(
        batch_size=size,
        accumulate=training.accumulate,
        epochs=float(epochs),
        steps_per_epoch=per_epoch,
        total=max(1, math.ceil(epochs * per_epoch)),
        optimizer=pick(training.optimizer, defaults.optimizer),
        learning_rate=float(pick(training.learning_rate, defaults.learning_rate)),
        weight_decay=float(pick(training.weight_decay, defaults.weight_decay)),
        warmup=training.warmup,
        schedule=training.schedule,
        clip=training.clip,
        precision=precision(training.precision),
        patience=training.patience,
        seed=seed,
        momentum=training.momentum,
        skip_easy=training.skip_easy,
    )


def _fits(network: nn.Module, num_rows: int, batch: MakeBatch, loss: Loss, layout: torch.memory_format) -> int:
    """How many rows' activations fit into half of the free memory, as a power of two; measured on a few rows."""
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        seen[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    weights = {weight.data_ptr() for weight in network.parameters()}
    rows = np.arange(min(PROBE, num_rows))
    before = {name: tensor.clone() for name, tensor in network.named_buffers()}  # batch norm counts what it sees
    with torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss(network, to_device(batch(rows, np.random.default_rng(0)), layout))
    for name, tensor in network.named_buffers():
        tensor.data.copy_(before[name])
    per_row = sum(size for pointer, size in seen.items() if pointer not in weights) / len(rows)
    return int(2 ** max(0, math.floor(math.log2(max(1.0, free_memory() / 2 / max(per_row, 1.0))))))
