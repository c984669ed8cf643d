"""what a recipe may choose of a new network that finds answers, and what `auto` means for it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from modelcommons.workbench.engine.training import Defaults
from modelcommons.workbench.fields.text.architectures import STRICT, Share, TransformerOptions, Width

LENGTH = 512  # tokens read at once
LONGEST_ANSWER = 100  # tokens
COVERED = 99.0  # percent of the training answers that `max_answer: auto` reaches


class ConvolutionOptions(BaseModel):
    """Gated convolutions over question and context, beside the words they share."""

    model_config = STRICT

    width: Width = Field(64, description="Size of a token's vector.")
    layers: int = Field(3, ge=1, le=8, description="Convolutions of five tokens, each twice as far apart.")
    vocabulary: Annotated[int, Field(ge=64, le=65_536)] = Field(
        4096, description="Pieces of words, learned from train."
    )
    dropout: Share = Field(0.4, description="Share of tokens and of vectors dropped while training.")


class SpanTransformerOptions(TransformerOptions):
    """A small encoder with attention over question and context, beside the words they share."""

    dropout: Share = Field(0.2, description="Share of tokens and of vectors dropped while training.")


ARCHITECTURES: dict[str, type[BaseModel]] = {"convolution": ConvolutionOptions, "transformer": SpanTransformerOptions}

PEAK_RATES = {"convolution": 5e-3, "transformer": 1e-3}
OPEN_PEAK_RATES = {"full": 1e-4, "head": 2e-3, "lora": 5e-4}  # by method


def defaults(architecture: str, num_windows: int) -> Defaults:
    """For a new network on so many training windows."""
    epochs = max(3, min(8, 20_000 // max(1, num_windows)))
    return Defaults(epochs, 16, PEAK_RATES[architecture], 0.05)


def open_defaults(method: str, num_windows: int) -> Defaults:
    """For an open model."""
    epochs = max(2, min(6, 20_000 // max(1, num_windows)))
    return Defaults(epochs, 16, OPEN_PEAK_RATES[method], 0.01)
