"""metrics: how well masks lie on each other, from stored lines alone.

A line is `{"id", "margin", "prediction": {"size", "counts", "unsure"}, "target": {"size", "counts"}}` (see `mask`). The
margin of a pixel is its largest probability less the second. `margin` is the mean over the picture; `unsure` counts the
pixels whose margin is at most each of `STEPS`, so that it can be said how many another machine may decide otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.errors import DataError, FormatError
from modelcommons.workbench.engine.statistics import bootstrap
from modelcommons.workbench.fields.image.masks import mask
from modelcommons.workbench.fields.image.masks.mask import Mask
from modelcommons.workbench.task import Answer, Line, Metric, Score

if TYPE_CHECKING:
    from collections.abc import Callable

METRICS = (
    Metric("iou", "higher", 0.0, 1.0, "intersection over union of the objects, mean over the pictures"),
    Metric("dice", "higher", 0.0, 1.0, "twice the intersection over both areas (F1 of the pixels), mean over pictures"),
    Metric("pixel_iou", "higher", 0.0, 1.0, "intersection over union of the objects in all pictures together"),
    Metric("pixel_accuracy", "higher", 0.0, 1.0, "share of all pixels whose class is right"),
    Metric("mean_iou", "higher", 0.0, 1.0, "as pixel_iou, background too, mean over classes; where there are over two"),
)
DRAWS = 2000
STEPS = (1e-4, 1e-3, 1e-2, 1e-1)
NOTICED = 0.01  # two answers whose IoU is less than 1 by more than this are different answers


# --- answers --------------------------------------------------------------------------------------------------------


def answer(logits: np.ndarray, labels: Sequence[str]) -> Answer:
    """The answer to one picture.

    Args:
        logits: float32 (classes, height, width).
    """
    powers = np.exp(logits - logits.max(axis=0))
    shares = powers / powers.sum(axis=0)
    top = np.sort(shares, axis=0)[-2:]
    margins = top[1] - top[0]
    found = Mask(logits.argmax(axis=0).astype(np.uint8), tuple(labels))  # of equal ones the first
    unsure = [int((margins <= step).sum()) for step in STEPS]
    return {
        "margin": float(f"{margins.mean(dtype=np.float64):.6g}"),
        "prediction": {**found.as_json(), "unsure": unsure},
    }


# --- comparing two answers ------------------------------------------------------------------------------------------


def losses(lines: Sequence[Line]) -> np.ndarray:
    """1 - IoU of each picture, (lines,)."""
    return 1 - Areas.of(lines).iou()


def block(lines: Sequence[Line]) -> int:
    """1: pictures are independent."""
    return 1


def changed(a: Line, b: Line) -> bool:
    """Whether the two masks share less than 99 hundredths of what either finds."""
    together = Areas.of([{"target": a["prediction"], "prediction": b["prediction"]}])
    return bool(together.iou()[0] < 1 - NOTICED)


def agrees(stored: Line, fresh: Line, noise: float) -> bool:
    """No more pixels of another class than the stored answer was unsure of, and a mean margin that differs by no more
    than noise.

    Args:
        noise: of a margin, as measured for the model between two settings of the machine.
    """
    old, new = stored["prediction"], fresh["prediction"]
    if old["size"] != new["size"]:
        return False
    labels = mask.classes([old, new])
    moved = int((mask.codes(old, labels) != mask.codes(new, labels)).sum())
    unsure = old.get("unsure", [0] * len(STEPS))  # a rule, such as the floor, is the same everywhere
    allowed = next((count for step, count in zip(STEPS, unsure, strict=True) if step >= noise), unsure[-1])
    moved_margin = abs(stored.get("margin", 1.0) - fresh.get("margin", 1.0))
    return bool(moved <= allowed and moved_margin <= max(noise, STEPS[0]))


# --- scores ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Areas:
    """Pixels of each picture and class, int64 (pictures, 1 + classes); the first is the background."""

    both: np.ndarray  # in the target and in the answer
    target: np.ndarray
    answer: np.ndarray

    @classmethod
    def of(cls, lines: Sequence[Any]) -> Areas:
        """
        Raises:
            FormatError: a line has no masks, or two of different sizes.
        """
        try:
            pairs = [(line["target"], line["prediction"]) for line in lines]
        except (KeyError, TypeError) as error:
            raise FormatError(f"Expected lines with `target` and `prediction`, one has no {error}.") from error
        labels = mask.classes(value for pair in pairs for value in pair)
        size = 1 + len(labels)
        both, target, answer = (np.zeros((len(pairs), size), np.int64) for _ in range(3))
        for at, (wanted, given) in enumerate(pairs):
            a, b = mask.codes(wanted, labels), mask.codes(given, labels)
            if a.shape != b.shape:
                raise FormatError(f"Expected an answer of size {a.shape}, as its target, got {b.shape}.")
            both[at] = np.bincount(a[a == b], minlength=size)
            target[at] = np.bincount(a.ravel(), minlength=size)
            answer[at] = np.bincount(b.ravel(), minlength=size)
        return cls(both, target, answer)

    def iou(self) -> np.ndarray:
        """Of each picture, mean over the classes that occur in it or in the answer, (pictures,); 1 where none does."""
        return _mean(self.both[:, 1:], self.target[:, 1:] + self.answer[:, 1:] - self.both[:, 1:])

    def dice(self) -> np.ndarray:
        return _mean(2 * self.both[:, 1:], self.target[:, 1:] + self.answer[:, 1:])


def _mean(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Mean of part / whole along the last axis, where the whole is not 0; 1 where it is 0 everywhere."""
    occurs = whole > 0
    ratio = np.where(occurs, part / np.maximum(whole, 1), 0.0).sum(axis=-1)
    return np.where(occurs.any(axis=-1), ratio / np.maximum(occurs.sum(axis=-1), 1), 1.0)


def scores(lines: Sequence[Line], seed: int = 0) -> list[Score]:
    """The `METRICS`, in order, with a bootstrap of the pictures; `mean_iou` where there are more than two classes.

    Raises:
        DataError: there are no lines.
        FormatError: a line has no masks.
    """
    if not len(lines):
        raise DataError("Expected predictions to score, there are none. Give the test at least one row.")
    areas = Areas.of(lines)
    union = areas.target + areas.answer - areas.both
    right, all = areas.both.sum(axis=1, keepdims=True), areas.target.sum(axis=1, keepdims=True)
    drawn = np.random.default_rng(seed).multinomial(len(lines), np.full(len(lines), 1 / len(lines)), DRAWS)

    def mean(values: np.ndarray) -> tuple[float, float, float]:
        return float(values.mean()), *bootstrap(values, seed, DRAWS)

    def pooled(part: np.ndarray, whole: np.ndarray) -> tuple[float, float, float]:
        """Over all pictures together, and with pictures drawn again."""
        value = float(_mean(part.sum(axis=0), whole.sum(axis=0)))
        low, high = np.quantile(_mean(drawn @ part, drawn @ whole), (0.025, 0.975)).tolist()
        return value, low, high

    made: dict[str, Callable[[], tuple[float, float, float]]] = {
        "iou": lambda: mean(areas.iou()),
        "dice": lambda: mean(areas.dice()),
        "pixel_iou": lambda: pooled(areas.both[:, 1:], union[:, 1:]),
        "pixel_accuracy": lambda: pooled(right, all),
        "mean_iou": lambda: pooled(areas.both, union),
    }
    if areas.both.shape[1] <= 2:
        del made["mean_iou"]
    method = f"percentile-bootstrap(pictures,draws={DRAWS},seed={seed})"
    found = []
    for name, values in made.items():
        value, low, high = values()
        found.append(Score(name, value, "higher", min(low, value), max(high, value), method))
    return found
