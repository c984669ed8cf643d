"""preprocess: from a picture in bytes to a network's input, as a model's config says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelcommons.errors import FormatError
from modelcommons.formats.model_folder import MODEL_TYPE
from modelcommons.formats.pixels import Shape

LARGEST_SIDE = 2048  # pixels; more in a config is a mistake or an attack
MEASURED = 10_000  # pictures that mean and deviation are taken from
AT_ONCE = 2**22  # values that are counted together


@dataclass(frozen=True, slots=True)
class Preprocess:
    """From a picture in bytes to a network's input."""

    shape: Shape
    mean: tuple[float, ...]  # of each channel over the training pictures, 0 to 1
    std: tuple[float, ...]

    def inputs(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (batch, height, width, channels) -> float32 (batch, channels, height, width), in the same layout."""
        shares = pictures.astype(np.float32)
        shares /= 255
        shares -= np.array(self.mean, np.float32)
        shares /= np.array(self.std, np.float32)
        return np.asarray(shares.transpose(0, 3, 1, 2))

    @property
    def fill(self) -> np.ndarray:
        """The mean colour, uint8 (channels,): what stands where nothing is known."""
        return np.round(np.array(self.mean) * 255).astype(np.uint8)


def spaced(num_rows: int, wanted: int = MEASURED) -> np.ndarray:
    """Indices of about `wanted` rows, evenly spaced, whose pictures are measured."""
    return np.arange(0, num_rows, max(1, num_rows // wanted))


def measured(pictures: Callable[[np.ndarray], np.ndarray], num_rows: int) -> Preprocess:
    """Shape of the pictures, and each channel's mean and standard deviation over some of them, evenly spaced.

    Args:
        pictures: those at some indices (int64), uint8 (rows, height, width, channels); asked for some at a time, since
            all of them need not fit into memory.
    """
    some = spaced(num_rows)
    shape = Shape(*pictures(some[:1]).shape[1:])
    counts = np.zeros((shape.channels, 256), np.int64)  # how often each value occurs
    at_once = max(1, AT_ONCE // (shape.height * shape.width * shape.channels))
    for start in range(0, len(some), at_once):
        values = pictures(some[start : start + at_once]).reshape(-1, shape.channels)
        counts += [np.bincount(channel, minlength=256) for channel in values.T]
    share, shares = counts / counts.sum(axis=1, keepdims=True), np.arange(256) / 255
    mean = share @ shares
    std = np.sqrt((share * (shares - mean[:, None]) ** 2).sum(axis=1))
    return Preprocess(shape, _rounded(mean), _rounded(np.maximum(std, 1 / 255)))


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)


def read_preprocess(config: dict[str, Any], folder: Path) -> Preprocess:
    """As the config says; for a model that was not made here, pictures as large as its network takes them.

    Raises:
        FormatError: it says something else than was written.
    """
    side = config.get("image_size", 224)
    plain = {"shape": {"height": side, "width": side, "channels": 3}, "mean": [0.5] * 3, "std": [0.5] * 3}
    try:
        found = config["preprocess"] if config["model_type"] == MODEL_TYPE else config.get("preprocess", plain)
        shape = Shape(**{name: int(size) for name, size in found["shape"].items()})
        mean, std = (tuple(float(value) for value in found[name]) for name in ("mean", "std"))
        assert max(shape.dimensions) <= LARGEST_SIDE and min(shape.dimensions) > 0 and shape.channels in (1, 3)
        assert len(mean) == len(std) == shape.channels
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise FormatError(f"{folder / 'config.json'}: `preprocess` is not as it was written ({error}).") from error
    return Preprocess(shape, mean, std)
