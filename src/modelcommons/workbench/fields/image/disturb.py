"""disturb: pictures as a worse camera would have taken them; after Hendrycks and Dietterich 2019, at a middle strength.

Source: "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ImageNet-C.
"""

from __future__ import annotations

import zlib

import numpy as np

NOISE = 0.1  # standard deviation, of the range of a pixel
BLUR = 0.03  # standard deviation of the Gaussian, of the shorter side
DARK = 0.6  # share of the light that is left

DISTURBANCES = {
    "noise": f"Gaussian noise of {NOISE:g} of the range of a pixel",
    "blur": f"a Gaussian blur of {BLUR:.0%} of the shorter side",
    "dark": f"{DARK:.0%} of the light",
}


def disturb(pixels: np.ndarray, name: str, salt: str) -> np.ndarray:
    """The picture, uint8 (height, width, channels), disturbed; the same salt gives the same noise."""
    if name == "noise":
        rng = np.random.default_rng(zlib.crc32(salt.encode()))
        values = pixels + rng.normal(0, 255 * NOISE, pixels.shape)
    elif name == "blur":
        values = _blurred(pixels.astype(np.float64), BLUR * min(pixels.shape[:2]))
    else:
        values = pixels * DARK
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian over height and width; the picture goes on at its edges as its last pixels are."""
    reach = max(1, round(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        length = values.shape[axis]
        share = np.zeros((length, length))  # of each place in what another becomes
        for shift, weight in zip(range(-reach, reach + 1), weights.tolist(), strict=True):
            np.add.at(share, (np.arange(length), np.clip(np.arange(length) + shift, 0, length - 1)), weight)
        values = np.moveaxis(np.tensordot(share, values, (1, axis)), 0, axis)
    return values
