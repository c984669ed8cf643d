"""disturb: recordings as a worse microphone in a louder place would have made them."""

from __future__ import annotations

import zlib

import numpy as np

from modelcommons.workbench.fields.speech.sound import FULL, Sound, as_int16

RATIOS_DB = {f"noise-{ratio}db": ratio for ratio in (20, 10, 5, 0)}
DISTURBANCES = {name: f"white noise {ratio} dB below the recording" for name, ratio in RATIOS_DB.items()}


def disturb(sound: Sound, name: str, salt: str) -> Sound:
    """The recording in white noise; the same salt gives the same noise."""
    rng = np.random.default_rng(zlib.crc32(salt.encode()))
    samples = sound.samples / FULL
    strength = np.sqrt(np.mean(samples**2)) * 10 ** (-RATIOS_DB[name] / 20)
    return Sound(as_int16(samples + rng.normal(0, strength, len(samples))), sound.rate_hz)
