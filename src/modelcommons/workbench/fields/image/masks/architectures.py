"""what a recipe may choose of a new segmentation network, and what `auto` means for it."""

from __future__ import annotations

from pydantic import BaseModel, Field

from modelcommons.workbench.engine.training import Defaults
from modelcommons.workbench.fields.image.architectures import STRICT


class UNetOptions(BaseModel):
    """A U-Net: down to small pictures with many channels, and up again with what was seen on the way."""

    model_config = STRICT

    width: int = Field(16, ge=1, le=256, description="Channels of the first level; each level below has twice as many.")
    depth: int = Field(4, ge=1, le=6, description="How often the picture is halved.")

    @property
    def reach(self) -> int:
        """At least as many pixels as an answer rests on around its own, a multiple of 2 ** depth."""
        # two convolutions a level: 2 * (2 ** (depth + 1) - 1) down, 2 * (2 ** depth - 1) up; pools 2 ** depth - 1
        return 8 << self.depth


ARCHITECTURES: dict[str, type[BaseModel]] = {"unet": UNetOptions}

STEPS = 2_000  # in at most `MOST_EPOCHS`
FEWEST_EPOCHS, MOST_EPOCHS = 4, 60


def defaults(num_pieces: int) -> Defaults:
    """For a new network on so many pieces of pictures."""
    batch_size = max(4, min(8, num_pieces // 8))
    epochs = max(FEWEST_EPOCHS, min(MOST_EPOCHS, STEPS * batch_size // num_pieces))
    return Defaults(epochs, batch_size, 5e-3, 0.01, channels_last=True)


def open_defaults(method: str, num_pieces: int) -> Defaults:
    """For an open model."""
    batch_size = max(2, min(8, num_pieces // 8))
    epochs = max(3, min(20, 500 * batch_size // num_pieces))
    return Defaults(epochs, batch_size, {"full": 6e-5, "head": 1e-3, "lora": 5e-4}[method], 0.01)
