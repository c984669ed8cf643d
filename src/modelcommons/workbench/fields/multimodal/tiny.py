"""tiny: coloured shapes and what they are called, pictures beside a table; a world whose right answers are known."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 16  # pixels
EACH = 8  # pictures of a kind
COLORS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 230), "white": (240, 240, 240)}
SHAPES = ("square", "cross", "stripes")


def write(folder: Path) -> dict[str, Any]:
    """Writes `folder/metadata.csv` and its pictures; returns a question that a person could ask."""
    from PIL import Image

    rng = np.random.default_rng(11)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    lines = ["file_name,text,shape"]
    kinds = [*itertools.product(COLORS, SHAPES)] * EACH
    for number, (color, shape) in enumerate(kinds):
        picture = rng.integers(0, 40, (SIDE, SIDE, 3))
        picture[drawn(shape, rng)] = COLORS[color] + rng.integers(-20, 15, 3)
        Image.fromarray(picture.astype(np.uint8)).save(folder / "pictures" / f"{number:02}.png")
        lines.append(f"pictures/{number:02}.png,{color} {shape},{shape}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"image": str(folder / "pictures" / "00.png"), "texts": ["blue cross", "red square", "green stripes"]}


def drawn(shape: str, rng: np.random.Generator) -> np.ndarray:
    """Where one shape is, bool (SIDE, SIDE)."""
    out = np.zeros((SIDE, SIDE), bool)
    size = int(rng.integers(7, 11))
    top, left = rng.integers(0, SIDE - size + 1, 2).tolist()
    middle = size // 2
    inside = out[top : top + size, left : left + size]
    match shape:
        case "square":
            inside[:] = True
        case "cross":
            inside[middle - 1 : middle + 1] = inside[:, middle - 1 : middle + 1] = True
        case _:
            inside[::3] = True
    return out
