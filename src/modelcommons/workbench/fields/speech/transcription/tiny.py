"""tiny: words of three notes as WAV files beside a table; a world whose right answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modelcommons.workbench.fields.speech.sound import as_int16

RATE = 4_000  # Hz
EACH = 100  # recordings
NOTES = {"a": 500.0, "b": 900.0, "c": 1_500.0}  # Hz
NOTE_S, GAP_S, PAUSE_S = 0.08, 0.02, 0.12  # seconds of a note, between notes, between words


def write(folder: Path) -> Path:
    """Writes `folder/notes.csv` and its recordings; returns the path of one."""
    import soundfile

    rng = np.random.default_rng(3)
    (folder / "wav").mkdir(parents=True, exist_ok=True)
    lines = ["audio,text,speaker"]
    for number in range(EACH):
        text = " ".join("".join(rng.choice(list(NOTES), rng.integers(1, 3))) for _ in range(rng.integers(1, 4)))
        soundfile.write(folder / "wav" / f"{number:03}.wav", as_int16(played(text, rng)), RATE)
        lines.append(f"wav/{number:03}.wav,{text},{'high' if number % 2 else 'low'}")
    (folder / "notes.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "wav" / "000.wav"


def played(text: str, rng: np.random.Generator) -> np.ndarray:
    """The notes of a text, a little out of tune and in noise, float (N,)."""
    parts = [np.zeros(int(0.03 * RATE))]
    for char in text:
        if char == " ":
            parts.append(np.zeros(int(PAUSE_S * RATE)))
            continue
        turns = 2 * np.pi * NOTES[char] * rng.uniform(0.95, 1.05) * np.arange(int(NOTE_S * RATE)) / RATE
        parts += [np.sin(turns) * rng.uniform(0.3, 0.7), np.zeros(int(GAP_S * RATE))]
    wave = np.concatenate(parts)
    return np.asarray(wave + rng.normal(0, 0.01, len(wave)))
