"""Tunes as two instruments play them: a text of notes, and what it sounds like.

No package brings recordings along, so these are made: the first recipe for a voice needs no download either. As with a
voice, each letter has a sound of its own, and who plays decides its colour. Everything comes from one seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from modelcommons.workbench.sources.morse import RATE, wav

TUNES = 120
NOTES = {"c": 523.25, "d": 587.33, "e": 659.26, "f": 698.46, "g": 783.99, "a": 880.0, "b": 987.77}  # Hz, from c''
INSTRUMENTS = {"flute": (1.0, 0.1), "reed": (0.6, 0.5)}  # loudness of the note and of its octave
NOTE_S, GAP_S, REST_S = 0.16, 0.06, 0.2  # seconds: a note, between notes, between bars
EDGE_S = 0.01  # over which a note comes and goes
LOUD = 0.5


def tunes() -> Iterator[tuple[str, bytes]]:
    """One to three bars of two to four notes each, no two alike, and a table of what is played by whom."""
    chance, texts = random.Random(1770), list[str]()
    while len(texts) < TUNES:
        bars = ("".join(chance.choices(list(NOTES), k=chance.randint(2, 4))) for _ in range(chance.randint(1, 3)))
        if (text := " ".join(bars)) not in texts:
            texts.append(text)
    lines = ["audio,text,speaker"]
    for number, text in enumerate(texts):
        instrument = list(INSTRUMENTS)[number % len(INSTRUMENTS)]
        lines.append(f"wav/{number:03}.wav,{text},{instrument}")
        yield f"wav/{number:03}.wav", wav(played(text, instrument))
    yield "tunes.csv", ("\n".join(lines) + "\n").encode()


def played(text: str, instrument: str) -> list[float]:
    """Samples between -1 and 1."""
    samples = [0.0] * round(REST_S * RATE)
    for note in text:
        if note == " ":
            samples += [0.0] * round(REST_S * RATE)
            continue
        length = round(NOTE_S * RATE)
        for at in range(length):
            height = LOUD * min(1.0, (at + 1) / (EDGE_S * RATE), (length - at) / (EDGE_S * RATE))
            turn = 2 * math.pi * NOTES[note] * at / RATE
            parts = enumerate(INSTRUMENTS[instrument], 1)
            samples.append(height * sum(part * math.sin(order * turn) for order, part in parts))
        samples += [0.0] * round(GAP_S * RATE)
    return samples + [0.0] * round(REST_S * RATE)
