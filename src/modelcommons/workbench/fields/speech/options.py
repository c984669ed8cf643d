"""what a recipe may choose of its recordings: rate, the stretch that is heard, how training varies them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from modelcommons.workbench.fields.speech.augment import Change
from modelcommons.workbench.fields.speech.rows import HIGHEST

Rate = Annotated[int, Field(ge=4_000, le=48_000)] | Literal["auto"]


class ClassificationOptions(BaseModel):
    """`data.options` of audio-classification."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: Rate = Field("auto", description=f"Samples a second; `auto`: as most recordings have, at most {HIGHEST:,}.")
    seconds: Annotated[float, Field(gt=0, le=60)] | Literal["auto"] = Field(
        "auto", description="Stretch that is heard: short recordings lie amid silence, of long ones it is the middle; "
        "`auto`: as long as 99 of 100 training recordings, at most 10.",
    )  # fmt: skip
    augment: tuple[Literal["shift", "speed", "gain", "mask", "noise"], ...] | Literal["auto", "none"] = Field(
        "auto",
        description="How training recordings are varied: `shift` (earlier or later), `speed` (with it the pitch), "
        "`gain` (loudness), `mask` (stretches of time and bands of frequency left out of the log-mel features), "
        "`noise` (0 to 30 dB below every other one); `auto`: all but noise.",
    )

    @property
    def changes(self) -> tuple[Change, ...]:
        return _changes(self.augment, ("shift", "speed", "gain", "mask"))


class RecognitionOptions(BaseModel):
    """`data.options` of automatic-speech-recognition."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: Rate = Field("auto", description=f"Samples a second; `auto`: as most recordings have, at most {HIGHEST:,}.")
    plain: bool = Field(
        True, description="Texts without capitals and punctuation, for training and scoring; else as they are written."
    )
    augment: tuple[Literal["splice", "speed", "gain", "noise", "mask"], ...] | Literal["auto", "none"] = Field(
        "auto",
        description="How training recordings are varied: `splice` (words of several recordings of one voice, as far as "
        "pauses divide them), `speed` (with it the pitch), `gain` (loudness), `noise` (0 to 30 dB below every other "
        "one), `mask` (stretches of time and bands of frequency left out of the log-mel features); `auto`: all.",
    )

    @property
    def changes(self) -> tuple[Change, ...]:
        return _changes(self.augment, ("splice", "speed", "gain", "noise", "mask"))


class SynthesisOptions(BaseModel):
    """`data.options` of text-to-speech."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: Rate = Field("auto", description=f"Samples a second; `auto`: as most recordings have, at most {HIGHEST:,}.")
    capitals: bool = Field(
        False, description="Keeps capital letters apart from small ones; punctuation is always kept."
    )
    vocoder: str | None = Field(
        None, description="Folder of a SpeechT5HifiGan, which an open voice of SpeechT5 makes its waves with."
    )
    voices: str | None = Field(
        None,
        description="File of speakers' vectors for an open voice of SpeechT5: .safetensors with one under each name, "
        "or .npy with one; null: zeros, which are nobody's voice.",
    )


def _changes(chosen: tuple[Change, ...] | Literal["auto", "none"], usual: tuple[Change, ...]) -> tuple[Change, ...]:
    match chosen:
        case "auto":
            return usual
        case "none":
            return ()
        case _:
            return chosen
