"""noise: made, not recorded, so that it needs no licence and every row can be made again; and its ratio to a voice."""

# N samples

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from modelcommons.workbench.fields.speech.sound import FULL, as_int16

Kind = Literal["white", "pink", "babble", "hum"]
KINDS: tuple[Kind, ...] = get_args(Kind)

VOICES = 4  # of a babble
LOUDEST = 0.98  # that a mixture gets; one that would be louder is turned down as a whole
LOWEST_HZ = 20.0  # below this, pink noise gets no louder
HARMONICS = 8  # of the mains, at most

Draw = Callable[[np.random.Generator], np.ndarray]  # another recording, float (N',)


def noise(kind: Kind, num_samples: int, rate_hz: int, draw: Draw, rng: np.random.Generator) -> np.ndarray:
    """Noise of any loudness, float64 (num_samples,)."""
    match kind:
        case "white":
            return rng.standard_normal(num_samples)
        case "pink":
            return pink(num_samples, rate_hz, rng)
        case "babble":
            return sum((voice(num_samples, draw, rng) for _ in range(VOICES)), np.zeros(num_samples))
        case "hum":
            return hum(num_samples, rate_hz, rng)


def pink(num_samples: int, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Power over frequency, from `LOWEST_HZ` on."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    hertz = np.fft.rfftfreq(num_samples, 1 / rate_hz)
    return np.asarray(np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, LOWEST_HZ)), num_samples))


def voice(num_samples: int, draw: Draw, rng: np.random.Generator) -> np.ndarray:
    """Recordings one after the other, begun anywhere in the first; together as loud as any other voice."""
    first = draw(rng)
    found = [first[rng.integers(len(first)) :]]
    while sum(map(len, found)) < num_samples:
        found.append(draw(rng))
    samples = np.concatenate(found)[:num_samples]
    return np.asarray(samples / max(1e-9, float(np.sqrt(np.mean(samples**2)))))


def hum(num_samples: int, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Mains of 50 or 60 Hz and harmonics, each of its own phase and loudness, with a little noise."""
    base = rng.choice([50.0, 60.0]) * rng.uniform(0.99, 1.01)
    time = np.arange(num_samples) / rate_hz
    found = 0.05 * rng.standard_normal(num_samples)
    for number in range(1, HARMONICS + 1):
        loud, phase = rng.uniform(0.2, 1) / number**0.5, rng.uniform(0, 2 * np.pi)
        if number * base < rate_hz / 2:
            found += loud * np.sin(2 * np.pi * number * base * time + phase)
    return found


def mixed(clean: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """A voice in noise, int16 (N,).

    Args:
        clean: int16 (N,), not silent.
        snr_db: power of the voice over that of the noise, over all of the recording.
    """
    voice = clean / FULL
    ratio = np.mean(voice**2) / max(1e-30, float(np.mean(noise**2))) * 10 ** (-snr_db / 10)
    mixture = voice + noise * np.sqrt(ratio)
    return as_int16(mixture * min(1.0, LOUDEST / max(1e-9, float(np.abs(mixture).max()))))
