"""pictures: those of a table as one array of bytes, in one shape; decoded once, memory-mapped where many."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from modelcommons.errors import DataError
from modelcommons.formats.cache import cache_folder, replacing
from modelcommons.formats.canonical import canonical
from modelcommons.formats.cells import Value
from modelcommons.formats.digest import sha256
from modelcommons.formats.pixels import GRAY_MODES, Shape, opened, pixels, upright_size
from modelcommons.formats.tables import IMAGE_SUFFIXES, Table

VERSION = 1  # of the decoded pictures in the cache
IN_MEMORY = 16 * 2**20  # bytes; more decoded pictures than this are kept in the cache and memory-mapped
LARGEST = 224  # pixels a side that `size: auto` chooses at most

IMAGE_NAMES = ("image", "img", "picture", "photo", "pixels", "path", "file", "file_name", "filename", "image_path")


def check_columns(table: Table, columns: Mapping[str, str]) -> None:
    """Raises: DataError: the recipe names a column that is not there."""
    for role, name in columns.items():
        if name not in table.columns:
            raise DataError(
                f"data.columns.{role}: there is no column '{name}'. The columns are {', '.join(table.columns)}."
            )


def find_column(table: Table, names: Sequence[str], fits: Callable[[str], bool]) -> str | None:
    """The first column of a usual name that fits, else the only one that does."""
    lower = {name.lower(): name for name in table.columns}
    usual = [lower[name] for name in names if name in lower and fits(lower[name])]
    return next(iter(usual), None) or next(iter(_only([name for name in table.columns if fits(name)])), None)


def _only(found: list[str]) -> list[str]:
    return found if len(found) == 1 else []


def holds_pictures(table: Table, name: str) -> bool:
    """Whether a column holds the bytes of pictures, or paths of picture files."""
    if table.kinds[name] != "text":
        return table.kinds[name] in ("image", "bytes")
    first = table.row(0, [name])[name] if len(table) else None
    return isinstance(first, str) and first.lower().endswith(IMAGE_SUFFIXES)


# --- decoding -------------------------------------------------------------------------------------------------------

Decoded = tuple[np.ndarray, dict[int, str]]  # pixels of all rows (zeros where broken), and why rows are broken


def decoded(
    tables: Mapping[str, Table],
    values: Mapping[str, Value],
    size: int | Literal["auto"],
    color: Literal["auto", "gray", "rgb"],
    about: Sequence[Any] | None,
) -> dict[str, Decoded]:
    """The pictures of every part in one shape, from the cache when they were decoded before.

    Args:
        values: how to get at the picture of a row, by part.
        about: everything the pictures and their order depend on; None: files outside the data's digest, never cached.

    Raises:
        DataError: no picture can be read.
    """
    key = sha256(canonical([VERSION, *about]))[:32] if about else ""
    stored = {split: _stored(key, split) for split in tables} if about else {}
    if stored and all(stored.values()):
        return {split: found for split, found in stored.items() if found}
    shape = _shape(tables, values, size, color)
    num_bytes = sum(len(table) for table in tables.values()) * shape.height * shape.width * shape.channels
    keep = num_bytes > IN_MEMORY and about is not None
    return {
        split: _store(key, split, len(table), values[split], shape)
        if keep
        else _decode(np.zeros((len(table), *shape.dimensions), np.uint8), values[split], shape)
        for split, table in tables.items()
    }


def _shape(tables: Mapping[str, Table], values: Mapping[str, Value], side: int | Literal["auto"], color: str) -> Shape:
    """The one shape of all pictures, from their headers."""
    sizes: dict[tuple[int, int], int] = {}
    gray, why = True, "there is none"
    for split, table in tables.items():
        for index in range(len(table)):
            try:
                picture = opened(values[split](index))
                size = upright_size(picture)
            except DataError as error:
                why = f"{table.where(index)}: {error}"
                continue
            sizes[size] = sizes.get(size, 0) + 1
            gray = gray and picture.mode in GRAY_MODES
    if not sizes:
        raise DataError(f"None of the pictures can be read; {why}. Get them again.")
    height, width = (side, side) if side != "auto" else _common(sizes)
    channels = 1 if color == "gray" or (color == "auto" and gray) else 3
    return Shape(height, width, channels)


def _common(sizes: Mapping[tuple[int, int], int]) -> tuple[int, int]:
    """The size all pictures have; else a square of their median side, in eights; never above `LARGEST`."""
    if len(sizes) == 1 and max(next(iter(sizes))) <= LARGEST:
        return next(iter(sizes))
    sides = np.repeat([min(size) for size in sizes], list(sizes.values()))
    side = min(LARGEST, max(8, round(float(np.median(sides)) / 8) * 8))
    return side, side


def _decode(out: np.ndarray, value: Value, shape: Shape) -> Decoded:
    broken: dict[int, str] = {}
    for index in range(len(out)):
        try:
            out[index] = pixels(value(index), shape)
        except DataError as error:
            broken[index] = str(error)
    return out, broken


def _paths(key: str, split: str) -> tuple[Path, Path]:
    folder = cache_folder("pictures")
    return folder / f"{key}-{split}.npy", folder / f"{key}-{split}.json"


def _store(key: str, split: str, num_rows: int, value: Value, shape: Shape) -> Decoded:
    """Decodes into a file in the cache, row by row, and maps it; the list of broken rows is written last."""
    array, listing = _paths(key, split)
    with replacing(array) as part:
        out = np.lib.format.open_memmap(part, "w+", np.uint8, (num_rows, *shape.dimensions))
        _, broken = _decode(out, value, shape)
        out.flush()
        del out
    with replacing(listing) as part:
        part.write_text(json.dumps(broken), encoding="utf-8")
    return np.load(array, mmap_mode="r"), broken


def _stored(key: str, split: str) -> Decoded | None:
    array, listing = _paths(key, split)
    if not (array.is_file() and listing.is_file()):
        return None
    broken = json.loads(listing.read_text(encoding="utf-8"))
    return np.load(array, mmap_mode="r"), {int(index): why for index, why in broken.items()}
