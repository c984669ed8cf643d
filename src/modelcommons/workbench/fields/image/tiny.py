"""tiny: squares, crosses and stripes as folders of PNG files; a world whose right answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SIDE = 16  # pixels
EACH = 80  # pictures of a class


def write(folder: Path) -> Path:
    """Writes `folder/<class>/<number>.png`; returns the path of one of the crosses."""
    from PIL import Image

    rng = np.random.default_rng(11)
    for name in ("cross", "square", "stripes"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(EACH):
            noise = rng.integers(0, 40, (SIDE, SIDE))
            picture = noise + rng.integers(120, 200) * drawn(name, rng)
            Image.fromarray(picture.astype(np.uint8)).save(folder / name / f"{number:02}.png")
    return folder / "cross" / "00.png"


def drawn(name: str, rng: np.random.Generator) -> np.ndarray:
    """One shape as zeros and ones, (SIDE, SIDE)."""
    out = np.zeros((SIDE, SIDE), np.int64)
    size = int(rng.integers(6, 10))
    top, left = rng.integers(0, SIDE - size + 1, 2).tolist()
    middle = size // 2
    shape = out[top : top + size, left : left + size]
    match name:
        case "square":
            shape[:] = 1
            shape[1:-1, 1:-1] = 0
        case "cross":
            shape[middle], shape[:, middle] = 1, 1
        case "stripes":
            shape[::2] = 1
    return out
