"""what a recipe may choose of each new network, and what `auto` means for it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from modelcommons.workbench.engine.training import Defaults

STRICT = ConfigDict(frozen=True, extra="forbid")
Width = Annotated[int, Field(ge=1, le=2048)]


class LogMelOptions(BaseModel):
    """The picture of a sound that a network looks at."""

    model_config = STRICT

    mels: int = Field(40, ge=8, le=256, description="Bands of frequency, as wide as the ear hears them.")
    window_ms: float = Field(25.0, ge=5, le=100, description="Milliseconds under one window.")
    hop_ms: float = Field(10.0, ge=2, le=100, description="Milliseconds from one window to the next.")


class CnnOptions(LogMelOptions):
    """A small convolutional network over log-mel features."""

    widths: Annotated[tuple[Width, ...], Field(min_length=2, max_length=6)] = Field(
        (16, 32, 48), description="Channels of each stage."
    )
    dropout: float = Field(0.2, ge=0, lt=1, description="Share of the last features dropped while training.")


CLASSIFIERS: dict[str, type[CnnOptions]] = {"cnn": CnnOptions}

OPEN_PEAK_RATES = {"full": 3e-5, "head": 1e-3, "lora": 3e-4}  # by method
STEPS = 2_000  # that a small set is gone through at least, in at most `MOST_EPOCHS`
FEWEST_EPOCHS, MOST_EPOCHS = 10, 40


def defaults(num_rows: int) -> Defaults:
    """For a new classifier on this many training rows."""
    batch_size = max(16, min(64, num_rows // 16))
    epochs = max(FEWEST_EPOCHS, min(MOST_EPOCHS, STEPS * batch_size // num_rows))
    return Defaults(epochs, batch_size, learning_rate=3e-3, weight_decay=0.05, channels_last=True)


def open_defaults(method: str, num_rows: int) -> Defaults:
    """For an open classifier."""
    batch_size = max(4, min(16, num_rows // 16))
    epochs = max(3, min(20, 500 * batch_size // num_rows))
    return Defaults(epochs, batch_size, OPEN_PEAK_RATES[method], 0.01)
