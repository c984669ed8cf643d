"""what a recipe may choose of a new network that finds answers, and what `auto` means for it."""

from __future__ import annotations

from pydantic import BaseModel, Field

from modelcommons.workbench.engine.training import Defaults
from modelcommons.workbench.fields.text.architectures import RnnOptions, Share, TransformerOptions

LENGTH = 512  # tokens read at once
LONGEST_ANSWER = 100  # tokens
COVERED = 99.0  # percent of the training answers that `max_answer: auto` reaches


class SpanRnnOptions(RnnOptions):
    """Gated recurrent units that read question and context forwards and backwards, beside the words they share."""

    dropout: Share = Field(0.3, description="Share of vectors dropped while training.")


class SpanTransformerOptions(TransformerOptions):
    """A small encoder with attention over question and context, beside the words they share."""


ARCHITECTURES: dict[str, type[BaseModel]] = {"rnn": SpanRnnOptions, "transformer": SpanTransformerOptions}

PEAK_RATES = {"rnn": 2e-3, "transformer": 1e-3}
OPEN_PEAK_RATES = {"full": 1e-4, "head": 2e-3, "lora": 5e-4}  # by method


def defaults(architecture: str, num_windows: int) -> Defaults:
    """For a new network on so many training windows."""
    batch_size = max(8, min(32, num_windows // 32))
    epochs = max(3, min(20, 20_000 // max(1, num_windows)))
    return Defaults(epochs, batch_size, PEAK_RATES[architecture], 0.05)


def open_defaults(method: str, num_windows: int) -> Defaults:
    """For an open model."""
    epochs = max(2, min(8, 20_000 // max(1, num_windows)))
    return Defaults(epochs, max(8, min(32, num_windows // 64)), OPEN_PEAK_RATES[method], 0.01)
