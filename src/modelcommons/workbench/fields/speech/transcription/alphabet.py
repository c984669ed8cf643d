"""alphabet: the characters that a recogniser writes, and texts as it is to write them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from modelcommons.errors import DataError

BLANK = 0  # the label that stands for no character
MOST = 8_192  # characters


def plain(text: str) -> str:
    """What is said of what is written: no capitals, no punctuation but apostrophes within words, single blanks."""
    folded = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    kept = "".join(char if char.isalnum() or char == "'" or unicodedata.combining(char) else " " for char in folded)
    return " ".join(word for word in (word.strip("'") for word in kept.split()) if word)


@dataclass(frozen=True)
class Alphabet:
    """Characters in a fixed order; their labels count from 1."""

    characters: str

    @classmethod
    def of(cls, texts: Iterable[str]) -> Alphabet:
        """Every character of the training texts.

        Raises:
            DataError: there are too many.
        """
        found = sorted({char for text in texts for char in text})
        if len(found) > MOST:
            raise DataError(f"Expected at most {MOST:,} different characters in the texts, found {len(found):,}.")
        return cls("".join(found))

    def encode(self, text: str) -> np.ndarray:
        """Labels, int64; characters that training never saw are left out."""
        index = {char: at for at, char in enumerate(self.characters, 1)}
        return np.array([index[char] for char in text if char in index], np.int64)

    def decode(self, labels: Sequence[int]) -> str:
        return "".join(self.characters[label - 1] for label in labels)
