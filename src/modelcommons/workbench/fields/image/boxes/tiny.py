"""tiny: bright squares and dark discs on a grey ground, beside a metadata.jsonl; right answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

HEIGHT, WIDTH = 48, 64
NUMBER = 60


def write(folder: Path) -> Path:
    """Writes `folder/<number>.png` and `folder/metadata.jsonl`; returns the path of the first picture."""
    from PIL import Image

    rng = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(NUMBER):
        picture, boxes, labels = drawn(rng)
        Image.fromarray(picture).save(folder / f"{number:02}.png")
        lines.append({"file_name": f"{number:02}.png", "objects": {"bbox": boxes, "categories": labels}})
    (folder / "metadata.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return folder / "00.png"


def drawn(rng: np.random.Generator) -> tuple[np.ndarray, list[list[int]], list[str]]:
    """A picture, uint8 (height, width), with one to three things that do not touch, their boxes and classes."""
    picture = 120 + rng.normal(0, 6, (HEIGHT, WIDTH))
    boxes: list[list[int]] = []
    labels: list[str] = []
    for column in rng.permutation(3)[: int(rng.integers(1, 4))].tolist():
        side = int(rng.integers(11, 19))
        left = column * WIDTH // 3 + int(rng.integers(0, WIDTH // 3 - side + 1))
        top = int(rng.integers(0, HEIGHT - side + 1))
        label = ("disc", "square")[int(rng.integers(2))]
        down, right = np.mgrid[:side, :side] - (side - 1) / 2
        inside = down**2 + right**2 <= (side / 2) ** 2 if label == "disc" else np.ones((side, side), bool)
        picture[top : top + side, left : left + side][inside] += 90 if label == "square" else -80
        boxes.append([left, top, side, side])
        labels.append(label)
    return np.clip(picture, 0, 255).astype(np.uint8), boxes, labels
