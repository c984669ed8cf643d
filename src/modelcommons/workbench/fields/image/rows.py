"""rows of pictures with labels: Parquet with the bytes, folders named by class, or a table with a column of paths."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import DataError
from modelcommons.formats.cache import cache_folder, replacing
from modelcommons.formats.canonical import canonical
from modelcommons.formats.digest import sha256
from modelcommons.formats.tables import IMAGE_SUFFIXES, Table, read_source
from modelcommons.workbench.fields.image.pixels import GRAY_MODES, Shape, native, opened, pixels, upright_size
from modelcommons.workbench.task import BadRow, Column, Reading, Row, Source

VERSION = 1  # of the decoded pictures in the cache
IN_MEMORY = 16 * 2**20  # bytes; more decoded pictures than this are kept in the cache and memory-mapped
LARGEST = 224  # pixels a side that `size: auto` chooses at most
MOST_CLASSES = 10_000

IMAGE_NAMES = ("image", "img", "picture", "photo", "pixels", "path", "file", "file_name", "filename", "image_path")
LABEL_NAMES = ("label", "labels", "class", "category", "target", "y", "fine_label")
LABEL_KINDS = ("category", "integer", "text", "boolean")

Change = Literal["flip", "crop", "cutout"]


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
    decoded = _decoded(source, tables, values, roles, options)
    parts: dict[str, Pictures] = {}
    for split, table in tables.items():
        array, unreadable = decoded[split]
        broken = unreadable | timeless(table, roles.time)
        good = np.array([index not in broken for index in range(len(table))], bool)
        names = _names(table.ids(roles.id), values[split], good if roles.by_path else None)
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


def cells(source: Source, table: Table, column: str, by_path: bool) -> Callable[[int], bytes | Path]:
    """How to get at the picture of a row: its bytes, or (`by_path`) the path of a file beside the table.

    Raises (when called):
        DataError: there is nothing, or the path leads out of the source's folder.
    """

    def value(index: int) -> bytes | Path:
        found = table.row(index, [column])[column]
        if found is None:
            raise DataError("expected a picture, got nothing")
        if not by_path:
            return bytes(found)
        folder = (source.folder / table.where(index).rpartition(":")[0]).parent
        path = Path(folder, str(found)).resolve()
        if not path.is_relative_to(source.folder.resolve()):
            raise DataError(f"expected a path inside the data's folder, got {found}")
        return path

    return value


def _names(ids: Iterable[str], value: Callable[[int], bytes | Path], by_path: np.ndarray | None) -> list[str]:
    """Row ids. Files that a table only points to are not in the data's digest, so their digest goes into the id."""
    names = list(ids)
    for index in np.flatnonzero(by_path).tolist() if by_path is not None else ():
        path = value(index)
        assert isinstance(path, Path)
        names[index] += f"#{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    return names


# --- decoding -------------------------------------------------------------------------------------------------------

Decoded = tuple[np.ndarray, dict[int, str]]  # pixels of all rows (zeros where broken), and why rows are broken


def _decoded(
    source: Source,
    tables: Mapping[str, Table],
    values: Mapping[str, Callable[[int], bytes | Path]],
    roles: Roles,
    options: Options,
) -> dict[str, Decoded]:
    """The pictures of every part, from the cache when they were decoded before."""
    key = sha256(canonical([VERSION, source.sha256, roles.image, roles.label, options.size, options.color]))[:32]
    stored = {} if roles.by_path else {split: _stored(key, split) for split in tables}
    if stored and all(stored.values()):
        return {split: found for split, found in stored.items() if found}
    shape = _shape(tables, values, options)
    num_bytes = sum(len(table) for table in tables.values()) * shape.height * shape.width * shape.channels
    keep = num_bytes > IN_MEMORY and not roles.by_path
    return {
        split: _store(key, split, len(table), values[split], shape)
        if keep
        else _decode(np.zeros((len(table), *shape.dimensions), np.uint8), values[split], shape)
        for split, table in tables.items()
    }


def _shape(tables: Mapping[str, Table], values: Mapping[str, Callable[[int], bytes | Path]], options: Options) -> Shape:
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
    height, width = (options.size, options.size) if options.size != "auto" else _common(sizes)
    channels = 1 if options.color == "gray" or (options.color == "auto" and gray) else 3
    return Shape(height, width, channels)


def _common(sizes: Mapping[tuple[int, int], int]) -> tuple[int, int]:
    """The size all pictures have; else a square of their median side, in eights; never above `LARGEST`."""
    if len(sizes) == 1 and max(next(iter(sizes))) <= LARGEST:
        return next(iter(sizes))
    sides = np.repeat([min(size) for size in sizes], list(sizes.values()))
    side = min(LARGEST, max(8, round(float(np.median(sides)) / 8) * 8))
    return side, side


def _decode(out: np.ndarray, value: Callable[[int], bytes | Path], shape: Shape) -> Decoded:
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


def _store(key: str, split: str, num_rows: int, value: Callable[[int], bytes | Path], shape: Shape) -> Decoded:
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
        return read_input(sorted(path for path in Path(value).rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES))
    name = str(value) if isinstance(value, (str, Path)) else "input"
    try:
        return [Row(name, native(value))]
    except DataError as error:
        raise DataError(f"{name}: {error}. Hand in a picture.") from None
