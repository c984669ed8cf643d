"""rows of pictures with labels: Parquet with the bytes, folders named by class, or a table with a column of paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import DataError
from modelcommons.formats.cells import cells, names_of
from modelcommons.formats.pictures import IMAGE_NAMES, LARGEST, check_columns, decoded, find_column, holds_pictures
from modelcommons.formats.pixels import Shape, native
from modelcommons.formats.tables import IMAGE_SUFFIXES, Table, files_in, read_source
from modelcommons.workbench.engine.augment import Change
from modelcommons.workbench.task import BadRow, Column, Reading, Row, Source

MOST_CLASSES = 10_000

LABEL_NAMES = ("label", "labels", "class", "category", "target", "y", "fine_label")
LABEL_KINDS = ("category", "integer", "text", "boolean")


class Options(BaseModel):
    """`data.options` of an image task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=4, le=1024)] | Literal["auto"] = Field(
        "auto", description=f"Pixels a side; `auto`: as the pictures are where all are alike, at most {LARGEST}."
    )
    color: Literal["auto", "gray", "rgb"] = Field("auto", description="`auto`: gray where every picture is.")
    augment: tuple[Change, ...] | Literal["auto", "none"] = Field(
        "auto",
        description="How training pictures are varied: `flip` (left and right), `crop` (shifted), `cutout` (a square "
        "left out); `auto`: crop, which fits digits and letters too.",
    )
    early_size: Annotated[int, Field(ge=4, le=1024)] | None = Field(
        None,
        description="Pixels a side of the squares, cut from anywhere in the pictures, that training of a new network "
        "begins with: its steps are cheaper, and whole pictures come later.",
    )
    early_share: float = Field(0.8, gt=0, lt=1, description="Share of the steps on squares of `early_size`.")


class Pictures:
    """Decoded pictures with their labels; fulfils the workbench's `Rows`."""

    def __init__(
        self,
        pixels: np.ndarray,  # (rows of the part, height, width, channels) uint8, possibly memory-mapped
        codes: np.ndarray,  # (rows of the part,) index into labels
        labels: tuple[str, ...],
        names: Sequence[str],
        groups: Sequence[str] | None,
        times: np.ndarray | None = None,  # (rows of the part,) what sorts
        index: np.ndarray | None = None,
    ) -> None:
        self._pixels, self._codes, self.labels, self._names, self._groups = pixels, codes, labels, names, groups
        self._times = times
        self.index = np.arange(len(pixels)) if index is None else index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Row:
        at = int(self.index[index])
        group = self._groups[at] if self._groups is not None else None
        return Row(self._names[at], np.asarray(self._pixels[at]), self.labels[self._codes[at]], group)

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    def ids(self) -> Iterable[str]:
        return (self._names[at] for at in self.index.tolist())

    def take(self, indices: np.ndarray) -> Pictures:
        index = self.index[np.asarray(indices, np.int64)]
        return Pictures(self._pixels, self._codes, self.labels, self._names, self._groups, self._times, index)

    def moments(self) -> np.ndarray:
        """When each row came about, shape (rows,); only where the data has a column of times."""
        assert self._times is not None
        return np.asarray(self._times[self.index])

    @property
    def shape(self) -> Shape:
        return Shape(*self._pixels.shape[1:])

    @property
    def codes(self) -> np.ndarray:
        """Index into `labels` of every row, shape (rows,)."""
        return np.asarray(self._codes[self.index])

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        """The pictures of these rows, uint8 (rows, height, width, channels)."""
        return np.asarray(self._pixels[self.index[indices]])


@dataclass(frozen=True, slots=True)
class Roles:
    """Which column is what."""

    image: str
    label: str
    id: str | None
    group: str | None
    time: str | None
    by_path: bool  # the image column holds paths of files that are not part of the source


# --- reading --------------------------------------------------------------------------------------------------------


def read(source: Source, columns: Mapping[str, str], options: Options) -> Reading:
    """All pictures of a source, decoded once to one shape.

    Raises:
        DataError: no column of pictures or labels is found, there is one class only, or no picture can be read.
    """
    tables = read_source(source)
    roles = find_roles(tables, columns)
    labels = _labels(tables, roles.label)
    tables = {split: table.refuse(table.codes(roles.label, labels) < 0, "no label") for split, table in tables.items()}
    values = {split: cells(source, table, roles.image, roles.by_path) for split, table in tables.items()}
    about = None if roles.by_path else [source.sha256, roles.image, roles.label, options.size, options.color]
    found = decoded(tables, values, options.size, options.color, about)
    parts: dict[str, Pictures] = {}
    for split, table in tables.items():
        array, unreadable = found[split]
        broken = unreadable | timeless(table, roles.time)
        good = np.array([index not in broken for index in range(len(table))], bool)
        names = names_of(table.ids(roles.id), values[split], good if roles.by_path else None)
        tables[split] = left = table.refuse(~good, lambda index, why=broken: why[index])  # type: ignore[misc]
        groups = [str(value) for value in left.column(roles.group).to_pylist()] if roles.group else None
        kept = [name for name, keep in zip(names, good.tolist(), strict=True) if keep]
        whole = array if good.all() else array[good]
        times = left.moments(roles.time) if roles.time else None
        parts[split] = Pictures(whole, left.codes(roles.label, labels), labels, kept, groups, times)
    return _reading(tables, parts, roles, labels)


def find_roles(tables: Mapping[str, Table], columns: Mapping[str, str]) -> Roles:
    """The columns as the recipe names them; those not named are found by name and kind."""
    table = next(iter(tables.values()))
    check_columns(table, columns)
    image = columns.get("image") or find_column(table, IMAGE_NAMES, lambda name: holds_pictures(table, name))
    label = columns.get("label") or find_column(
        table,
        LABEL_NAMES,
        lambda name: name != image and table.kinds[name] in ("category", "integer", "text", "boolean"),
    )
    for role, found in (("image", image), ("label", label)):
        if found is None:
            raise DataError(
                f"Expected a column of {role}s, found none among {', '.join(table.columns)}. "
                f"Name it in the recipe: data.columns.{role}."
            )
    assert image is not None and label is not None
    by_path = table.kinds[image] == "text"
    return Roles(image, label, columns.get("id"), columns.get("group"), columns.get("time"), by_path)


def _labels(tables: Mapping[str, Table], column: str) -> tuple[str, ...]:
    """The classes of all parts, those of the first part first."""
    labels = tuple(dict.fromkeys(label for table in tables.values() for label in table.classes(column)))
    if len(labels) < 2:
        raise DataError(
            f"Expected at least two classes in '{column}', found {len(labels)}: {', '.join(labels)}. "
            "Give pictures of another class too, or name another column: data.columns.label."
        )
    if len(labels) > MOST_CLASSES:
        raise DataError(
            f"'{column}' has {len(labels):,} different values, expected at most {MOST_CLASSES:,} classes. "
            "Name another column in the recipe: data.columns.label."
        )
    return labels


def timeless(table: Table, column: str | None) -> dict[int, str]:
    """Rows without a time, where one is asked for: index -> why they cannot be used."""
    if column is None:
        return {}
    return {int(index): f"no time in column '{column}'" for index in np.flatnonzero(np.isnan(table.moments(column)))}


# --- the report -----------------------------------------------------------------------------------------------------


def _reading(
    tables: Mapping[str, Table], parts: Mapping[str, Pictures], roles: Roles, labels: tuple[str, ...]
) -> Reading:
    bad = tuple(BadRow(line.where, line.reason) for table in tables.values() for line in table.bad)
    return Reading(
        parts=parts,
        columns=tuple(_columns(tables, parts, roles, labels)),
        bad=bad[:5],
        num_bad=sum(table.num_bad for table in tables.values()),
        num_read=sum(table.num_read for table in tables.values()),
    )


def _columns(
    tables: Mapping[str, Table], parts: Mapping[str, Pictures], roles: Roles, labels: tuple[str, ...]
) -> Iterator[Column]:
    shape = next(iter(parts.values())).shape
    color = "gray" if shape.channels == 1 else "color"
    for name in next(iter(tables.values())).columns:
        missing = sum(int(table.missing(name).sum()) for table in tables.values())
        match name:
            case roles.image:
                yield Column(name, "image", "image", missing, None, f"{shape.width} x {shape.height} {color}")
            case roles.label:
                yield Column(name, "category", "label", missing, len(labels), labels[0])
            case _:
                named = {roles.time: "time", roles.group: "group", roles.id: "id"}
                yield Column(name, next(iter(tables.values())).kinds[name], named.get(name, "unused"), missing)


def anymap(picture: np.ndarray) -> bytes:
    """The decoded picture as a portable any-map, so that two files of the same pixels are the same."""
    height, width, channels = picture.shape
    header = f"P{5 if channels == 1 else 6} {width} {height} 255\n"
    return header.encode() + bytes(picture.tobytes())


def read_input(value: Any) -> list[Row]:
    """Rows from a path, a folder, bytes, an array or a PIL image, each in its own size; or from a list of such.

    Raises:
        DataError: one is no picture.
    """
    if isinstance(value, (list, tuple)):
        return [row for one in value for row in read_input(one)]
    if isinstance(value, (str, Path)) and Path(value).is_dir():
        return read_input(files_in(Path(value), IMAGE_SUFFIXES))
    name = str(value) if isinstance(value, (str, Path)) else "input"
    try:
        return [Row(name, native(value))]
    except DataError as error:
        raise DataError(f"{name}: {error}. Hand in a picture.") from None
