"""disturb: recordings as a worse microphone in a louder place, or a quicker or slower tongue, would have made them."""

from __future__ import annotations

import zlib

import numpy as np

from modelcommons.workbench.fields.speech.sound import Sound, as_int16, resampled

RATIOS_DB = {f"noise-{ratio}db": ratio for ratio in (20, 10, 5, 0)}
SPEEDS = {"slower": (9, 10), "faster": (11, 10)}  # so many samples become so many
DISTURBANCES = {name: f"white noise {ratio} dB below the recording" for name, ratio in RATIOS_DB.items()} | {
    name: f"{before / after} times as fast, and its pitch with it" for name, (before, after) in SPEEDS.items()
}


def disturb(sound: Sound, name: str, salt: str) -> Sound:
    """The recording in white noise, of which the same salt gives the same, or at another speed."""
    samples = sound.at(sound.rate_hz)
    if name in SPEEDS:
        return Sound(as_int16(resampled(samples, *SPEEDS[name])), sound.rate_hz)
    rng = np.random.default_rng(zlib.crc32(salt.encode()))
    strength = np.sqrt(np.mean(samples**2)) * 10 ** (-RATIOS_DB[name] / 20)
    return Sound(as_int16(samples + rng.normal(0, strength, len(samples))), sound.rate_hz)
