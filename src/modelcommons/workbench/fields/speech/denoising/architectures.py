"""what a recipe may choose of a new enhancer, and what `auto` means for it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from modelcommons.workbench.engine.training import Defaults

Width = Annotated[int, Field(ge=4, le=1024)]

SIZE = 3  # frames under a convolution, as many apart as its dilation
DILATIONS = 6  # 1, 2, 4, ... 32 frames, then from the beginning again


class TcnOptions(BaseModel):
    """A temporal convolutional network that gives each band of each frame its share of the sound."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_ms: float = Field(32.0, ge=8, le=128, description="Milliseconds under one window.")
    hop_ms: float = Field(
        8.0, ge=2, le=64, description="Milliseconds from one window to the next; at most half a window is taken."
    )
    width: Width = Field(96, description="Channels of every layer.")
    blocks: int = Field(
        6, ge=1, le=24, description="Layers that each look 3 frames far, 1, 2, 4, ... 32 frames apart, and again."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of values dropped in each layer while training.")
    streaming: bool = Field(
        False, description="Hears only what came before, so that it can answer one window behind; else both ways."
    )

    @property
    def dilations(self) -> list[int]:
        """Frames between the frames that each layer looks at."""
        return [2 ** (at % DILATIONS) for at in range(self.blocks)]

    @property
    def reach(self) -> int:
        """Frames before one, and after it, that its mask rests on at most."""
        return sum(self.dilations) * (SIZE - 1 if self.streaming else SIZE // 2)


ENHANCERS: dict[str, type[BaseModel]] = {"tcn": TcnOptions}

STEPS = 4_000  # that a small set is gone through at least, in at most `MOST_EPOCHS`
FEWEST_EPOCHS, MOST_EPOCHS = 10, 60


def defaults(num_rows: int) -> Defaults:
    """For a new enhancer on this many training rows."""
    batch_size = max(8, min(32, num_rows // 16))
    epochs = max(FEWEST_EPOCHS, min(MOST_EPOCHS, STEPS * batch_size // num_rows))
    return Defaults(epochs, batch_size, learning_rate=3e-3, weight_decay=0.01)
