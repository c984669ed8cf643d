"""what a recipe may choose of a new BERT, and what `auto` means for it."""

from __future__ import annotations

from pydantic import BaseModel, Field

from modelcommons.workbench.engine.training import Defaults
from modelcommons.workbench.fields.text.architectures import STRICT, Share, Width

ENOUGH = 200_000  # pairs read in training, over all epochs
MOST_EPOCHS = 20


class BertOptions(BaseModel):
    """An encoder with attention to both sides, as the transformers library has it.

    Source: Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding (2019).
    """

    model_config = STRICT

    layers: int = Field(4, ge=1, le=24, description="Blocks of attention and feed-forward.")
    width: Width = Field(256, description="Size of a token's vector; a multiple of `heads`.")
    heads: int = Field(4, ge=1, le=32, description="Attention heads.")
    vocabulary: int = Field(8192, ge=64, le=65_536, description="Pieces of words, learned from train (WordPiece).")
    length: int = Field(192, ge=8, le=2048, description="Tokens of a pair that are read.")
    dropout: Share = Field(0.1, description="Share of vectors dropped while training.")


ARCHITECTURES: dict[str, type[BaseModel]] = {"bert": BertOptions}


def defaults(num_rows: int) -> Defaults:
    """For a new network on so many training rows."""
    return Defaults(max(1.0, min(MOST_EPOCHS, ENOUGH / max(1, num_rows))), 32, 1e-3, 0.01, "muon")


def open_defaults(method: str) -> Defaults:
    """For an open model."""
    return Defaults(3, 32, {"full": 1e-4, "head": 1e-3, "lora": 5e-4}[method], 0.01)
