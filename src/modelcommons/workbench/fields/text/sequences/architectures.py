"""what a recipe may choose of a new encoder-decoder, and what `auto` means for it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from modelcommons.workbench.engine.training import Defaults
from modelcommons.workbench.fields.text.architectures import STRICT, Share, Width


class TransformerOptions(BaseModel):
    """A small encoder-decoder with attention."""

    model_config = STRICT

    width: Width = Field(128, description="Size of a token's vector; a multiple of `heads`, even.")
    encoder_layers: int = Field(2, ge=1, le=24, description="Blocks that read the source.")
    decoder_layers: int = Field(2, ge=1, le=24, description="Blocks that write the target.")
    heads: int = Field(4, ge=1, le=32, description="Attention heads.")
    ngrams: int = Field(
        3, ge=1, le=8, description="A source token is read with the n-grams before it up to so long; 1: alone."
    )
    buckets: int = Field(8192, ge=64, le=2**20, description="N-grams of one length share so many vectors.")
    vocabulary: Annotated[int, Field(ge=320, le=65_536)] = Field(
        4096, description="Pieces of words, learned from the sources and targets of train together (BPE)."
    )
    dropout: Share = Field(0.2, description="Share of vectors dropped while training.")


ARCHITECTURES: dict[str, type[BaseModel]] = {"transformer": TransformerOptions}

STEPS = 3_000  # that a small set is gone through at least, in at most `MOST_EPOCHS`
FEWEST_EPOCHS, MOST_EPOCHS = 10, 60
OPEN_PEAK_RATES = {"full": 1e-4, "head": 1e-3, "lora": 3e-4}  # by method


def defaults(num_pairs: int) -> Defaults:
    """For a new network on this many training pairs."""
    batch_size = max(8, min(64, num_pairs // 32))
    epochs = max(FEWEST_EPOCHS, min(MOST_EPOCHS, STEPS * batch_size // num_pairs))
    return Defaults(epochs, batch_size, 4e-3, 0.01, "muon")


def open_defaults(method: str, num_pairs: int) -> Defaults:
    """For an open model."""
    return Defaults(3, max(4, min(16, num_pairs // 32)), OPEN_PEAK_RATES[method], 0.01)
