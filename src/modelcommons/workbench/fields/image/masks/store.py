"""store: pictures and masks in their own sizes, decoded once and laid end to end."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from modelcommons.errors import DataError
from modelcommons.formats.cache import cache_folder, replacing
from modelcommons.formats.pixels import BROKEN, native, not_whole, opened

LOSSY = ("JPEG",)  # whose values near an edge are those of no class
HIGHEST = 2**16 - 1  # value of a mask

Files = tuple[bytes | Path, tuple[bytes | Path, ...]]  # a picture, and its masks: one, or one for each object
Find = Callable[[int], Files]  # raises DataError where a row has none


class Ragged:
    """Arrays of different shapes, end to end in one flat array that may be memory-mapped."""

    def __init__(self, flat: np.ndarray, shapes: np.ndarray) -> None:
        self._flat, self._shapes = flat, shapes  # shapes: int64 (arrays, dimensions)
        self._ends = np.cumsum(shapes.prod(axis=1))

    def __getitem__(self, at: int) -> np.ndarray:
        end, shape = int(self._ends[at]), tuple(self._shapes[at].tolist())
        return np.asarray(self._flat[end - int(np.prod(shape)) : end].reshape(shape))


@dataclass(slots=True)
class Listing:
    """What was found in the files of one part."""

    shapes: list[list[int]] = field(default_factory=list)  # (height, width, channels) of each picture
    values: list[list[int]] = field(default_factory=list)  # that occur in each mask, ascending
    broken: dict[int, str] = field(default_factory=dict)  # row -> why it cannot be used; it has no pixels


@dataclass(frozen=True, slots=True)
class Decoded:
    listing: Listing
    pictures: Ragged  # uint8 (height, width, 1 or 3)
    masks: Ragged  # uint16 (height, width), as in the file; of masks for each object: 1 where any is


def decoded(num_rows: int, find: Find, key: str | None) -> Decoded:
    """All pictures and masks of a part, from the cache when they were decoded before.

    Args:
        key: of the cache; None where the files may change, then all is kept in memory.
    """
    if key is None:
        pictures, masks = io.BytesIO(), io.BytesIO()
        listing = _decode(num_rows, find, pictures, masks)
        return _of(listing, np.frombuffer(pictures.getvalue(), np.uint8), np.frombuffer(masks.getvalue(), np.uint16))
    folder = cache_folder("masks")
    places = [folder / f"{key}.{kind}" for kind in ("pictures", "masks", "json")]
    if not all(place.is_file() for place in places):
        with ExitStack() as stack:
            parts = [stack.enter_context(replacing(place)) for place in reversed(places)][::-1]  # the listing last
            with parts[0].open("wb") as pixels, parts[1].open("wb") as codes:
                listing = _decode(num_rows, find, pixels, codes)
            parts[2].write_text(json.dumps(asdict(listing)), encoding="utf-8")
    values = json.loads(places[2].read_text(encoding="utf-8"))
    values["broken"] = {int(row): why for row, why in values["broken"].items()}
    return _of(Listing(**values), _mapped(places[0], np.uint8), _mapped(places[1], np.uint16))


def _mapped(path: Path, kind: type[np.generic]) -> np.ndarray:
    return np.memmap(path, kind, "r") if path.stat().st_size else np.empty(0, kind)


def _of(listing: Listing, pictures: np.ndarray, masks: np.ndarray) -> Decoded:
    shapes = np.array(listing.shapes, np.int64).reshape(-1, 3)
    return Decoded(listing, Ragged(pictures, shapes), Ragged(masks, shapes[:, :2]))


def _decode(num_rows: int, find: Find, pictures: IO[bytes], masks: IO[bytes]) -> Listing:
    listing = Listing()
    for row in range(num_rows):
        try:
            picture, mask = _pair(*find(row))
        except DataError as error:
            listing.broken[row] = str(error)
            picture, mask = np.empty((0, 0, 1), np.uint8), np.empty((0, 0), np.uint16)
        pictures.write(picture.tobytes())
        masks.write(mask.tobytes())
        listing.shapes.append(list(picture.shape))
        listing.values.append(np.flatnonzero(np.bincount(mask.ravel())).tolist())
    return listing


def _pair(picture: bytes | Path, masks: tuple[bytes | Path, ...]) -> tuple[np.ndarray, np.ndarray]:
    found = native(picture)
    values = [mask_values(mask) for mask in masks]
    if not values:
        raise DataError("expected a mask, got none")
    for each in values:
        if each.shape != found.shape[:2]:
            sizes = [f"{width} x {height}" for height, width in (found.shape[:2], each.shape)]
            raise DataError(f"expected a mask as large as its picture ({sizes[0]}), got {sizes[1]}")
    if len(values) == 1:
        return found, values[0]
    return found, np.logical_or.reduce([each > 0 for each in values]).astype(np.uint16)


def mask_values(value: bytes | Path) -> np.ndarray:
    """What a mask file says of each pixel, uint16 (height, width): its grey values, or the indices of its palette.

    Raises:
        DataError: it is no picture, one of colours, or of a format that does not keep values.
    """
    picture = opened(value)
    if picture.format in LOSSY:
        raise DataError(f"expected a mask in a format that keeps its values, such as PNG, got {picture.format}")
    try:
        array = np.asarray(picture)
    except BROKEN as error:
        raise not_whole(error) from None
    if array.ndim == 3:
        colors = array[:, :, : 1 if array.shape[2] == 2 else 3]  # without transparency
        if (colors != colors[:, :, :1]).any():
            raise DataError("expected a mask with one value for each pixel, got colours")
        array = colors[:, :, 0]
    if array.dtype.kind == "f" or int(array.max(initial=0)) > HIGHEST or int(array.min(initial=0)) < 0:
        raise DataError(f"expected whole numbers from 0 to {HIGHEST:,} in a mask, got others")
    return np.asarray(array.astype(np.uint16))
