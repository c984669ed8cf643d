"""annotated: what files beside pictures say of the things on them: Pascal VOC's XML, and COCO's JSON of instances.

A description is what `Described` holds: boxes as the file has them, and the classes' names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np

from modelcommons.errors import DataError
from modelcommons.workbench.fields.image.boxes.objects import Objects

LARGEST_XML = 4 * 2**20  # bytes, of one picture
LARGEST_JSON = 2 * 2**30
PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
MARKUP = re.compile(r"<!(?!--|\[CDATA\[)")  # a document type, and with it entities


@dataclass(frozen=True, slots=True)
class Described:
    """The things on one picture."""

    boxes: list[Sequence[float]] = field(default_factory=list)  # x, y, width, height
    labels: list[str] = field(default_factory=list)


def objects(found: Described, size: tuple[int, int], labels: tuple[str, ...]) -> tuple[Objects, int]:
    """The boxes inside a picture of this height and width, and how many have no area there and are left out.

    Raises:
        DataError: a box is none; the message is a clause.
    """
    height, width = size
    try:
        boxes = np.array(found.boxes, np.float64).reshape(-1, 4)
    except (TypeError, ValueError):
        raise DataError("expected boxes of four numbers [x, y, width, height], got others") from None
    if len(boxes) != len(found.labels):
        raise DataError(f"expected a class for each box, got {len(boxes)} boxes and {len(found.labels)} classes")
    if not np.isfinite(boxes).all() or (boxes[:, 2:] < 0).any():
        raise DataError("expected boxes of finite numbers and sides that are not negative, got others")
    low = np.clip(boxes[:, :2], 0, (width, height))
    high = np.clip(boxes[:, :2] + boxes[:, 2:], 0, (width, height))
    sides = high - low
    real = (sides > 0).all(axis=1)
    codes = np.array([labels.index(label) for label in found.labels], np.int64)
    return Objects(size, np.concatenate([low, sides], axis=1)[real], codes[real], labels), int((~real).sum())


# --- in a table's cells ---------------------------------------------------------------------------------------------

BOXES = ("bbox", "bboxes", "boxes", "box")
CLASSES = ("categories", "category", "labels", "label", "class", "classes", "category_id", "name", "names")


def of_cells(boxes: Any, labels: Any, names: Sequence[str]) -> Described:
    """From a list of boxes and one of classes, as names or as numbers of `names`."""
    if boxes is None or labels is None:
        raise DataError("expected lists of boxes and classes, got nothing")
    if not isinstance(boxes, (list, tuple)) or not isinstance(labels, (list, tuple)):
        raise DataError("expected lists of boxes and classes, got other values")
    return Described(list(boxes), [_name(label, names) for label in labels])


def of_objects(value: Any, names: Sequence[str]) -> Described:
    """From what `datasets` has for each picture: `{"bbox": [...], "categories": [...]}`, or a list of one such for each
    thing."""
    if isinstance(value, list) and not all(isinstance(one, Mapping) for one in value):
        raise DataError("expected `objects` as things with a box and a class, got others")
    if isinstance(value, list):
        value = {key: [one.get(key) for one in value] for one in value[:1] for key in one} if value else _NOTHING
    if not isinstance(value, Mapping):
        raise DataError("expected `objects` with boxes and classes, got none")
    found = [next((value[name] for name in usual if name in value), None) for usual in (BOXES, CLASSES)]
    return of_cells(found[0], found[1], names)


_NOTHING: dict[str, list[Any]] = {"bbox": [], "categories": []}


def _name(label: Any, names: Sequence[str]) -> str:
    if isinstance(label, bool) or not isinstance(label, (int, str)):
        raise DataError(f"expected classes as names or whole numbers, got {label!r:.40}")
    if isinstance(label, str) or not names:
        return str(label)
    if not 0 <= label < len(names):
        raise DataError(f"class {label}, expected 0 to {len(names) - 1}")
    return names[label]


# --- Pascal VOC -----------------------------------------------------------------------------------------------------


def of_voc(path: Path) -> Described:
    """The objects of one XML file; a box goes from (xmin, ymin) to (xmax, ymax).

    Raises:
        DataError: it is no annotation, or has a document type, which could make it expand or read other files.
    """
    try:
        if path.stat().st_size > LARGEST_XML:
            raise DataError(f"expected an annotation of at most {LARGEST_XML >> 20} MiB, got a larger file")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise DataError("expected an annotation as XML in UTF-8, got a file that cannot be read") from None
    if MARKUP.search(text):
        raise DataError("expected an annotation as plain XML, got one with a document type, which is refused")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"expected an annotation as XML, got something else ({error})") from None
    found = Described()
    for thing in root.iter("object"):
        try:
            x1, y1, x2, y2 = (float(thing.findtext(f"bndbox/{name}", "")) for name in ("xmin", "ymin", "xmax", "ymax"))
        except ValueError:
            raise DataError("expected objects with a `bndbox` of xmin, ymin, xmax, ymax, got others") from None
        found.boxes.append([x1, y1, x2 - x1, y2 - y1])
        found.labels.append(thing.findtext("name", "").strip())
    if not all(found.labels):
        raise DataError("expected objects with a `name`, got one without")
    return found


def beside(picture: str, xml: Mapping[str, str]) -> str | None:
    """The annotation of a picture: of the same name beside it, or where VOC has it (`JPEGImages/1.jpg` and
    `Annotations/1.xml`); None where there is none.

    Args:
        xml: path without suffix, in lower case -> path, all relative with forward slashes.
    """
    at = PurePosixPath(picture.lower()).with_suffix("")
    keys = [str(at)]
    for number, part in enumerate(at.parts[:-1]):
        if part in ("jpegimages", "images"):
            keys.append("/".join((*at.parts[:number], "annotations", *at.parts[number + 1 :])))
    return next((xml[key] for key in keys if key in xml), None)


# --- COCO -----------------------------------------------------------------------------------------------------------


def of_coco(path: Path, name: str) -> dict[str, Described]:
    """The objects of each picture by its `file_name`; crowds are left out, for nobody can say how many they are.

    Raises:
        DataError: it is no JSON of instances.
    """
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"more than {LARGEST_JSON >> 30} GiB")
        value = json.loads(path.read_bytes())
        names = {one["id"]: str(one["name"]) for one in value["categories"]}
        files = {one["id"]: str(one["file_name"]) for one in value["images"]}
        found = {file: Described() for file in files.values()}
        for one in value["annotations"]:
            if not one.get("iscrowd"):
                found[files[one["image_id"]]].boxes.append(one["bbox"])
                found[files[one["image_id"]]].labels.append(names[one["category_id"]])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{name}: expected COCO's `images`, `annotations` and `categories`, got others ({error!s:.100}). "
            "Name the folder that holds that file and the pictures."
        ) from None
    return found


def meant(file: str, annotation: str, pictures: Mapping[str, Sequence[str]]) -> str | None:
    """The picture that a `file_name` means: of those whose path ends in it, one of the annotation's part first.

    Args:
        pictures: last part of a path -> the paths, relative with forward slashes.
    """
    fits = [path for path in pictures.get(file.rsplit("/", 1)[-1], ()) if path == file or path.endswith(f"/{file}")]
    part, split = PurePosixPath(annotation).stem.removeprefix("instances_"), part_of(annotation)

    def distance(path: str) -> tuple[bool, bool, int, str]:
        return part not in path.split("/"), part_of(path) != split, path.count("/"), path

    return min(fits, key=distance, default=None)


def part_of(path: str) -> str | None:
    """train, validation or test, as the last part of a path that says so has it: `instances_val2017.json`, a folder."""
    for part in reversed(path.lower().split("/")):
        words = re.split(r"[^a-z]+", part)
        if found := next((split for word, split in PARTS.items() if word in words), None):
            return found
    return None
