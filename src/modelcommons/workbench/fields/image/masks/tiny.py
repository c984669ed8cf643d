"""tiny: bright discs under a light that falls from one side, in folders of PNG files; right answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SIDES = ((32, 32), (24, 36))  # height and width
NUMBER = 48


def write(folder: Path) -> Path:
    """Writes `folder/images/<number>.png` and `folder/masks/<number>.png`; returns the path of the first picture."""
    from PIL import Image

    rng = np.random.default_rng(5)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(NUMBER):
        picture, mask = drawn(*SIDES[number % len(SIDES)], rng)
        Image.fromarray(picture).save(folder / "images" / f"{number:02}.png")
        Image.fromarray(mask * 255).save(folder / "masks" / f"{number:02}.png")
    return folder / "images" / "00.png"


def drawn(height: int, width: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its mask, uint8 (height, width); no one brightness divides disc from background."""
    down, right = np.mgrid[:height, :width]
    mask = np.zeros((height, width), bool)
    for _ in range(int(rng.integers(2, 5))):
        radius = rng.uniform(3, 6)
        top, left = rng.uniform(0, height), rng.uniform(0, width)
        mask |= (down - top) ** 2 + (right - left) ** 2 < radius**2
    light = rng.choice([-1, 1]) * (right / width - 0.5) * 130
    picture = 110 + light + 45 * mask + rng.normal(0, 4, mask.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), mask.astype(np.uint8)
