"""open_voice: what the open voices of the transformers library have in common: they speak, and are not trained here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelcommons.workbench.fields.speech.sound import Sound
from modelcommons.workbench.fields.speech.speaking.cepstra import cepstra
from modelcommons.workbench.fields.speech.speaking.outline import Outline, loudness
from modelcommons.workbench.fields.speech.speaking.utterances import Utterance, is_said


@dataclass(frozen=True)
class OpenVoice(ABC):
    """A network and its tokenizer."""

    network: Any
    tokenizer: Any

    @property
    @abstractmethod
    def rate_hz(self) -> int:
        """Samples a second of what it says."""

    @property
    @abstractmethod
    def speakers(self) -> tuple[str, ...]:
        """Whose voices it has; none where it has one voice only."""

    @property
    def num_parameters(self) -> int:
        return sum(weight.numel() for weight in self.network.parameters())

    @abstractmethod
    def say(self, asked: Utterance) -> Sound:
        """
        Raises:
            DataError: nothing of the text is in the voice's alphabet, or it has no such speaker.
        """

    @property
    def letters(self) -> str:
        return "".join(sorted(token for token in self.tokenizer.get_vocab() if len(token) == 1 and token.isalnum()))

    @abstractmethod
    def knows(self, letter: str) -> bool:
        """Whether it can say this letter."""

    def unknown(self, text: str) -> list[str]:
        return sorted({char for char in text if is_said(char) and not self.knows(char)})

    def save(self, folder: Path) -> None:
        """Writes everything that it needs to speak again."""
        self.network.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def pieces(self, text: str) -> list[str]:
        """Words, each with the blank behind it."""
        words = text.split()
        return [f"{word} " for word in words[:-1]] + words[-1:]

    def outline(self, pieces: Sequence[str], speaker: str) -> Outline:
        """Of the wave; how long a word takes is not told by the network, so it is its share of the letters."""
        sound = self.say(Utterance("".join(pieces), speaker))
        samples = sound.at(self.rate_hz)
        letters = np.array([len(piece) for piece in pieces], np.float64)
        return Outline(
            cepstra(samples, self.rate_hz), loudness(samples, self.rate_hz), letters / letters.sum() * sound.seconds
        )
