"""what a recipe may choose of a new network, and what `auto` means for it and for an open model."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from modelcommons.workbench.engine.training import Defaults

STRICT = ConfigDict(frozen=True, extra="forbid")
Width = Annotated[int, Field(ge=1, le=2048)]


class TwoTowerOptions(BaseModel):
    """A small convolutional net for pictures and a bag of word pieces for texts, trained against each other."""

    model_config = STRICT

    widths: Annotated[tuple[Width, ...], Field(min_length=2, max_length=6)] = Field(
        (16, 32, 64, 128), description="Channels of each stage of the picture's tower."
    )
    width: Width = Field(128, description="Size of the vectors in which pictures and texts are compared.")
    vocabulary: int = Field(2000, ge=32, le=65_536, description="How many pieces of words are learned from train.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of the picture's last features dropped in training.")
    word_dropout: float = Field(0.2, ge=0, lt=1, description="Share of a text's pieces left out in training.")


ARCHITECTURES: dict[str, type[BaseModel]] = {"two-tower": TwoTowerOptions}

STEPS = 500  # that a small set is gone through at least, in at most `MOST_EPOCHS`
FEWEST_EPOCHS, MOST_EPOCHS = 10, 60
HIGHEST = math.log(100.0)  # of the logit scale: the temperature does not fall below 0.01
HEADS = ("visual_projection", "text_projection", "text_model.head", "vision_model.head")  # of CLIP, of SigLIP


def defaults(num_rows: int) -> Defaults:
    """For a new network on so many training rows: large batches, since the others of a batch are the wrong answers."""
    batch_size = max(16, min(64, num_rows // 4))
    epochs = max(FEWEST_EPOCHS, min(MOST_EPOCHS, STEPS * batch_size // num_rows))
    return Defaults(epochs, batch_size, 0.01, 0.1, "muon", channels_last=True)


def open_defaults(method: str, num_rows: int) -> Defaults:
    """For an open model."""
    batch_size = max(8, min(32, num_rows // 4))
    epochs = max(3, min(20, 500 * batch_size // num_rows))
    return Defaults(epochs, batch_size, {"full": 1e-5, "head": 1e-3}[method], 0.1)
