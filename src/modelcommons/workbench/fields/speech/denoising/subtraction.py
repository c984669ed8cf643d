"""subtraction: the floor, which learns nothing: the noise of a band is what its quietest moments have."""

# N samples, T frames, F frequencies

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelcommons.workbench.fields.speech.denoising.answer import answered
from modelcommons.workbench.fields.speech.denoising.architectures import TcnOptions
from modelcommons.workbench.fields.speech.denoising.metrics import si_sdr
from modelcommons.workbench.fields.speech.denoising.mixtures import Heard
from modelcommons.workbench.fields.speech.denoising.spectrum import Stft
from modelcommons.workbench.fields.speech.sound import Sound, as_int16
from modelcommons.workbench.task import Answer, Row

# chosen on training recordings of FSDD
SMOOTHED = 9  # frames that the power of a band is averaged over
BIAS = 4.0  # power of the noise over its smoothed minimum
LEAST = 0.03  # magnitude that is left at least, against tones that come and go

TRIED = 200  # training rows on which it is asked whether this is better than nothing


class Unchanged:
    """The recording as it is: no decibel gained, none lost."""

    labels: Sequence[str] = ()

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        return [answered(row, row.x) for row in rows]


class Subtraction:
    """Spectral subtraction of power.

    Source: Boll, Suppression of Acoustic Noise in Speech Using Spectral Subtraction (1979); the noise by minimum
    statistics as in Martin, Spectral Subtraction Based on Minimum Statistics (1994), over the whole recording.
    """

    labels: Sequence[str] = ()

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        return [answered(row, self.enhanced(row.x)) for row in rows]

    def enhanced(self, sound: Sound) -> Sound:
        samples = sound.at(sound.rate_hz)
        stft = Stft.of(TcnOptions(), sound.rate_hz)
        spectrum = stft.analysed(samples)
        power = np.abs(spectrum).astype(np.float64) ** 2
        gain = np.sqrt(np.maximum(1 - noise(power, stft) / np.maximum(power, 1e-20), LEAST**2))
        found = stft.synthesized((spectrum * gain).astype(np.complex64), len(samples))
        return Sound(as_int16(found), sound.rate_hz)


def noise(power: np.ndarray, stft: Stft) -> np.ndarray:
    """What the noise of each frequency is taken to be, float64 (F,).

    Args:
        power: float64 (T, F); frames that reach over an end of the recording are left out where there are others.
    """
    edge = stft.window // stft.hop
    inside = power[edge:-edge] if len(power) > 2 * edge else power
    size = min(SMOOTHED, len(inside))
    sums = np.cumsum(np.pad(inside, ((1, 0), (0, 0))), axis=0)
    return np.asarray(BIAS * (sums[size:] - sums[:-size]).min(0) / size)


def floor(train: Heard) -> tuple[str, Unchanged | Subtraction]:
    """The better of the two, as training rows have it."""
    rule, gained = Subtraction(), 0.0
    for at in range(0, len(train), max(1, len(train) // TRIED)):
        row = train[at]
        clean = row.y.sound.samples
        gained += si_sdr(rule.enhanced(row.x).samples, clean) - si_sdr(row.x.samples, clean)
    return ("spectral subtraction", rule) if gained > 0 else ("the recording as it is", Unchanged())
