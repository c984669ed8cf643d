"""what a recipe may choose of each new network, and what `auto` means for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from modelcommons.workbench.engine.training import Defaults

STRICT = ConfigDict(frozen=True, extra="forbid")
Width = Annotated[int, Field(ge=1, le=2048)]


class CnnOptions(BaseModel):
    """A small convolutional network, strong on small pictures."""

    model_config = STRICT

    widths: Annotated[tuple[Width, ...], Field(min_length=2, max_length=6)] = Field(
        (32, 64, 128), description="Channels of each stage."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of the last features dropped while training.")


class ResNetOptions(BaseModel):
    """ResNet-18 with the stem for small pictures."""

    model_config = STRICT

    width: Annotated[int, Field(ge=1, le=512)] = Field(64, description="Channels of the first stage.")
    blocks: int = Field(2, ge=1, le=8, description="Residual blocks in each of the four stages.")


class AirbenchOptions(BaseModel):
    """A convolutional network made for few passes; its first layer is computed from the training pictures."""

    model_config = STRICT

    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=6)] = Field(
        (64, 256, 256), description="Channels of each stage."
    )
    depth: int = Field(2, ge=1, le=8, description="Convolutions in each stage.")
    patch: int = Field(2, ge=1, le=8, description="Pixels a side of what the first layer sees at a time.")
    stride: int = Field(1, ge=1, le=8, description="Pixels from one patch to the next; 2 makes a step far cheaper.")
    residual: bool = Field(
        False,
        description="Every convolution of a stage but its first adds to what comes in: for a depth of 3 and more.",
    )
    views: Literal[1, 2, 6] = Field(
        1,
        description="Of a picture, which an answer is the mean over: itself; its mirror image too; both also shifted "
        "by a pixel, up and left, down and right. Better answers for as many times the work.",
    )


class LinearOptions(BaseModel):
    """One weight per pixel and label: nothing to choose."""

    model_config = STRICT


ARCHITECTURES: dict[str, type[BaseModel]] = {
    "cnn": CnnOptions, "resnet": ResNetOptions, "airbench": AirbenchOptions, "linear": LinearOptions
}  # fmt: skip

# chosen on validation rows of Fashion-MNIST
PEAK_RATES = {"cnn": 3e-3, "resnet": 1e-3, "airbench": 2e-2, "linear": 3e-3}
OPEN_PEAK_RATES = {"full": 5e-5, "head": 2e-3, "lora": 5e-4}  # by method
STEPS = 3_000  # that a small set is gone through at least, in at most `MOST_EPOCHS`
FEWEST_EPOCHS, MOST_EPOCHS = 8, 30


def defaults(architecture: str, num_rows: int) -> Defaults:
    """For a new network on this many training rows."""
    batch_size = max(16, min(128, num_rows // 16))
    return Defaults(
        optimizer="muon" if architecture == "airbench" else "adamw",
        epochs=max(FEWEST_EPOCHS, min(MOST_EPOCHS, STEPS * batch_size // num_rows)),
        batch_size=batch_size,
        learning_rate=PEAK_RATES[architecture],
        weight_decay=0.05,
        channels_last=architecture != "linear",
    )


def open_defaults(method: str, num_rows: int) -> Defaults:
    """For an open model."""
    batch_size = max(8, min(32, num_rows // 16))
    epochs = max(3, min(20, 500 * batch_size // num_rows))
    return Defaults(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=OPEN_PEAK_RATES[method],
        weight_decay=0.01,
        channels_last=True,
    )
