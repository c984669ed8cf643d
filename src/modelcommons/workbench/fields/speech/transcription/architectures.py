"""what a recipe may choose of a new recogniser, and what `auto` means for it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from modelcommons.workbench.engine.training import Defaults
from modelcommons.workbench.fields.speech.architectures import LogMelOptions

JOINED = 3  # frames of the features that a network reads as one (Sak et al., 2015)

Width = Annotated[int, Field(ge=8, le=2048)]


class CtcOptions(LogMelOptions):
    """Convolutions over time on log-mel features, trained by CTC."""

    width: Width = Field(96, description="Channels of a convolution.")
    layers: int = Field(6, ge=1, le=32, description="Convolutions over time, each added to what it reads.")
    dropout: float = Field(0.2, ge=0, lt=1, description="Share of values dropped between layers while training.")
    streaming: bool = Field(
        False, description="Hears only what came before, so that it can write while it listens; else what follows too."
    )
    beam: int = Field(
        8, ge=1, le=256, description="Beginnings of the text kept while it is searched for; 1: the best of every frame."
    )


RECOGNISERS: dict[str, type[BaseModel]] = {"ctc": CtcOptions}

STEPS = 4_000  # that a small set is gone through at least, in at most `MOST_EPOCHS`
FEWEST_EPOCHS, MOST_EPOCHS = 10, 100


def defaults(num_rows: int) -> Defaults:
    """For a new recogniser on this many training rows."""
    batch_size = max(4, min(8, num_rows // 16))
    epochs = max(FEWEST_EPOCHS, min(MOST_EPOCHS, STEPS * batch_size // num_rows))
    return Defaults(epochs, batch_size, learning_rate=3e-3, weight_decay=0.01)


OPEN_PEAK_RATES = {"full": 1e-4, "head": 1e-3, "lora": 3e-4}  # by method


def open_defaults(method: str, num_rows: int) -> Defaults:
    """For an open recogniser."""
    batch_size = max(2, min(8, num_rows // 16))
    return Defaults(max(3, min(20, 500 * batch_size // num_rows)), batch_size, OPEN_PEAK_RATES[method], 0.01)
