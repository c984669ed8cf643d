"""pairs: rows of a picture and its mask, each in its own size: folders `images` and `masks`, or a table with both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import DataError
from modelcommons.formats.canonical import canonical
from modelcommons.formats.cells import cells
from modelcommons.formats.digest import sha256
from modelcommons.formats.pictures import IMAGE_NAMES, check_columns, find_column, holds_pictures
from modelcommons.formats.tables import SUFFIXES, Table, read_source
from modelcommons.workbench.fields.image.masks.layout import IMAGES, MASKS, paired
from modelcommons.workbench.fields.image.masks.mask import Mask
from modelcommons.workbench.fields.image.masks.store import HIGHEST, Decoded, Files, Find, Ragged, decoded
from modelcommons.workbench.fields.image.rows import timeless
from modelcommons.workbench.task import BadRow, Column, Reading, Row, Source

VERSION = 1  # of the decoded pictures in the cache
MASK_NAMES = ("mask", "masks", "annotation", "segmentation", "segmentation_mask", "label", "labels", "mask_path")
MOST_CLASSES = 64  # that `classes: auto` makes of the values
BACKGROUND, OBJECT = "background", "object"
SIDE = 128  # pixels of a crop, at most, that `crop: auto` chooses

Change = Literal["flip", "turn", "brightness"]


class Options(BaseModel):
    """`data.options` of image-segmentation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=256)] | Literal["auto"] = Field(
        "auto",
        description="Names of the mask's values 0, 1, ..., background first; of two names the second is all above 0. "
        "`auto`: background and object where there are two values, else the values themselves.",
    )
    color: Literal["auto", "gray", "rgb"] = Field("auto", description="`auto`: gray where every picture is.")
    crop: Annotated[int, Field(ge=8, le=2048)] | Literal["auto"] = Field(
        "auto", description=f"Pixels a side of the pieces trained on; `auto`: as the pictures are, at most {SIDE}."
    )
    augment: tuple[Change, ...] | Literal["auto", "none"] = Field(
        "auto",
        description="How training pieces are varied: `flip` (left and right), `turn` (by quarters), `brightness`; "
        "`auto`: flip and brightness, which fits streets too.",
    )


class Pairs:
    """Pictures with their masks; fulfils the workbench's `Rows`."""

    def __init__(
        self,
        pictures: Ragged,
        masks: Ragged,
        lookup: np.ndarray,  # uint8 (65536,): value in a mask -> index into labels
        labels: tuple[str, ...],
        shapes: np.ndarray,  # int64 (rows of the part, 3)
        names: Sequence[str],
        groups: Sequence[str] | None,
        times: np.ndarray | None,
        index: np.ndarray,  # rows of the part that are left
    ) -> None:
        self._pictures, self._masks, self._lookup, self.labels = pictures, masks, lookup, labels
        self._shapes, self._names, self._groups, self._times, self.index = shapes, names, groups, times, index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Row:
        at = int(self.index[index])
        group = self._groups[at] if self._groups is not None else None
        return Row(self._names[at], self._pictures[at], Mask(self._lookup[self._masks[at]], self.labels), group)

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    def ids(self) -> Iterable[str]:
        return (self._names[at] for at in self.index.tolist())

    def take(self, indices: np.ndarray) -> Pairs:
        index = self.index[np.asarray(indices, np.int64)]
        return Pairs(
            self._pictures, self._masks, self._lookup, self.labels, self._shapes, self._names, self._groups,
            self._times, index,
        )  # fmt: skip

    def moments(self) -> np.ndarray:
        """When each row came about, shape (rows,); only where the data has a column of times."""
        assert self._times is not None
        return np.asarray(self._times[self.index])

    @property
    def shapes(self) -> np.ndarray:
        """Height, width and channels of each picture, int64 (rows, 3)."""
        return np.asarray(self._shapes[self.index])

    def piece(self, index: int, top: int, left: int, side: int) -> tuple[np.ndarray, np.ndarray]:
        """A square of a picture, or what of it lies inside, and of its mask's codes."""
        at = int(self.index[index])
        here = np.s_[top : top + side, left : left + side]
        return self._pictures[at][here], self._lookup[self._masks[at][here]]


# --- reading --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of one part before anything is decoded."""

    names: list[str]  # ids
    places: list[str]  # as people are told
    find: Find
    groups: list[str] | None
    times: np.ndarray | None
    refused: dict[int, str]  # rows that have no time
    strays: list[str]  # files that belong to no picture
    by_path: bool
    num_bad: int  # lines that could not be read


def read(source: Source, columns: Mapping[str, str], options: Options) -> Reading:
    """All pictures and masks of a source, decoded once.

    Raises:
        DataError: neither folders nor columns of pictures and masks are found, the masks have too many values or are
            all empty, or no picture can be read.
    """
    tabular = any(file.path.lower().endswith(SUFFIXES) for file in source.files)
    tables = read_source(source) if tabular else {}
    roles = _roles(tables, columns) if tabular else {}
    found = (
        {split: _of_table(source, table, roles) for split, table in tables.items()} if tabular else _of_folders(source)
    )
    key = canonical([VERSION, source.sha256, roles])
    parts = {
        split: decoded(len(part.names), part.find, None if part.by_path else f"{sha256(key)[:32]}-{split}")
        for split, part in found.items()
    }
    broken = {split: _broken(part, found[split], options) for split, part in parts.items()}
    bad = [bad for split, part in found.items() for bad in _bad(part, broken[split])]
    bad = [*(BadRow(line.where, line.reason) for table in tables.values() for line in table.bad), *bad]
    if all(len(broken[split]) == len(part.names) for split, part in found.items()):
        raise DataError(f"None of the pictures can be used; {bad[0].where}: {bad[0].reason}. Get them again.")
    values = sorted({value for part in parts.values() for each in part.listing.values for value in each})
    labels, lookup = _classes(values, options)
    made = {
        split: Pairs(
            part.pictures, part.masks, lookup, labels, np.array(part.listing.shapes, np.int64).reshape(-1, 3),
            found[split].names, found[split].groups, found[split].times,
            np.array([row for row in range(len(found[split].names)) if row not in broken[split]], np.int64),
        )
        for split, part in parts.items()
    }  # fmt: skip
    num_bad = sum(part.num_bad + len(part.strays) + len(broken[split]) for split, part in found.items())
    num_good = sum(map(len, made.values()))
    return Reading(
        made, tuple(_columns(tables, roles, made)), tuple(bad[:5]), num_bad, num_good + num_bad, (_note(made),)
    )


def _roles(tables: Mapping[str, Table], columns: Mapping[str, str]) -> dict[str, str]:
    """The column of each role that there is."""
    table = next(iter(tables.values()))
    check_columns(table, columns)
    roles = dict(columns)
    for role, names in (("mask", MASK_NAMES), ("image", IMAGE_NAMES)):
        if role not in roles:
            name = find_column(table, names, partial(_may_be, table, frozenset(roles.values())))
            if name is None:
                raise DataError(
                    f"Expected a column of {role}s, found none among {', '.join(table.columns)}. "
                    f"Name it in the recipe: data.columns.{role}."
                )
            roles[role] = name
    return roles


def _may_be(table: Table, taken: frozenset[str], name: str) -> bool:
    return name not in taken and holds_pictures(table, name)


def _of_table(source: Source, table: Table, roles: Mapping[str, str]) -> Found:
    by_path = [table.kinds[roles[role]] == "text" for role in ("image", "mask")]
    picture, mask = (
        cells(source, table, roles[role], path) for role, path in zip(("image", "mask"), by_path, strict=True)
    )

    def find(row: int) -> Files:
        return picture(row), (mask(row),)

    names = list(table.ids(roles.get("id")))
    if any(by_path):  # files that a table only points to are not in the data's digest, so theirs goes into the id
        names = [f"{name}#{_digest(find, row)}" for row, name in enumerate(names)]
    groups = [str(value) for value in table.column(roles["group"]).to_pylist()] if "group" in roles else None
    times = table.moments(roles["time"]) if "time" in roles else None
    refused = timeless(table, roles.get("time"))
    places = [table.where(row) for row in range(len(table))]
    return Found(names, places, find, groups, times, refused, [], any(by_path), table.num_bad)


def _digest(find: Find, row: int) -> str:
    digest = hashlib.sha256()
    try:
        picture, masks = find(row)
        for file in (picture, *masks):
            digest.update(file.read_bytes() if isinstance(file, Path) else file)
    except (DataError, OSError):
        return "unread"  # decoding says why
    return digest.hexdigest()[:16]


def _of_folders(source: Source) -> dict[str, Found]:
    """
    Raises:
        DataError: no picture lies below a folder `images`.
    """
    parts: dict[str, list[str]] = {}
    for file in source.files:
        parts.setdefault(file.split or "all", []).append(file.path)
    found: dict[str, Found] = {}
    for split, paths in parts.items():
        masks, strays = paired(paths)
        if masks:
            found[split] = _of_files(source.folder, masks, strays)
    if not found:
        raise DataError(
            f"Expected pictures below a folder '{IMAGES}' and their masks, of the same names, below '{MASKS}', or a "
            "table with columns of both; found neither. Name the folders so."
        )
    return found


def _of_files(folder: Path, masks: Mapping[str, list[str]], strays: list[str]) -> Found:
    names = list(masks)

    def find(row: int) -> Files:
        return folder / names[row], tuple(folder / path for path in masks[names[row]])

    return Found(names, names, find, None, None, {}, strays, False, 0)


def _classes(values: Sequence[int], options: Options) -> tuple[tuple[str, ...], np.ndarray]:
    """The labels, and the index into them of every value that a mask may have.

    Raises:
        DataError: the masks are all empty, or have too many values.
    """
    lookup = np.zeros(HIGHEST + 1, np.uint8)
    labels = options.classes
    if len(values) < 2:
        raise DataError("Expected masks with an object in some of them, all of their pixels have one value.")
    if labels == "auto" and len(values) > MOST_CLASSES:
        raise DataError(
            f"The masks have {len(values):,} different values, expected at most {MOST_CLASSES}. Name the classes: "
            "data.options.classes; of two names the second is all above 0."
        )
    if labels == "auto" and (len(values) > 2 or values[0]):
        lookup[list(values)] = np.arange(len(values))
        return tuple(str(value) if value else BACKGROUND for value in values), lookup
    names = (BACKGROUND, OBJECT) if labels == "auto" else labels
    lookup[: len(names)] = np.arange(len(names))
    if len(names) == 2:
        lookup[1:] = 1
    return names, lookup


def _broken(part: Decoded, found: Found, options: Options) -> dict[int, str]:
    """Rows that cannot be used, and why."""
    highest = len(options.classes) - 1 if options.classes != "auto" and len(options.classes) > 2 else HIGHEST
    unnamed = {
        row: f"mask value {values[-1]}, expected 0 to {highest}"
        for row, values in enumerate(part.listing.values)
        if values and values[-1] > highest
    }
    return {**unnamed, **found.refused, **part.listing.broken}


def _bad(found: Found, broken: Mapping[int, str]) -> Iterator[BadRow]:
    for row in sorted(broken):
        yield BadRow(found.places[row], broken[row])
    for path in found.strays:
        yield BadRow(path, f"expected a picture below '{IMAGES}', or the mask of one below '{MASKS}'")


# --- the report -----------------------------------------------------------------------------------------------------


def _columns(tables: Mapping[str, Table], roles: Mapping[str, str], parts: Mapping[str, Pairs]) -> Iterator[Column]:
    first = next(iter(parts.values()))
    labels = ", ".join(first.labels[:4])
    if not tables:
        yield Column(IMAGES, "image", "image", 0)
        yield Column(MASKS, "image", "mask", 0, len(first.labels), labels)
        return
    role_of = {name: role for role, name in roles.items()}
    for name in next(iter(tables.values())).columns:
        role = role_of.get(name, "unused")
        missing = sum(int(table.missing(name).sum()) for table in tables.values())
        kind = "image" if role in ("image", "mask") else next(iter(tables.values())).kinds[name]
        distinct, example = (len(first.labels), labels) if role == "mask" else (None, "")
        yield Column(name, kind, role, missing, distinct, example)


def _note(parts: Mapping[str, Pairs]) -> str:
    shapes = np.concatenate([part.shapes for part in parts.values()])
    (low_height, low_width), (height, width) = shapes[:, :2].min(axis=0).tolist(), shapes[:, :2].max(axis=0).tolist()
    labels = next(iter(parts.values())).labels
    return (
        f"pictures from {low_width} x {low_height} to {width} x {height} pixels; classes: {', '.join(labels[:8])}"
        f"{', ...' if len(labels) > 8 else ''}"
    )
