"""how to train: the values of a recipe's `tune` section that reach the training loop. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Auto = Literal["auto"]
Positive = Annotated[float, Field(gt=0)]


class Budget(BaseModel):
    """A contract: training stops at the best checkpoint when it is spent, and says what more would buy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minutes: Positive | None = Field(None, description="Wall-clock minutes for tuning, all seeds together.")


class Training(BaseModel):
    """The `tune` section of a recipe. `auto` means: the task knows a good value for this model and machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["full", "head", "lora"] = Field(
        "full",
        description="What is trained of an open model: all weights, the new head only, or low-rank adapters (peft).",
    )
    epochs: Positive | Auto = Field("auto", description="Passes over the training rows; a fraction is allowed.")
    batch_size: Annotated[int, Field(ge=1)] | Auto = Field("auto", description="Rows per step; `auto` from memory.")
    learning_rate: Positive | Auto = Field("auto", description="Peak learning rate.")
    optimizer: Literal["auto", "adamw", "sgd", "muon"] = Field("auto", description="`auto`: the task's choice.")
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Of `sgd` (0.9 where nothing is said) and `muon` (0.95); less suits few steps."
    )
    weight_decay: Annotated[float, Field(ge=0)] | Auto = Field("auto", description="Decoupled weight decay.")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="Share of the steps that warm up.")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="Decay after the warm-up.")
    clip: Annotated[float, Field(ge=0)] = Field(1.0, description="Gradient norm is clipped to this; 0 turns it off.")
    accumulate: Annotated[int, Field(ge=1)] = Field(1, description="Batches added up for one step.")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="For classification losses.")
    skip_easy: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="Share of the rows with less loss than the mean that a pass leaves out, while the others count for "
        "them (InfoBatch): more passes in the same steps, of which `epochs` counts as many as whole passes have. For "
        "networks that classify, and for regression on tables.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="`auto`: bf16 autocast where this processor is fast at it, else fp32."
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        0, description="Stop when this many scorings in a row bring nothing better; 0 never stops early."
    )
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (0,), min_length=1, description="One training per seed; the best on validation is shipped, all are reported."
    )
    together: bool = Field(
        False,
        description="With several seeds: all their models are shipped as one, which answers by the mean of their "
        "probabilities, for as many times the work (a deep ensemble). For image-classification.",
    )
    parallel: Annotated[int, Field(ge=1)] = Field(
        1, description="Seeds, and candidates of `model.auto`, trained at a time, each in a process of its own."
    )
    shard: bool = Field(
        False,
        description="In several processes (torchrun): divide weights, gradients and the optimizer's state among them, "
        "for a model that one device cannot train.",
    )
    checkpoint_seconds: Annotated[float, Field(ge=0)] = Field(
        60.0, description="At most this much work is lost by a kill; 0 writes a checkpoint after every step."
    )
    budget: Budget = Field(Budget(), description="Ends tuning at the best checkpoint so far when spent.")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What `auto` means for one architecture on one kind of data: the task's knowledge, tuned on validation rows."""

    epochs: float
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.01
    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    channels_last: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """One scoring during training: for the learning curve and for choosing the best checkpoint."""

    step: int
    epoch: float
    seconds: float  # training time so far, over all resumptions
    train_loss: float
    metric: float  # the task's main metric on validation rows


@dataclass(frozen=True, slots=True)
class Fit:
    """What training came to. Closed-form models fill it in too: one point, zero steps."""

    metric: str  # name of the validation metric
    value: float  # of the checkpoint that was kept
    curve: tuple[Point, ...]
    steps: int
    epochs: float
    seconds: float
    rows_per_second: float
    parameters: int
    trained_parameters: int
    stopped: Literal["done", "budget", "patience"] = "done"
    more: str = ""  # what more training would likely buy, in words, from the learning curve
    settings: Mapping[str, Any] = field(default_factory=dict)  # every `auto` that was resolved, for the card
