"""scenes: rows of a picture and the boxes on it: a table, or pictures beside Pascal VOC's XML or COCO's JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import DataError
from modelcommons.formats.cells import cells, with_digest
from modelcommons.formats.pictures import IMAGE_NAMES, check_columns, find_column, holds_pictures
from modelcommons.formats.pixels import native
from modelcommons.formats.tables import IMAGE_SUFFIXES, SUFFIXES, Table, read_source
from modelcommons.workbench.fields.image.boxes import annotated
from modelcommons.workbench.fields.image.boxes.annotated import BOXES, CLASSES, Described
from modelcommons.workbench.fields.image.boxes.names import named_classes
from modelcommons.workbench.fields.image.boxes.objects import Objects
from modelcommons.workbench.fields.image.rows import timeless
from modelcommons.workbench.task import BadRow, Column, Reading, Row, Source

MOST_CLASSES = 1_000
INSTANCES = "instances"  # how COCO's own file of boxes begins
LARGEST = 320  # pixels of the longer side that `size: auto` chooses at most

Change = Literal["flip", "turn", "scale", "color"]
Describe = Callable[[int], Described]
Picture = Callable[[int], bytes | Path]


class Options(BaseModel):
    """`data.options` of object-detection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=MOST_CLASSES)] | Literal["auto"] = Field(
        "auto",
        description="Names of the classes 0, 1, ...; `auto`: as the file says, else what occurs.",
    )
    size: Annotated[int, Field(ge=32, le=2048)] | Literal["auto"] = Field(
        "auto", description=f"Pixels of the longer side as a new network sees it; `auto`: as it is, at most {LARGEST}."
    )
    augment: tuple[Change, ...] | Literal["auto", "none"] = Field(
        "auto",
        description="How training pictures are varied: `flip` (left and right), `turn` (upside down), `scale` (larger "
        "or smaller), `color` (brightness and hue); `auto`: flip, scale and color, which fits streets too.",
    )


class Scenes:
    """Pictures with their boxes, decoded when they are asked for; fulfils the workbench's `Rows`."""

    def __init__(
        self,
        picture: Picture,
        objects: Sequence[Objects],
        labels: tuple[str, ...],
        names: Sequence[str],
        groups: Sequence[str] | None,
        times: np.ndarray | None,
        index: np.ndarray,  # rows of the part that are left
    ) -> None:
        self._picture, self._objects, self.labels = picture, objects, labels
        self._names, self._groups, self._times, self.index = names, groups, times, index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Row:
        at = int(self.index[index])
        group = self._groups[at] if self._groups is not None else None
        return Row(self._names[at], native(self._picture(at)), self._objects[at], group)

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    def ids(self) -> Iterable[str]:
        return (self._names[at] for at in self.index.tolist())

    def take(self, indices: np.ndarray) -> Scenes:
        index = self.index[np.asarray(indices, np.int64)]
        return Scenes(self._picture, self._objects, self.labels, self._names, self._groups, self._times, index)

    def moments(self) -> np.ndarray:
        """When each row came about, shape (rows,); only where the data has a column of times."""
        assert self._times is not None
        return np.asarray(self._times[self.index])

    def objects(self) -> list[Objects]:
        """What is on each picture, without decoding it."""
        return [self._objects[at] for at in self.index.tolist()]


# --- reading --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Found:
    """The rows of one part before anything is decoded."""

    names: list[str]  # ids
    places: list[str]  # as people are told
    picture: Picture
    describe: Describe
    groups: list[str] | None = None
    times: np.ndarray | None = None
    refused: dict[int, str] = field(default_factory=dict)
    num_bad: int = 0  # lines that could not be read


def read(source: Source, columns: Mapping[str, str], options: Options) -> Reading:
    """All pictures of a source, each decoded once to see that it is whole, with what is on it.

    Raises:
        DataError: neither columns nor annotations of boxes are found, no picture can be read, or no box is on any.
    """
    tables = read_source(source) if any(file.path.lower().endswith(SUFFIXES) for file in source.files) else {}
    roles = _roles(tables, columns) if tables else {}
    given: tuple[str, ...] = () if options.classes == "auto" else options.classes
    named: tuple[str, ...] = ()
    if tables:
        named = named_classes(source)
        found = {split: _of_table(source, table, roles, given or named) for split, table in tables.items()}
    else:
        found = _of_files(source)
    read = {split: _decoded(part) for split, part in found.items()}
    labels = _labels([each for part in read.values() for each in part.described.values()], given, named)
    parts: dict[str, Scenes] = {}
    bad = [BadRow(line.where, line.reason) for table in tables.values() for line in table.bad]
    num_bad = empty = 0
    for split, part in found.items():
        made, dropped, broken = _objects(read[split], labels)
        empty += dropped
        bad += [BadRow(part.places[row], broken[row]) for row in sorted(broken)]
        num_bad += part.num_bad + len(broken)
        left = np.array([row for row in range(len(part.names)) if row not in broken], np.int64)
        parts[split] = Scenes(part.picture, made, labels, part.names, part.groups, part.times, left)
    if not any(map(len, parts.values())) and not bad:
        raise DataError("Expected pictures, the annotations and lists name none that is there. Name the whole folder.")
    if not any(map(len, parts.values())):
        raise DataError(f"None of the pictures can be used; {bad[0].where}: {bad[0].reason}. Get them again.")
    if not labels:
        raise DataError("Expected boxes on some of the pictures, there is none on any. Give pictures with boxes.")
    notes = (_note(parts), *([f"{empty} boxes without area inside their picture were left out"] if empty else []))
    num_good = sum(map(len, parts.values()))
    return Reading(parts, tuple(_columns(tables, roles, labels)), tuple(bad[:5]), num_bad, num_good + num_bad, notes)


def _roles(tables: Mapping[str, Table], columns: Mapping[str, str]) -> dict[str, str]:
    """The column of each role that there is: `objects`, or `boxes` and `label`."""
    table = next(iter(tables.values()))
    check_columns(table, columns)
    roles = dict(columns)
    if "image" not in roles:
        name = find_column(table, IMAGE_NAMES, partial(holds_pictures, table))
        if name is None:
            raise DataError(
                f"Expected a column of images, found none among {', '.join(table.columns)}. "
                "Name it in the recipe: data.columns.image."
            )
        roles["image"] = name
    lists = {name.lower(): name for name in table.columns if table.kinds[name] == "json"}
    usual = {"objects": ("objects", "annotations"), "boxes": BOXES, "label": CLASSES}
    if not {"objects", "boxes", "label"} & roles.keys():
        together = next((lists[name] for name in usual["objects"] if name in lists), None)
        roles |= {"objects": together} if together else {}
    if "objects" not in roles:
        for role in ("boxes", "label"):
            name = roles.get(role) or next((lists[name] for name in usual[role] if name in lists), None)
            if name is None:
                raise DataError(
                    f"Expected a column of lists of {role}, or one of objects with both, found none among "
                    f"{', '.join(table.columns)}. Name it in the recipe: data.columns.{role}."
                )
            roles[role] = name
    return roles


def _of_table(source: Source, table: Table, roles: Mapping[str, str], names: Sequence[str]) -> Found:
    by_path = table.kinds[roles["image"]] == "text"
    picture = cells(source, table, roles["image"], by_path)

    def describe(row: int) -> Described:
        if "objects" in roles:
            return annotated.of_objects(table.row(row, [roles["objects"]])[roles["objects"]], names)
        values = table.row(row, [roles["boxes"], roles["label"]])
        return annotated.of_cells(values[roles["boxes"]], values[roles["label"]], names)

    refused = timeless(table, roles.get("time"))
    ids = list(table.ids(roles.get("id")))
    if by_path:
        for row in range(len(table)):
            try:
                ids[row] = with_digest(ids[row], picture(row))
            except (DataError, OSError) as error:
                missing = f"expected a picture file, {Path(str(getattr(error, 'filename', ''))).name} cannot be read"
                refused[row] = str(error) if isinstance(error, DataError) else missing
    groups = [str(value) for value in table.column(roles["group"]).to_pylist()] if "group" in roles else None
    times = table.moments(roles["time"]) if "time" in roles else None
    places = [table.where(row) for row in range(len(table))]
    return Found(ids, places, picture, describe, groups, times, refused, table.num_bad)


def _of_files(source: Source) -> dict[str, Found]:
    """Pictures with what stands beside them.

    Raises:
        DataError: nothing does that says where things are.
    """
    paths = [file.path for file in source.files]
    pictures = [file for file in source.files if file.path.lower().endswith(IMAGE_SUFFIXES)]
    coco = [path for path in paths if path.lower().endswith(".json")]
    if pictures and coco:
        # beside COCO's instances there are captions and keypoints of the same pictures
        return _of_coco(source, [path for path in coco if Path(path).name.startswith(INSTANCES)] or coco)
    xml = {path.lower().removesuffix(".xml"): path for path in paths if path.lower().endswith(".xml")}
    if not pictures or not xml:
        raise DataError(
            "Expected a table of pictures and boxes, or a folder of pictures with Pascal VOC's XML or COCO's JSON of "
            "instances; found none of them. Name a folder that holds both pictures and annotations."
        )
    listed = _listed(source)
    parts: dict[str, list[str]] = {}
    for file in pictures:
        stem = Path(file.path).stem
        if not listed or stem in listed:
            split = listed.get(stem) or file.split or annotated.part_of(str(Path(file.path).parent)) or "all"
            parts.setdefault(split, []).append(file.path)
    return {split: _of_voc(source.folder, names, xml) for split, names in parts.items()}


def _of_voc(folder: Path, pictures: list[str], xml: Mapping[str, str]) -> Found:
    def describe(row: int) -> Described:
        path = annotated.beside(pictures[row], xml)
        if path is None:
            raise DataError("expected an annotation (XML) of this picture, found none")
        return annotated.of_voc(folder / path)

    return Found(pictures, pictures, lambda row: folder / pictures[row], describe)


def _listed(source: Source) -> dict[str, str]:
    """The part of each picture, by its name without suffix, as VOC's `ImageSets/Main/train.txt` say."""
    found: dict[str, str] = {}
    for file in source.files:
        *folders, name = file.path.split("/")
        split = (
            annotated.PARTS.get(name.removesuffix(".txt"))
            if folders[-2:] == ["ImageSets", "Main"] and name.endswith(".txt")
            else None
        )
        if split:
            text = (source.folder / file.path).read_text(encoding="utf-8", errors="replace")
            found |= {line.split()[0]: split for line in text.splitlines() if line.strip()}
    return found


def _of_coco(source: Source, files: Sequence[str]) -> dict[str, Found]:
    by_name: dict[str, list[str]] = {}
    for file in source.files:
        if file.path.lower().endswith(IMAGE_SUFFIXES):
            by_name.setdefault(file.path.rsplit("/", 1)[-1], []).append(file.path)
    part = {file.path: file.split for file in source.files}
    made: dict[str, dict[str, tuple[Described, str | None]]] = {}
    for path in files:
        described = annotated.of_coco(source.folder / path, path)
        for name, one in described.items():
            picture = annotated.meant(name, path, by_name)
            split = annotated.part_of(path) or (part.get(picture) if picture else None) or "all"
            made.setdefault(split, {})[f"{path}:{name}"] = (one, picture)
    return {split: _of_instances(source.folder, rows) for split, rows in made.items()}


def _of_instances(folder: Path, rows: Mapping[str, tuple[Described, str | None]]) -> Found:
    places, values = list(rows), list(rows.values())

    def picture(row: int) -> Path:
        path = values[row][1]
        if path is None:
            raise DataError("expected this picture in the folder of the annotations or below, found none")
        return folder / path

    names = [path or place for place, (_, path) in rows.items()]
    return Found(names, places, picture, lambda row: values[row][0])


# --- what was found -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Read:
    """One part, read."""

    sizes: list[tuple[int, int]]  # height and width; (0, 0) where broken
    described: dict[int, Described]
    broken: dict[int, str]  # row -> why it cannot be used


def _decoded(part: Found) -> Read:
    sizes: list[tuple[int, int]] = []
    described: dict[int, Described] = {}
    broken = dict(part.refused)
    for row in range(len(part.names)):
        size = (0, 0)
        if row not in broken:
            try:
                described[row] = part.describe(row)
                height, width, _ = native(part.picture(row)).shape
                size = (height, width)
            except DataError as error:
                broken[row] = str(error)
                described.pop(row, None)
        sizes.append(size)
    return Read(sizes, described, broken)


def _objects(part: Read, labels: tuple[str, ...]) -> tuple[list[Objects], int, dict[int, str]]:
    """What is on each picture, the number of boxes left out, and rows that cannot be used."""
    made, dropped, broken = [], 0, dict(part.broken)
    for row, size in enumerate(part.sizes):
        try:
            one, without = annotated.objects(part.described.get(row, Described()), size, labels)
        except DataError as error:
            one, without = Objects(size, np.empty((0, 4)), np.empty(0, np.int64), labels), 0
            broken[row] = str(error)
        made.append(one)
        dropped += without
    return made, dropped, broken


def _labels(found: Sequence[Described], given: tuple[str, ...], named: tuple[str, ...]) -> tuple[str, ...]:
    """The classes: those given, else as the file names them, else as they occur, numbers in order.

    Raises:
        DataError: there are others than those given, or too many.
    """
    occur = {label for one in found for label in one.labels}
    if given:
        if unknown := sorted(occur - set(given)):
            raise DataError(f"data.options.classes: there are boxes of '{unknown[0]}' too. Name every class.")
        return given
    if occur and occur <= set(named):
        return named
    if len(occur) > MOST_CLASSES:
        raise DataError(f"The boxes have {len(occur):,} different classes, expected at most {MOST_CLASSES:,}.")
    return tuple(sorted(occur, key=lambda label: (not label.isdigit(), int(label) if label.isdigit() else 0, label)))


def _columns(tables: Mapping[str, Table], roles: Mapping[str, str], labels: Sequence[str]) -> Iterator[Column]:
    shown = ", ".join(labels[:4])
    if not tables:
        yield Column("pictures", "image", "image", 0)
        yield Column("annotations", "boxes", "boxes", 0, len(labels), shown)
        return
    role_of = {name: role for role, name in roles.items()}
    for name in next(iter(tables.values())).columns:
        role = role_of.get(name, "unused")
        missing = sum(int(table.missing(name).sum()) for table in tables.values())
        kind = "image" if role == "image" else next(iter(tables.values())).kinds[name]
        distinct, example = (len(labels), shown) if role in ("objects", "label") else (None, "")
        yield Column(name, kind, role, missing, distinct, example)


def _note(parts: Mapping[str, Scenes]) -> str:
    every = [one for part in parts.values() for one in part.objects()]
    labels = next(iter(parts.values())).labels
    counts = np.bincount(np.concatenate([one.codes for one in every]), minlength=len(labels))
    told = ", ".join(f"{label} {count:,}" for label, count in zip(labels[:8], counts.tolist(), strict=False))
    return f"boxes: {told}{', ...' if len(labels) > 8 else ''}"
