"""augment: training pictures varied a whole batch at a time."""

from __future__ import annotations

from typing import Literal

import numpy as np

Change = Literal["flip", "crop", "cutout"]


def augment(pixels: np.ndarray, changes: tuple[Change, ...], fill: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A varied copy.

    Args:
        pixels: uint8 (batch, height, width, channels).
        fill: uint8 (channels,), what stands where nothing is known: the mean colour.
    """
    for change in changes:
        match change:
            case "flip":
                chosen = rng.random(len(pixels)) < 0.5
                pixels = pixels.copy()
                pixels[chosen] = pixels[chosen, :, ::-1]
            case "crop":
                pixels = _cropped(pixels, rng)
            case "cutout":
                pixels = _cut(pixels, fill, rng)
    return pixels


def windows(pixels: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """A square of `side` pixels from each picture, its place drawn; pixels: uint8 (batch, height, width, channels)."""
    batch, height, width, channels = pixels.shape
    squares = np.lib.stride_tricks.sliding_window_view(pixels, (side, side, channels), (1, 2, 3))[:, :, :, 0]
    down, right = rng.integers(0, height - side + 1, batch), rng.integers(0, width - side + 1, batch)
    return np.asarray(squares[np.arange(batch), down, right])


def _cropped(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shifted by up to an eighth of the side (at least a pixel, at most four); the border is repeated outwards."""
    batch, height, width, _ = pixels.shape
    reach = min(4, max(1, min(height, width) // 12))
    padded = np.pad(pixels, ((0, 0), (reach, reach), (reach, reach), (0, 0)), "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (1, 2))  # (batch, y, x, C, H, W)
    down, right = rng.integers(0, 2 * reach + 1, (2, batch))
    return np.asarray(windows[np.arange(batch), down, right].transpose(0, 2, 3, 1))


def _cut(pixels: np.ndarray, fill: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A square of a quarter of the side is filled in each picture; it may reach over the border."""
    batch, height, width, _ = pixels.shape
    side = max(1, min(height, width) // 4)
    top, left = rng.integers(1 - side, (height, width), (batch, 2)).T
    rows, columns = np.arange(height), np.arange(width)
    inside = ((rows >= top[:, None]) & (rows < top[:, None] + side))[:, :, None] & (
        (columns >= left[:, None]) & (columns < left[:, None] + side)
    )[:, None, :]
    return np.where(inside[..., None], fill, pixels)
