"""what a recipe may choose of recordings in noise: which noises, how loud, and how much is trained on at once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from modelcommons.workbench.fields.speech.denoising.noise import KINDS, Kind
from modelcommons.workbench.fields.speech.options import Rate
from modelcommons.workbench.fields.speech.rows import HIGHEST

Ratio = Annotated[int, Field(ge=-20, le=40)]


class EnhancementOptions(BaseModel):
    """`data.options` of speech-enhancement."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: Rate = Field("auto", description=f"Samples a second; `auto`: as most recordings have, at most {HIGHEST:,}.")
    noises: Annotated[tuple[Kind, ...], Field(min_length=1)] = Field(
        KINDS,
        description="What clean recordings are put into: `white`, `pink` (as much power in each octave), `babble` "
        "(other recordings of the same part, together), `hum` (mains and its harmonics). Held-out recordings are heard "
        "in each.",
    )
    snrs_db: Annotated[tuple[Ratio, ...], Field(min_length=1)] = Field(
        (-5, 0, 5, 10),
        description="Decibels by which the voice is louder than the noise: one of these for each held-out recording "
        "and noise, by its id; in training anything between the least and the most.",
    )
    seconds: Annotated[float, Field(gt=0, le=20)] | Literal["auto"] = Field(
        "auto", description="Length of the pieces trained on; `auto`: as 9 of 10 training recordings, at most 4."
    )
