"""what a recipe may choose of a new language model, and what `auto` means for it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from modelcommons.workbench.engine.training import Defaults
from modelcommons.workbench.fields.text.architectures import STRICT, Share, Width

CONTEXT = 256  # tokens
ENOUGH = 8_000_000  # tokens read in training, over all epochs
MOST_EPOCHS = 12


class GptOptions(BaseModel):
    """A small decoder-only Transformer."""

    model_config = STRICT

    tokens: Literal["characters", "bytes", "pieces"] = Field(
        "characters", description="What is foretold: characters, bytes, or pieces of words learned from train (BPE)."
    )
    vocabulary: int = Field(1024, ge=320, le=65_536, description="How many pieces are learned, where tokens are those.")
    width: Width = Field(128, description="Size of a token's vector; a multiple of twice `heads`.")
    layers: int = Field(4, ge=1, le=24, description="Blocks of attention and feed-forward.")
    heads: int = Field(4, ge=1, le=32, description="Attention heads.")
    ngrams: int = Field(
        4, ge=1, le=8, description="A token is read with the n-grams before it up to so long; 1: alone."
    )
    buckets: int = Field(8192, ge=64, le=2**20, description="N-grams of one length share so many vectors.")
    dropout: Share = Field(0.1, description="Share of vectors dropped while training.")


ARCHITECTURES: dict[str, type[BaseModel]] = {"gpt": GptOptions}


def defaults(num_tokens: int) -> Defaults:
    """For a new network on a training text of so many tokens; rows are windows of a context."""
    epochs = max(1.0, min(MOST_EPOCHS, ENOUGH / max(1, num_tokens)))
    return Defaults(epochs, 8, 2e-3, 0.01, "muon")


def open_defaults(method: str) -> Defaults:
    """For an open model."""
    return Defaults(3, 8, {"full": 5e-5, "head": 1e-3, "lora": 3e-4}[method], 0.01)
