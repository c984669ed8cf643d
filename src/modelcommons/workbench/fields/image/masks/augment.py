"""augment: square pieces of pictures and masks, varied."""

from __future__ import annotations

import numpy as np

from modelcommons.formats.pixels import Shape, pixels
from modelcommons.workbench.fields.image.masks.pairs import Change, Pairs

GAIN = 0.5  # brightness changes by a factor of up to exp of this, either way
SHIFT = 24  # and by so many grey values


def pieces(
    pairs: Pairs, rows: np.ndarray, side: int, channels: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A piece from anywhere in each of these rows; smaller pictures are mirrored outwards.

    Returns:
        uint8 (rows, side, side, channels), and codes, uint8 (rows, side, side).
    """
    pictures = np.empty((len(rows), side, side, channels), np.uint8)
    codes = np.empty((len(rows), side, side), np.uint8)
    shapes = pairs.shapes[rows]
    for at, (row, (height, width, _)) in enumerate(zip(rows.tolist(), shapes.tolist(), strict=True)):
        top, left = rng.integers(0, (max(0, height - side) + 1, max(0, width - side) + 1)).tolist()
        picture, mask = pairs.piece(row, top, left, side)
        picture = colored(picture, channels)
        missing = [(0, side - size) for size in mask.shape]
        pictures[at] = np.pad(picture, [*missing, (0, 0)], "symmetric")
        codes[at] = np.pad(mask, missing, "symmetric")
    return pictures, codes


def colored(picture: np.ndarray, channels: int) -> np.ndarray:
    """The picture in gray (1) or in three colours, uint8 (height, width, channels)."""
    height, width, now = picture.shape
    return picture if now == channels else pixels(picture, Shape(height, width, channels))


def augment(
    pictures: np.ndarray, codes: np.ndarray, changes: tuple[Change, ...], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Varied copies of `pieces`."""
    batch = len(pictures)
    for change in changes:
        match change:
            case "flip":
                chosen = rng.random(batch) < 0.5
                pictures = np.where(chosen[:, None, None, None], pictures[:, :, ::-1], pictures)
                codes = np.where(chosen[:, None, None], codes[:, :, ::-1], codes)
            case "turn":
                turns = rng.integers(0, 4, batch).tolist()
                pictures = np.stack([np.rot90(one, turn) for one, turn in zip(pictures, turns, strict=True)])
                codes = np.stack([np.rot90(one, turn) for one, turn in zip(codes, turns, strict=True)])
            case "brightness":
                gain = np.exp(rng.uniform(-GAIN, GAIN, (batch, 1, 1, 1)).astype(np.float32))
                shift = rng.uniform(-SHIFT, SHIFT, (batch, 1, 1, 1)).astype(np.float32)
                pictures = np.clip(pictures * gain + shift, 0, 255).astype(np.uint8)
    return pictures, codes
