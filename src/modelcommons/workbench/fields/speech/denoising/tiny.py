"""tiny: melodies of two instruments as WAV files beside a table; a world in which noise is easily told from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modelcommons.workbench.fields.speech.sound import as_int16

RATE = 4_000  # Hz
EACH = 24  # recordings of an instrument
HERTZ = {"low": 220.0, "high": 310.0}  # of the lowest note
NOTES = (1.0, 9 / 8, 5 / 4, 3 / 2)
NOTE_S, GAP_S = 0.1, 0.04  # seconds of a note, and between notes


def write(folder: Path) -> Path:
    """Writes `folder/melodies.csv` and its recordings; returns the path of one."""
    import soundfile

    rng = np.random.default_rng(11)
    (folder / "wav").mkdir(parents=True, exist_ok=True)
    lines = ["audio,speaker"]
    for number in range(2 * EACH):
        name = list(HERTZ)[number % 2]
        soundfile.write(folder / "wav" / f"{number:02}.wav", as_int16(melody(HERTZ[name], rng)), RATE)
        lines.append(f"wav/{number:02}.wav,{name}")
    (folder / "melodies.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "wav" / "00.wav"


def melody(hertz: float, rng: np.random.Generator) -> np.ndarray:
    """Two or three notes with harmonics, and silence between them, float (N,)."""
    parts = []
    for _ in range(rng.integers(2, 4)):
        turns = 2 * np.pi * hertz * rng.choice(NOTES) * np.arange(int(NOTE_S * RATE)) / RATE
        note = sum(np.sin(number * turns) / number for number in (1, 2, 3))
        parts += [note * np.hanning(len(turns)) * rng.uniform(0.2, 0.4), np.zeros(int(GAP_S * RATE))]
    return np.concatenate(parts)
