"""sound: a recording's bytes as samples, and samples of another rate.

The messages of errors here are clauses that name no file: the caller knows its place.
"""

# N samples

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelcommons.errors import DataError

FORMATS = ("WAV", "WAVEX", "FLAC", "OGG")
SLOWEST, FASTEST = 1_000, 192_000  # samples a second
MOST_SECONDS = 600.0  # of one recording; a small file can unpack to more than memory holds
MOST_BYTES = 256 * 2**20
FULL = 32_768.0  # what a sample of 16 bits is divided by


@dataclass(frozen=True, slots=True)
class Sound:
    """One channel of a recording."""

    samples: np.ndarray  # (N,) int16
    rate_hz: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate_hz

    def between(self, start: int, end: int) -> Sound:
        """The samples from `start` to `end`."""
        return Sound(self.samples[start:end], self.rate_hz)

    def content(self) -> bytes:
        """What makes two recordings the same."""
        return f"{self.rate_hz} Hz ".encode() + self.samples.tobytes()

    def at(self, rate_hz: int) -> np.ndarray:
        """The samples at another rate, float32 (N,), -1 to 1."""
        return resampled(self.samples.astype(np.float32) / FULL, self.rate_hz, rate_hz)


def read(value: Any) -> Sound:
    """A recording from bytes, a path, a `Sound`, or `{"array": ..., "sampling_rate": ...}`; channels are averaged.

    Raises:
        DataError: it is no recording in one of the `FORMATS`, is empty, cut off or too long.
    """
    if isinstance(value, Sound):
        return value
    if isinstance(value, Mapping):
        return _from_array(value)
    with _opened(value) as file:
        try:
            samples = file.read(dtype="float32", always_2d=True).mean(axis=1)
        except RuntimeError as error:
            raise DataError(f"expected a whole recording, got one that is cut off or corrupt ({error})") from None
        if len(samples) != file.frames:
            raise DataError(f"expected a whole recording of {file.frames:,} samples, got {len(samples):,}")
        return Sound(as_int16(samples), int(file.samplerate))


def header(value: Any) -> tuple[int, int]:
    """Rate in Hz and number of samples, without decoding. Raises: see `read`."""
    with _opened(value) as file:
        return int(file.samplerate), int(file.frames)


def as_int16(samples: np.ndarray) -> np.ndarray:
    """Samples of 16 bits from floats, -1 to 1; what is louder is clipped."""
    return np.clip(np.round(samples * FULL), -FULL, FULL - 1).astype(np.int16)


def wav(sound: Sound) -> bytes:
    """The sound as a WAV file of 16 bits."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, sound.samples, sound.rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()


def resampled(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """The same sound at another rate, float32 (N',), through a linear-phase low-pass filter."""
    if from_hz == to_hz:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(from_hz, to_hz)
    return np.asarray(resample_poly(samples, to_hz // common, from_hz // common), np.float32)


def _opened(value: Any) -> Any:
    """A soundfile whose header makes sense."""
    import soundfile

    raw = value if isinstance(value, bytes) else _bytes(Path(value))
    try:
        file = soundfile.SoundFile(io.BytesIO(raw))
    except RuntimeError:
        raise DataError("expected a recording (WAV, FLAC or OGG), got other bytes") from None
    if file.format not in FORMATS:
        raise DataError(f"expected a recording in WAV, FLAC or OGG, got {file.format}")
    if not SLOWEST <= file.samplerate <= FASTEST:
        raise DataError(f"expected a rate of {SLOWEST:,} to {FASTEST:,} Hz, got {file.samplerate:,}")
    if not 0 < file.frames <= MOST_SECONDS * file.samplerate:
        seconds = file.frames / file.samplerate
        raise DataError(f"expected a recording of at most {MOST_SECONDS:.0f} seconds, got {seconds:,.0f}")
    return file


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"expected a file of at most {MOST_BYTES >> 20} MiB, got a larger one")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"expected a recording, got no file that can be read ({error!s:.80})") from None


def _from_array(value: Mapping[str, Any]) -> Sound:
    """As `datasets` hands out a column of audio."""
    try:
        samples, rate = np.asarray(value["array"]), int(value["sampling_rate"])
    except (KeyError, TypeError, ValueError):
        raise DataError("expected `array` and `sampling_rate`, got other keys") from None
    if samples.ndim != 1 or not len(samples) or samples.dtype.kind not in "fi" or not SLOWEST <= rate <= FASTEST:
        raise DataError(f"expected samples of one channel, got {samples.dtype} {samples.shape} at {rate} Hz")
    if samples.dtype == np.int16:
        return Sound(samples, rate)
    if samples.dtype.kind != "f" or not np.isfinite(samples).all():
        raise DataError(f"expected finite samples between -1 and 1, or int16, got {samples.dtype}")
    return Sound(as_int16(samples), rate)
