"""what a recipe may choose of each new network, and what `auto` means for it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from modelcommons.workbench.engine.training import Defaults

STRICT = ConfigDict(frozen=True, extra="forbid")
Width = Annotated[int, Field(ge=4, le=2048)]
Share = Annotated[float, Field(ge=0, lt=1)]


class BagOptions(BaseModel):
    """Hashed n-grams of words and characters, weighted by rarity, through one hidden layer; strong and quick."""

    model_config = STRICT

    width: Width = Field(64, description="Size of an n-gram's vector.")
    buckets: Annotated[int, Field(ge=256, le=2**22)] = Field(2**16, description="N-grams share so many vectors.")
    words: Annotated[int, Field(ge=0, le=4)] = Field(2, description="Word n-grams up to this length; 0: none.")
    characters: Annotated[int, Field(ge=0, le=6)] = Field(4, description="Character n-grams up to this length.")
    shapes: Annotated[int, Field(ge=0, le=12)] = Field(
        0, description="N-grams of the layout up to this length: every letter an x, every digit a 9; 0: none."
    )
    dropout: Share = Field(0.3, description="Share of the text's vector dropped while training.")


class RnnOptions(BaseModel):
    """A gated recurrent network that reads forwards and backwards."""

    model_config = STRICT

    width: Width = Field(128, description="Size of a token's vector and of each direction's state.")
    layers: int = Field(1, ge=1, le=4, description="Recurrent layers.")
    vocabulary: Annotated[int, Field(ge=64, le=65_536)] = Field(
        8192, description="Pieces of words, learned from train."
    )
    dropout: Share = Field(0.3, description="Share of vectors dropped while training.")


class TransformerOptions(BaseModel):
    """A small encoder with attention."""

    model_config = STRICT

    width: Width = Field(128, description="Size of a token's vector; a multiple of `heads`.")
    layers: int = Field(2, ge=1, le=12, description="Blocks of attention and feed-forward.")
    heads: int = Field(4, ge=1, le=16, description="Attention heads.")
    vocabulary: Annotated[int, Field(ge=64, le=65_536)] = Field(
        8192, description="Pieces of words, learned from train."
    )
    dropout: Share = Field(0.2, description="Share of vectors dropped while training.")


ARCHITECTURES: dict[str, type[BaseModel]] = {
    "bag": BagOptions,
    "rnn": RnnOptions,
    "transformer": TransformerOptions,
}

PEAK_RATES = {"bag": 5e-3, "rnn": 2e-3, "transformer": 1e-3}
OPEN_PEAK_RATES = {"full": 1e-4, "head": 2e-3, "lora": 5e-4}  # by method
OPEN_EPOCHS = {"full": 6, "head": 20, "lora": 8}


def defaults(architecture: str, num_rows: int) -> Defaults:
    """For a new network on this many training rows."""
    batch_size = max(8, min(64, num_rows // 32))
    epochs = max(4, min(20, 3000 * batch_size // num_rows))
    decay = 0.0 if architecture == "bag" else 0.05
    return Defaults(epochs, batch_size, PEAK_RATES[architecture], decay)


def open_defaults(method: str, num_rows: int) -> Defaults:
    """For an open model."""
    return Defaults(OPEN_EPOCHS[method], max(8, min(32, num_rows // 32)), OPEN_PEAK_RATES[method], 0.01)
