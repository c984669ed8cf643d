"""tiny: sounds that rise, fall or stay, as folders of WAV files; a world whose right answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modelcommons.workbench.fields.speech.sound import as_int16

RATE = 4_000  # Hz
EACH = 60  # recordings of a class
RISE = {"fall": 0.5, "rise": 2.0, "stay": 1.0}  # last frequency over the first


def write(folder: Path) -> Path:
    """Writes `folder/<class>/<number>.wav`; returns the path of one that rises."""
    import soundfile

    rng = np.random.default_rng(5)
    for name, ratio in RISE.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(EACH):
            soundfile.write(folder / name / f"{number:02}.wav", as_int16(tone(ratio, rng)), RATE)
    return folder / "rise" / "00.wav"


def tone(ratio: float, rng: np.random.Generator) -> np.ndarray:
    """A quarter of a second, more or less, of any pitch and loudness in noise, float (N,)."""
    num_samples = int(RATE * rng.uniform(0.18, 0.26))
    hertz = rng.uniform(400, 800) * np.geomspace(1, ratio, num_samples)
    wave = np.sin(2 * np.pi * np.cumsum(hertz) / RATE) * rng.uniform(0.1, 0.8)
    return np.asarray(wave + rng.normal(0, 0.02, num_samples))
