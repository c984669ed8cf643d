"""a voice's folder, read without running code from it, as something that says what it is given.

config.json of our own:  {"model_type": "modelcommons", "task", "architecture", "options", "alphabet", "speakers",
                          "capitals", "preprocess"}
of transformers:         its own, and "preprocess" with the rate of the data it was scored on
"""

# N samples, T frames, M mel bands, L characters

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from pydantic import ValidationError

from modelcommons.errors import DataError, FormatError
from modelcommons.formats.model_folder import CONFIG, MODEL_TYPE, WEIGHTS, check_weights, read_config
from modelcommons.workbench.fields.speech.features import Features, read_features
from modelcommons.workbench.fields.speech.sound import FASTEST, SLOWEST, Sound, as_int16, wav
from modelcommons.workbench.fields.speech.speaking import metrics, vocoder
from modelcommons.workbench.fields.speech.speaking.architectures import VOICES
from modelcommons.workbench.fields.speech.speaking.cepstra import of_bands
from modelcommons.workbench.fields.speech.speaking.open_models import OPEN_FILES, load_open
from modelcommons.workbench.fields.speech.speaking.outline import Outline
from modelcommons.workbench.fields.speech.speaking.utterances import Utterance, is_said, number_of, spelled
from modelcommons.workbench.fields.speech.transcription.alphabet import Alphabet
from modelcommons.workbench.task import Answer, Row

SHOWN = 100  # letters in a message


class Speaks(Protocol):
    @property
    def speakers(self) -> tuple[str, ...]:
        """Whose voices it has; none where it has one voice only."""

    @property
    def letters(self) -> str:
        """Those that it can say."""

    def say(self, asked: Utterance) -> Sound: ...
    def unknown(self, text: str) -> list[str]:
        """Letters, figures and signs of a text that it would leave out."""

    def pieces(self, text: str) -> list[str]:
        """The text in pieces that can be left out; together they are what is said."""

    def outline(self, pieces: Sequence[str], speaker: str) -> Outline:
        """What these pieces come to."""


class Voice:
    """A model that is ready to speak, a text at a time, so that no text depends on another."""

    labels: Sequence[str] = ()

    def __init__(self, speaks: Speaks, rate_hz: int) -> None:
        self.speaks, self.rate_hz = speaks, rate_hz  # the rate of the data that answers are compared with

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """What is stored of each sound where there is a recording to compare it with, else the sound itself."""
        return [self._answer(row, self.speaks.say(self.asked(row))) for row in rows]

    def asked(self, row: Row) -> Utterance:
        """What is to be said. A row of the data is said as far as the voice knows its letters, that of a stranger by
        the first speaker; a person is told.

        Raises:
            DataError: a person asks for letters that the voice does not know.
        """
        asked = cast(Utterance, row.x)
        if row.y is not None:
            return asked if asked.speaker in self.speaks.speakers else Utterance(asked.text)
        if unknown := self.speaks.unknown(asked.text):
            raise DataError(
                f"Expected a text in the letters of this voice, {self.speaks.letters:.{SHOWN}}; it has also "
                f"{' '.join(unknown):.{SHOWN}}. Write it in letters that the voice knows."
            )
        return asked

    def _answer(self, row: Row, sound: Sound) -> Answer:
        if row.y is not None:
            return metrics.answer(sound, self.rate_hz)
        seconds = float(f"{sound.seconds:.6g}")
        encoded = base64.b64encode(wav(sound)).decode()
        return {"prediction": {"seconds": seconds, "rate_hz": sound.rate_hz, "wav": encoded}}


@dataclass(frozen=True)
class Own:
    """One of our own networks and Griffin-Lim."""

    network: Any
    alphabet: Alphabet
    speakers: tuple[str, ...]
    capitals: bool
    features: Features
    iterations: int

    def say(self, asked: Utterance) -> Sound:
        return self.played(self.frames(self.spelled(asked.text), asked.speaker)[0])

    @property
    def letters(self) -> str:
        return self.alphabet.characters.strip()

    def unknown(self, text: str) -> list[str]:
        return sorted({char for char in spelled(text, self.capitals) if is_said(char)} - set(self.letters))

    def spelled(self, text: str) -> str:
        """The characters that the voice knows of a text.

        Raises:
            DataError: there are none.
        """
        known = "".join(char for char in spelled(text, self.capitals) if char in self.alphabet.characters)
        if not known.strip():
            raise DataError(
                f"Expected a text in the letters of the voice, '{self.alphabet.characters}', got none of them."
            )
        return known

    def frames(self, text: str, speaker: str) -> tuple[np.ndarray, np.ndarray]:
        """Log-mel frames, float32 (T, M), and how many of them each character takes, int64 (L,).

        Raises:
            DataError: the voice has no such speaker.
        """
        import torch

        number = number_of(speaker, self.speakers)
        with torch.inference_mode():
            made, durations = self.network(torch.from_numpy(self.alphabet.encode(text))[None], torch.tensor([number]))
        return made[0].numpy() * self.features.std + self.features.mean, durations[0].numpy()

    def pieces(self, text: str) -> list[str]:
        """Characters."""
        return list(self.spelled(text))

    def outline(self, pieces: Sequence[str], speaker: str) -> Outline:
        """Of the frames, before any wave is made of them."""
        made, durations = self.frames("".join(pieces), speaker)
        logmel = self.features.logmel
        return Outline(of_bands(made), made.mean(1), durations * logmel.hop / logmel.rate_hz)

    def played(self, log_power: np.ndarray) -> Sound:
        made = vocoder.wave(self.features.logmel, log_power, self.iterations)
        return Sound(as_int16(made), self.features.logmel.rate_hz)


# --- folders --------------------------------------------------------------------------------------------------------


def load(folder: Path, variant: str = "") -> Voice:
    """A voice from its folder; it has no variants.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: a file is truncated, or not what the config says.
    """
    config = read_config(folder)
    check_weights(folder)
    if config["model_type"] == MODEL_TYPE:
        own = _own(folder, config)
        return Voice(own, own.features.logmel.rate_hz)
    opened = load_open(folder, config)
    rate_hz = (config.get("preprocess") or {}).get("rate_hz", opened.rate_hz)
    if not isinstance(rate_hz, int) or not SLOWEST <= rate_hz <= FASTEST:
        raise FormatError(f"{folder / CONFIG}: expected a rate in Hz in preprocess, got {rate_hz!r:.40}.")
    return Voice(opened, rate_hz)


def files(folder: Path, variant: str = "") -> list[str]:
    """What is read to predict."""
    return [CONFIG, *(name for name in OPEN_FILES if (folder / name).is_file()), WEIGHTS]


def _own(folder: Path, config: Mapping[str, Any]) -> Own:
    from safetensors.torch import load_file

    from modelcommons.workbench.fields.speech.speaking.acoustic import Acoustic

    try:
        options = VOICES[config["architecture"]].model_validate(config["options"])
        alphabet, speakers = Alphabet(str(config["alphabet"])), tuple(map(str, config["speakers"]))
        features = read_features(config["preprocess"], options)
        if not SLOWEST <= features.logmel.rate_hz <= FASTEST:
            raise ValueError(f"a rate of {features.logmel.rate_hz} Hz")
        network = Acoustic(options, len(alphabet.characters), len(speakers))
        network.load_state_dict(load_file(folder / WEIGHTS))
        return Own(network.eval(), alphabet, speakers, bool(config["capitals"]), features, options.iterations)
    except (KeyError, TypeError, ValueError, ValidationError, RuntimeError) as error:
        raise FormatError(f"{folder}: the weights are not those of its config ({error!s:.200}).") from error
