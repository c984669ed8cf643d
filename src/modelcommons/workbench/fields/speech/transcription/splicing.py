"""splicing: words of several recordings of one voice joined to a recording that nobody made, for training only.

A recording that falls, between pauses, into as many stretches as its text has words gives its words one by one; another
is left whole.
"""

# N samples

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from modelcommons.workbench.fields.speech.rows import Clips

BLOCK_S = 0.01  # seconds over which loudness is taken
PAUSE_S = 0.04  # seconds at least
SILENT_DB = 60.0  # below the loudest block
PAUSES_S = (0.05, 0.15)  # seconds between words that are joined


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a recording, in samples, and what is said in it."""

    row: int
    start: int
    end: int
    text: str


class Splicer:
    """The pieces of training recordings, by voice: the row's group; without groups each recording is a voice."""

    def __init__(self, clips: Clips) -> None:
        self.clips, self.voices = clips, [row.group or row.id for row in clips]
        self.pieces: dict[str, list[Piece]] = {voice: [] for voice in self.voices}
        for row, voice in enumerate(self.voices):
            self.pieces[voice] += pieces(row, clips.sound(row).samples, clips.rate_hz, clips.targets[row])

    def spliced(self, row: int, rate_hz: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
        """Samples, float32 (N,), and text, of at most as many words as the row has; its own where none is so short."""
        most, choice = len(self.clips.targets[row].split()), self.pieces[self.voices[row]]
        sounds, texts, words = list[np.ndarray](), list[str](), 0
        for at in rng.integers(0, len(choice), most).tolist():
            piece = choice[at]
            if words + len(piece.text.split()) <= most:
                if sounds:
                    sounds.append(np.zeros(round(rng.uniform(*PAUSES_S) * rate_hz), np.float32))
                sounds.append(self.clips.sound(piece.row).between(piece.start, piece.end).at(rate_hz))
                texts.append(piece.text)
                words += len(piece.text.split())
        if not sounds:
            return self.clips.sound(row).at(rate_hz), self.clips.targets[row]
        return np.concatenate(sounds), " ".join(texts)


def pieces(row: int, samples: np.ndarray, rate_hz: int, text: str) -> Iterator[Piece]:
    """Word by word, int16 (N,), or the whole in one piece."""
    words, pauses = text.split(), silent(samples, rate_hz)
    if len(pauses) != len(words) - 1:
        yield Piece(row, 0, len(samples), text)
        return
    starts, ends = [0, *(end for _, end in pauses)], [*(start for start, _ in pauses), len(samples)]
    for start, end, word in zip(starts, ends, words, strict=True):
        yield Piece(row, start, end, word)


def silent(samples: np.ndarray, rate_hz: int) -> list[tuple[int, int]]:
    """Where pauses begin and end, in samples, those at the beginning and at the end left out."""
    block = max(1, round(BLOCK_S * rate_hz))
    blocks = samples[: len(samples) // block * block].reshape(-1, block).astype(np.float32)
    power = (blocks**2).mean(1)
    low = np.concatenate([[False], power <= power.max(initial=0) * 10 ** (-SILENT_DB / 10), [False]])
    edges = np.flatnonzero(low[1:] != low[:-1]).reshape(-1, 2)
    least = round(PAUSE_S / BLOCK_S)
    return [
        (start * block, end * block)
        for start, end in edges.tolist()
        if end - start >= least and start > 0 and end < len(power)
    ]
