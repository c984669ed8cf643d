"""what a recipe may choose of a new detector, and what `auto` means for it."""

from __future__ import annotations

from pydantic import BaseModel, Field

from modelcommons.workbench.engine.training import Defaults
from modelcommons.workbench.fields.image.architectures import STRICT


class YoloOptions(BaseModel):
    """A single-stage detector without anchors: each place of three feature maps says what is there."""

    model_config = STRICT

    width: int = Field(16, ge=4, le=128, description="Channels of the first layer; each stage has twice as many.")
    depth: int = Field(1, ge=0, le=8, description="Residual blocks in each stage.")
    overlap: float = Field(
        0.6, gt=0, lt=1, description="IoU above which the weaker of two boxes of a class is left out."
    )


class FasterRcnnOptions(BaseModel):
    """A two-stage detector: regions are proposed, and each is looked at again."""

    model_config = STRICT

    width: int = Field(16, ge=4, le=128, description="Channels of the first layer; each stage has twice as many.")
    depth: int = Field(1, ge=0, le=8, description="Residual blocks in each stage.")
    hidden: int = Field(128, ge=8, le=2048, description="Features of a region that class and box are told from.")
    overlap: float = Field(
        0.5, gt=0, lt=1, description="IoU above which the weaker of two boxes of a class is left out."
    )


ARCHITECTURES: dict[str, type[BaseModel]] = {"yolo": YoloOptions, "faster-rcnn": FasterRcnnOptions}

STEPS = 2_000  # in at most `MOST_PASSES` over the pictures
FEWEST_PASSES, MOST_PASSES = 4, 120
SEEN = 500  # pictures of an epoch at least: a small set is gone through several times between two scorings


def repeats(num_rows: int) -> int:
    """How often an epoch goes through the training pictures."""
    return max(1, round(SEEN / num_rows))


def defaults(num_rows: int) -> Defaults:
    """For a new network on so many training pictures."""
    batch_size = max(4, min(8, num_rows // 8))
    passes = max(FEWEST_PASSES, min(MOST_PASSES, STEPS * batch_size // num_rows))
    return Defaults(passes / repeats(num_rows), batch_size, 5e-3, 0.05, channels_last=True)


def open_defaults(method: str, num_rows: int) -> Defaults:
    """For an open model."""
    batch_size = max(1, min(4, num_rows // 8))
    passes = max(3, min(40, 1_000 * batch_size // num_rows))
    rates = {"full": 5e-5, "head": 1e-3, "lora": 5e-4}
    return Defaults(passes / repeats(num_rows), batch_size, rates[method], 1e-4)
