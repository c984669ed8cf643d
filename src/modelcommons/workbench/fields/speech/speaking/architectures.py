"""what a recipe may choose of a new voice, and what `auto` means for it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from modelcommons.workbench.engine.training import Defaults
from modelcommons.workbench.fields.speech.architectures import LogMelOptions

Width = Annotated[int, Field(ge=8, le=1024)]


class AcousticOptions(LogMelOptions):
    """Characters to log-mel frames, all at once; the wave by Griffin-Lim."""

    mels: int = Field(80, ge=8, le=256, description="Bands of frequency, as wide as the ear hears them.")
    window_ms: float = Field(50.0, ge=5, le=100, description="Milliseconds under one window.")
    hop_ms: float = Field(12.5, ge=2, le=50, description="Milliseconds from one window to the next.")
    width: Width = Field(160, description="Channels of the convolutions.")
    encoder: int = Field(3, ge=1, le=16, description="Convolutions over the characters.")
    decoder: int = Field(5, ge=1, le=16, description="Convolutions over the frames.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of values dropped while training.")
    speakers: bool = Field(True, description="Learns each speaker's voice, where the data names speakers.")
    phonetic: bool = Field(
        False,
        description="Each character sounds alike wherever it stands (phonemes, notes), so that it is looked for by "
        "itself; else beside its neighbours, as spelling asks for.",
    )
    iterations: int = Field(60, ge=1, le=1000, description="Rounds of Griffin-Lim.")


VOICES: dict[str, type[AcousticOptions]] = {"acoustic": AcousticOptions}

STEPS = 2_000  # that a small set is gone through at least, in at most `MOST_EPOCHS`
FEWEST_EPOCHS, MOST_EPOCHS = 20, 200


def defaults(num_rows: int) -> Defaults:
    """For a new voice on this many training rows."""
    batch_size = max(4, min(8, num_rows // 16))
    epochs = max(FEWEST_EPOCHS, min(MOST_EPOCHS, STEPS * batch_size // num_rows))
    return Defaults(epochs, batch_size, learning_rate=3e-3, weight_decay=0.01)
