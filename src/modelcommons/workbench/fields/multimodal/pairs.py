"""pairs: rows of a picture and a text that belongs to it; what is asked of each is asked among all of its part."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
from modelcommons.workbench.engine.split import divide
from modelcommons.workbench.task import BadRow, Column, Parts, Reading, Row, Source, Split, column_of

TEXT_NAMES = ("text", "caption", "captions", "description", "alt", "sentence", "keywords", "title", "name", "label")
BETWEEN = ", "  # words of a cell that holds a list


class Options(BaseModel):
    """`data.options` of image-text matching."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=4, le=1024)] | Literal["auto"] = Field(
        "auto", description=f"Pixels a side; `auto`: as the pictures are where all are alike, at most {LARGEST}."
    )
    color: Literal["auto", "gray", "rgb"] = Field("auto", description="`auto`: gray where every picture is.")
    augment: tuple[Change, ...] | Literal["auto", "none"] = Field(
        "auto",
        description="How training pictures are varied: `flip` (left and right), `crop` (shifted), `cutout` (a square "
        "left out); `auto`: crop, since a text may say left or right.",
    )


# --- what is ranked -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Gallery:
    """The candidates: distinct pictures and distinct texts, and which of them belong together."""

    pictures: Sequence[np.ndarray]  # each uint8 (height, width, channels)
    texts: Sequence[str]
    picture_ids: Sequence[str]
    text_ids: Sequence[str]
    pairs: np.ndarray  # (pairs, 2) int64: a picture and a text that belong together

    @cached_property
    def texts_of(self) -> Mapping[int, np.ndarray]:
        """Indices of the texts that belong to each picture."""
        return _grouped(self.pairs[:, 0], self.pairs[:, 1])

    @cached_property
    def pictures_of(self) -> Mapping[int, np.ndarray]:
        """Indices of the pictures that belong to each text."""
        return _grouped(self.pairs[:, 1], self.pairs[:, 0])


def _grouped(keys: np.ndarray, values: np.ndarray) -> dict[int, np.ndarray]:
    order = np.argsort(keys, kind="stable")
    names, starts = np.unique(keys[order], return_index=True)
    return dict(zip(names.tolist(), np.split(values[order], starts[1:]), strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Where a picture stands among the gallery's for its text, and the text among its texts; or one side alone."""

    gallery: Gallery
    picture: int | None  # index into the gallery; None: pictures for the text are asked for
    text: int | None
    category: str = ""


# --- rows -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Data:
    """What a source holds: one entry for each row."""

    pixels: np.ndarray  # (rows, height, width, channels) uint8, possibly memory-mapped
    texts: Sequence[str]
    names: Sequence[str]  # row ids
    digests: Sequence[str]  # of the pictures' files: rows of one picture have the same
    groups: Sequence[str] | None
    categories: Sequence[str] | None
    times: np.ndarray | None


class Pairs:
    """Pictures with their texts; fulfils the workbench's `Rows`. Its own rows are the candidates of each."""

    def __init__(self, data: Data, index: np.ndarray | None = None) -> None:
        self.data = data
        self.index = np.arange(len(data.names)) if index is None else index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Row:
        at = int(self.index[index])
        picture, text = self.gallery.pairs[index].tolist()
        category = self.data.categories[at] if self.data.categories else ""
        asked = Asked(self.gallery, picture, text, category)
        return Row(self.data.names[at], asked, self.data.texts[at], self._group(at))

    def ids(self) -> Iterable[str]:
        return (self.data.names[at] for at in self.index.tolist())

    def take(self, indices: np.ndarray) -> Pairs:
        return Pairs(self.data, self.index[np.asarray(indices, np.int64)])

    def _group(self, at: int) -> str:
        """Rows of one picture stay together, whatever else does."""
        return self.data.groups[at] if self.data.groups else self.data.digests[at]

    def groups(self) -> list[str]:
        return [self._group(at) for at in self.index.tolist()]

    def moments(self) -> np.ndarray:
        """When each row came about, (rows,); only where the data has a column of times."""
        assert self.data.times is not None
        return np.asarray(self.data.times[self.index])

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        """The pictures of these rows, uint8 (rows, height, width, channels)."""
        return np.asarray(self.data.pixels[self.index[indices]])

    def texts(self) -> list[str]:
        return [self.data.texts[at] for at in self.index.tolist()]

    @property
    def shape(self) -> Shape:
        return Shape(*self.data.pixels.shape[1:])

    @cached_property
    def gallery(self) -> Gallery:
        """The distinct pictures and texts of these rows, called after the first row that has them."""
        rows = self.index.tolist()
        pictures, picture_of = _distinct([self.data.digests[at] for at in rows])
        texts, text_of = _distinct([self.data.texts[at] for at in rows])
        return Gallery(
            [self.data.pixels[rows[at]] for at in pictures], [self.data.texts[rows[at]] for at in texts],
            [self.data.names[rows[at]] for at in pictures], [self.data.names[rows[at]] for at in texts],
            np.array([picture_of, text_of], np.int64).T.reshape(-1, 2),
        )  # fmt: skip


def _distinct(values: Sequence[str]) -> tuple[list[int], list[int]]:
    """Where each value comes first, and each row's number among these."""
    code: dict[str, int] = {}
    first: list[int] = []
    codes: list[int] = []
    for at, value in enumerate(values):
        if value not in code:
            code[value] = len(first)
            first.append(at)
        codes.append(code[value])
    return first, codes


def split(reading: Reading, how: Split) -> Parts:
    """Official parts kept; else by hash of the group, or of the picture: its texts stay together."""
    timed = column_of("time", reading.columns) is not None
    parts: Mapping[str, Pairs] = reading.parts  # type: ignore[assignment]
    return Parts(*divide(parts, how, "group", groups=Pairs.groups, times=Pairs.moments if timed else None))


# --- reading --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Roles:
    """Which column is what."""

    image: str
    text: str
    id: str | None
    group: str | None
    category: str | None
    time: str | None
    by_path: bool  # the image column holds paths of files beside the table


def read(source: Source, columns: Mapping[str, str], options: Options) -> Reading:
    """All pairs of a source: a table with pictures, or one with their paths such as `metadata.csv` beside them.

    Raises:
        DataError: no column of pictures or texts is found, or no picture can be read.
    """
    parts = read_source(source)
    roles = find_roles(next(iter(parts.values())), columns)
    for split_name, table in parts.items():
        parts[split_name] = _refused(table, roles)
    values = {name: cells(source, table, roles.image, roles.by_path) for name, table in parts.items()}
    known = [source.sha256, roles.image, roles.text, roles.time, options.size, options.color]
    about = None if roles.by_path else known
    pictures = decoded(parts, values, options.size, options.color, about)
    made: dict[str, Pairs] = {}
    for name, table in parts.items():
        array, broken = pictures[name]
        good = np.array([index not in broken for index in range(len(table))], bool)
        names = np.array(names_of(table.ids(roles.id), values[name], good if roles.by_path else None), object)[good]
        parts[name] = left = table.refuse(~good, lambda index, why=broken: why[index])  # type: ignore[misc]
        array = array if good.all() else array[good]
        digests = [_digest(values[name](at)) for at in np.flatnonzero(good).tolist()]
        made[name] = Pairs(_data(left, roles, array, names.tolist(), digests))
    return _reading(parts, made, roles)


def _digest(picture: bytes | Path) -> str:
    """Of a picture's file, whatever size it is decoded to."""
    return hashlib.sha256(picture.read_bytes() if isinstance(picture, Path) else picture).hexdigest()[:16]


def _data(table: Table, roles: Roles, pixels: np.ndarray, names: Sequence[str], digests: Sequence[str]) -> Data:
    def plain(column: str | None) -> list[str] | None:
        return [str(table.row(at, [column])[column]) for at in range(len(table))] if column else None

    return Data(
        pixels, [text_of(table.row(at, [roles.text])[roles.text]) for at in range(len(table))], names, digests,
        plain(roles.group), plain(roles.category), table.moments(roles.time) if roles.time else None,
    )  # fmt: skip


def text_of(cell: Any) -> str:
    """A cell as a text; a list of words with commas between them."""
    words = [str(word) for word in cell] if isinstance(cell, (list, tuple)) else [str(cell or "")]
    return BETWEEN.join(word.strip() for word in words if word.strip())


def _refused(table: Table, roles: Roles) -> Table:
    """Without the rows that have no text, or no time where one is asked for."""
    empty = [not text_of(table.row(at, [roles.text])[roles.text]) for at in range(len(table))]
    table = table.refuse(np.array(empty, bool), f"no text in column '{roles.text}'")
    if roles.time is None:
        return table
    return table.refuse(np.isnan(table.moments(roles.time)), f"no time in column '{roles.time}'")


def find_roles(table: Table, columns: Mapping[str, str]) -> Roles:
    """The columns as the recipe names them; pictures and texts are found by name and kind where it does not.

    Raises:
        DataError: a column is not there, or cannot be found.
    """
    check_columns(table, columns)
    taken = {name for role, name in columns.items() if role != "text"}
    image = columns.get("image") or find_column(table, IMAGE_NAMES, lambda name: holds_pictures(table, name))
    text = columns.get("text") or find_column(
        table, TEXT_NAMES, lambda name: name not in taken | {image} and table.kinds[name] in ("text", "json")
    )
    for role, found in (("image", image), ("text", text)):
        if found is None:
            raise DataError(
                f"Expected a column of {role}s, found none among {', '.join(table.columns)}. "
                f"Name it in the recipe: data.columns.{role}."
            )
    assert image is not None and text is not None
    id, group, category, time = (columns.get(role) for role in ("id", "group", "category", "time"))
    return Roles(image, text, id, group, category, time, by_path=table.kinds[image] == "text")


def _reading(parts: Mapping[str, Table], made: Mapping[str, Pairs], roles: Roles) -> Reading:
    bad = [BadRow(line.where, line.reason) for table in parts.values() for line in table.bad]
    return Reading(
        parts=made,
        columns=tuple(_columns(parts, made, roles)),
        bad=tuple(bad[:5]),
        num_bad=sum(table.num_bad for table in parts.values()),
        num_read=sum(table.num_read for table in parts.values()),
    )


def _columns(parts: Mapping[str, Table], made: Mapping[str, Pairs], roles: Roles) -> Iterator[Column]:
    first, pairs = next(iter(parts.values())), next(iter(made.values()))
    height, width, channels = pairs.shape.dimensions
    named = {roles.time: "time", roles.category: "category", roles.group: "group", roles.id: "id", roles.text: "text"}
    for name in first.columns:
        missing = sum(int(table.missing(name).sum()) for table in parts.values())
        if name == roles.image:
            example = f"{width} x {height} {'gray' if channels == 1 else 'color'}"
            yield Column(name, "image", "image", missing, None, example)
        else:
            example = pairs.data.texts[0][:40] if name == roles.text and len(pairs) else ""
            yield Column(name, first.kinds[name], named.get(name, "unused"), missing, None, example)


# --- what a person asks ---------------------------------------------------------------------------------------------

WANTED = (
    'Expected {"text": "...", "images": [...]} for the best pictures of a text, or {"image": ..., "texts": [...]} for '
    "the best texts of a picture"
)


def read_input(value: Any) -> list[Row]:
    """Rows from `{"text", "images"}` or `{"image", "texts"}`, the same as JSON, or a list of such.

    Pictures are paths, bytes, arrays or PIL images; `images` may be a folder.

    Raises:
        DataError: it is something else, or a picture cannot be read.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise DataError(f"{WANTED}; got JSON that is cut off or wrong ({error}).") from None
    if isinstance(value, (list, tuple)):
        return [row for one in value for row in read_input(one)]
    if isinstance(value, dict) and set(value) == {"text", "images"} and isinstance(value["text"], str):
        names, pictures = _opened(value["images"])
        gallery = Gallery(pictures, [value["text"]], names, [value["text"]], np.zeros((0, 2), np.int64))
        return [Row("input", Asked(gallery, None, 0))]
    if isinstance(value, dict) and set(value) == {"image", "texts"} and _are_texts(value["texts"]):
        names, pictures = _opened([value["image"]])
        texts = list(dict.fromkeys(value["texts"]))
        return [Row("input", Asked(Gallery(pictures, texts, names, texts, np.zeros((0, 2), np.int64)), 0, None))]
    raise DataError(f"{WANTED}; got {value!r:.80}.")


def _are_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(text, str) for text in value)


def _opened(value: Any) -> tuple[list[str], list[np.ndarray]]:
    """Names and pictures, each in its own size."""
    if isinstance(value, (str, Path)) and Path(value).is_dir():
        value = files_in(Path(value), IMAGE_SUFFIXES)
    if not isinstance(value, (list, tuple)) or not value:
        raise DataError(f"{WANTED}; got no pictures, {value!r:.80}.")
    names = [str(one) if isinstance(one, (str, Path)) else f"image {at + 1}" for at, one in enumerate(value)]
    pictures = []
    for name, one in zip(names, value, strict=True):
        try:
            pictures.append(native(one))
        except DataError as error:
            raise DataError(f"{name}: {error}. Hand in a picture.") from None
    return names, pictures
