"""canvas: how a picture of any size becomes the input of a network that takes one: scaled, laid on, and varied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelcommons.errors import FormatError
from modelcommons.formats.model_folder import CONFIG
from modelcommons.formats.pixels import Shape, pixels
from modelcommons.workbench.fields.image.boxes.objects import Objects
from modelcommons.workbench.fields.image.boxes.scenes import Change

STRIDE = 32  # sides of a canvas are multiples of it
LARGEST_SIDE = 4096  # pixels; more in a config is a mistake or an attack
ZOOM = 0.4  # a picture is scaled by a factor of up to exp of this, either way
GAIN, TINT, SHIFT = 0.2, 0.05, 12  # brightness, that of one channel (factors, as `ZOOM`), and grey values
LEFT = 0.4  # share of a box that must be left inside


@dataclass(frozen=True, slots=True)
class Canvas:
    """What all inputs of a network have in common."""

    height: int
    width: int
    mean: tuple[float, ...]  # of each channel over the training pictures, 0 to 1
    std: tuple[float, ...]

    @property
    def fill(self) -> np.ndarray:
        """The mean colour, uint8 (3,): what stands where nothing is known."""
        return np.round(np.array(self.mean) * 255).astype(np.uint8)

    def scale(self, height: int, width: int) -> float:
        """How much larger a picture of this size is on the canvas; it keeps its proportions."""
        return min(self.height / height, self.width / width)

    def laid(self, picture: np.ndarray, scale: float, down: int = 0, right: int = 0) -> np.ndarray:
        """The picture on the canvas, uint8 (height, width, 3), moved `down` and `right` by so many pixels; where these
        are negative, what lies above and left is cut off."""
        height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
        scaled = pixels(picture, Shape(height, width, 3))[max(0, -down) :, max(0, -right) :]
        whole = np.empty((self.height, self.width, 3), np.uint8)
        whole[:] = self.fill
        place = whole[max(0, down) :, max(0, right) :]
        rows, columns = (min(a, b) for a, b in zip(place.shape[:2], scaled.shape[:2], strict=True))
        place[:rows, :columns] = scaled[:rows, :columns]
        return whole

    def inputs(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """uint8 (height, width, 3) each -> float32 (pictures, 3, height, width)."""
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        values = (np.stack(pictures).astype(np.float32) / 255 - mean) / std
        return np.asarray(values.transpose(0, 3, 1, 2))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, config: Mapping[str, Any], folder: Path) -> Canvas:
        """As a config says.

        Raises:
            FormatError: it does not.
        """
        try:
            found = config["preprocess"]
            sides = [int(found[name]) for name in ("height", "width")]
            mean, std = (tuple(map(float, found[name])) for name in ("mean", "std"))
            if any(side % STRIDE or not 0 < side <= LARGEST_SIDE for side in sides):
                raise ValueError(f"sides of {sides[0]} and {sides[1]}")
            if not len(mean) == len(std) == 3 or min(std) <= 0:
                raise ValueError(f"{len(mean)} means, deviations {std}")
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{folder / CONFIG}: `preprocess` is not as it was written ({error}).") from error
        return cls(sides[0], sides[1], mean, std)


def canvas_of(sizes: np.ndarray, longest: int) -> tuple[int, int]:
    """Height and width for pictures of these sizes (rows, 2), as most of them are shaped."""
    height, width = np.median(sizes, axis=0).tolist()
    scale = longest / max(height, width)
    sides = [max(STRIDE, -(-round(side * scale) // STRIDE) * STRIDE) for side in (height, width)]
    return sides[0], sides[1]


# --- training pictures ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """A training picture."""

    picture: np.ndarray  # uint8 (height, width, 3)
    boxes: np.ndarray  # float32 (objects, 4): left, top, right, bottom, pixels of the canvas
    codes: np.ndarray  # int64 (objects,)


def varied(
    picture: np.ndarray, objects: Objects, canvas: Canvas, changes: tuple[Change, ...], rng: np.random.Generator
) -> Laid:
    """The picture on the canvas, varied, and the boxes that are left of it."""
    height, width = objects.size
    scale, down, right = canvas.scale(height, width), 0, 0
    if "scale" in changes:
        scale *= float(np.exp(rng.uniform(-ZOOM, ZOOM)))
        rooms = (canvas.height - round(height * scale), canvas.width - round(width * scale))
        down, right = (int(rng.integers(min(0, room), max(0, room) + 1)) for room in rooms)
    laid = canvas.laid(picture, scale, down, right)
    boxes = np.concatenate([objects.boxes[:, :2], objects.boxes[:, :2] + objects.boxes[:, 2:]], axis=1) * scale
    boxes += np.array([right, down, right, down])
    if "flip" in changes and rng.random() < 0.5:
        laid, boxes = (
            laid[:, ::-1],
            np.stack([canvas.width - boxes[:, 2], boxes[:, 1], canvas.width - boxes[:, 0], boxes[:, 3]], 1),
        )
    if "turn" in changes and rng.random() < 0.5:
        laid, boxes = (
            laid[::-1],
            np.stack([boxes[:, 0], canvas.height - boxes[:, 3], boxes[:, 2], canvas.height - boxes[:, 1]], 1),
        )
    if "color" in changes:
        gain = np.exp(rng.uniform(-GAIN, GAIN) + rng.uniform(-TINT, TINT, 3)).astype(np.float32)
        laid = np.clip(laid * gain + np.float32(rng.uniform(-SHIFT, SHIFT)), 0, 255).astype(np.uint8)
    return Laid(laid, *_inside(boxes, objects.codes, canvas))


def _inside(boxes: np.ndarray, codes: np.ndarray, canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Boxes cut at the edges of the canvas, without those of which little is left."""
    cut = np.clip(boxes, 0, np.array([canvas.width, canvas.height] * 2))
    sides, whole = (np.maximum(one[:, 2:] - one[:, :2], 0) for one in (cut, boxes))
    kept = (sides.min(axis=1, initial=np.inf) > 1) & (sides.prod(axis=1) >= LEFT * whole.prod(axis=1))
    return cut[kept].astype(np.float32), codes[kept]
