"""mask: a class for every pixel, in memory and as JSON; as JSON it is COCO's uncompressed run lengths, class by class.

    {"size": [height, width], "counts": {"nucleus": [12, 3, 253, ...]}}

Runs go down the columns, one column after the other, and begin with how many pixels are not of the class. Pixels of no
class are background; a class that does not occur is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelcommons.errors import FormatError


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """A class for every pixel."""

    codes: np.ndarray  # uint8 (height, width), index into `labels`
    labels: tuple[str, ...]  # the first is the background

    def as_json(self) -> dict[str, Any]:
        found = np.unique(self.codes).tolist()
        counts = {self.labels[code]: runs(self.codes == code) for code in found if code}
        return {"size": list(self.codes.shape), "counts": counts}


def runs(inside: np.ndarray) -> list[int]:
    """Lengths of the runs of a bool array (height, width), down the columns; the first run is of what is not inside.

    Source: the format of masks in COCO (github.com/cocodataset/cocoapi, PythonAPI/pycocotools/mask.py).
    """
    flat = inside.ravel(order="F")
    edges = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [len(flat)]])
    lengths: list[int] = np.diff(edges).tolist()
    return [0, *lengths] if len(flat) and flat[0] else lengths


def classes(values: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The classes that occur in some masks, sorted, without background."""
    try:
        return tuple(sorted({label for value in values for label in value["counts"]}))
    except (KeyError, TypeError) as error:
        raise _not_a_mask(error) from error


def codes(value: Mapping[str, Any], labels: Sequence[str]) -> np.ndarray:
    """From JSON to int64 (height, width): 0 for background, 1 + index into `labels`.

    Raises:
        FormatError: the runs are not those of a mask of this size.
    """
    try:
        height, width = (int(side) for side in value["size"])
        found = np.zeros(height * width, np.int64)
        for label, counts in value["counts"].items():
            lengths = np.array(counts, np.int64)
            if (lengths < 0).any() or lengths.sum() != len(found):
                raise ValueError(f"runs of {lengths.sum()} pixels, size {height} x {width}")
            found[np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)] = 1 + labels.index(label)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _not_a_mask(error) from error
    return found.reshape((height, width), order="F")


def _not_a_mask(error: Exception) -> FormatError:
    return FormatError(
        f"Expected masks with `size` and runs in `counts`; one is none ({error}). Score the model again."
    )
