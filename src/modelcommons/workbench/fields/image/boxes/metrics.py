"""metrics: average precision as COCO defines it, from stored lines alone.

A line is `{"id", "margin", "target", "prediction"}`; a target has `size`, `boxes` and `labels`, a prediction `boxes`,
`labels`, `scores` and `unsure` (see `objects` and `answers`).

Source: Lin et al., Microsoft COCO (2014), and its reference code (github.com/cocodataset/cocoapi, cocoeval.py): answers
are matched greedily, the best first, each to the target of its class that it overlaps most; precision, made
monotonic, is read at 101 recalls. Nothing is ignored: there are no crowds, and boxes of every size count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelcommons.errors import DataError, FormatError
from modelcommons.workbench.fields.image.boxes.objects import Boxes, iou, parsed
from modelcommons.workbench.task import Line, Metric, Score

METRICS = (
    Metric("map_50", "higher", 0.0, 1.0, "mean over the classes of the average precision at an IoU of 0.5"),
    Metric("map", "higher", 0.0, 1.0, "mean average precision over IoU 0.5 to 0.95 in steps of 0.05 (COCO's own)"),
    Metric("map_75", "higher", 0.0, 1.0, "mean average precision at an IoU of 0.75"),
    Metric("mar_100", "higher", 0.0, 1.0, "mean recall of 100 boxes a picture, over classes and IoU 0.5 to 0.95"),
)
LIMITS = np.linspace(0.5, 0.95, 10)  # of IoU
RECALLS = np.linspace(0.0, 1.0, 101)
MOST = 100  # boxes of a class in a picture that count
DRAWS = 1000
AT_ONCE = 2_000_000  # resampled detections held at a time
SHOWN = 0.5  # score from which a person is shown a box
NEARLY = 0.1  # a score lower by this is no change
STEPS = (1e-4, 1e-3, 1e-2, 1e-1)  # of a score or an IoU, at which it is counted how many boxes are unsure
SAME = 0.99  # IoU of a box and itself on another machine, at least


# --- matching -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """The answers to one class in all pictures, the highest score first."""

    picture: np.ndarray  # int64 (answers,), index of the line
    scores: np.ndarray  # float64 (answers,)
    right: np.ndarray  # bool (limits, answers)
    wanted: np.ndarray  # int64 (pictures,), targets of each


def matched(lines: Sequence[Line]) -> dict[str, Matches]:
    """By class, of those that occur in a target or an answer, sorted.

    Raises:
        FormatError: a line has no boxes.
    """
    try:
        pairs = [(parsed(line["target"]), parsed(line["prediction"])) for line in lines]
    except (KeyError, TypeError) as error:
        raise FormatError(f"Expected lines with `target` and `prediction`, one has no {error}.") from error
    return {
        label: _of_class(pairs, label) for label in sorted({x for pair in pairs for one in pair for x in one.labels})
    }


def _of_class(pairs: Sequence[tuple[Boxes, Boxes]], label: str) -> Matches:
    pictures, scores, right, wanted = [], [], [], np.zeros(len(pairs), np.int64)
    for at, (target, answer) in enumerate(pairs):
        mine = np.array([name == label for name in answer.labels], bool)
        theirs = np.array([name == label for name in target.labels], bool)
        order = np.argsort(-answer.scores[mine], kind="stable")[:MOST]
        wanted[at] = theirs.sum()
        pictures.append(np.full(len(order), at))
        scores.append(answer.scores[mine][order])
        right.append(_greedy(iou(answer.boxes[mine][order], target.boxes[theirs])))
    every = np.concatenate(scores)
    order = np.argsort(-every, kind="stable")
    return Matches(np.concatenate(pictures)[order], every[order], np.concatenate(right, axis=1)[:, order], wanted)


def _greedy(overlaps: np.ndarray) -> np.ndarray:
    """Which answers (best first) find a target that no better one has, at each limit.

    Args:
        overlaps: (answers, targets). Of equal ones the last target is taken, as COCO does.

    Returns:
        bool (limits, answers).
    """
    answers, targets = overlaps.shape
    right, free = np.zeros((len(LIMITS), answers), bool), np.ones((len(LIMITS), targets), bool)
    limits, rows = np.minimum(LIMITS, 1 - 1e-10), np.arange(len(LIMITS))
    for at in np.flatnonzero(overlaps.max(axis=1, initial=0) >= limits[0]).tolist():
        fits = free & (overlaps[at] >= limits[:, None])
        last = targets - 1 - np.where(fits, overlaps[at], -1.0)[:, ::-1].argmax(axis=1)
        right[:, at] = fits[rows, last]
        free[rows, last] &= ~right[:, at]
    return right


# --- average precision ----------------------------------------------------------------------------------------------


def precision(found: Matches, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average precision and largest recall of one class at each limit, with each picture counted `weights` times.

    Args:
        weights: (draws, pictures).

    Returns:
        Two of shape (draws, limits); NaN where no target is left.
    """
    wanted = (weights @ found.wanted).astype(np.float64)
    average, recall = np.zeros((2, len(weights), len(LIMITS)))
    counts = weights[:, found.picture]
    seen = np.cumsum(counts, axis=1)
    for at, right in enumerate(found.right):
        if not right.any():
            continue
        hits = np.cumsum(counts[:, right], axis=1)  # recall and precision change for the better at right answers only
        share = hits / np.maximum(seen[:, right], 1)
        best = np.maximum.accumulate(share[:, ::-1], axis=1)[:, ::-1]
        recalls = hits / np.maximum(wanted, 1)[:, None]
        reached = np.searchsorted(RECALLS, recalls, side="right")  # recalls of the scale up to here
        average[:, at] = (np.diff(reached, axis=1, prepend=0) * best).sum(axis=1) / len(RECALLS)
        recall[:, at] = recalls[:, -1]
    average[wanted == 0] = recall[wanted == 0] = np.nan
    return average, recall


def by_class(lines: Sequence[Line]) -> dict[str, np.ndarray]:
    """Average precision of each class at each of `LIMITS`, (limits,); of the classes that targets have."""
    all_once = np.ones((1, len(lines)), np.int64)
    return {name: precision(found, all_once)[0][0] for name, found in matched(lines).items() if found.wanted.any()}


def curve(found: Matches) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision, made monotonic, at an IoU of 0.5, as the score falls."""
    hits = np.cumsum(found.right[0])
    share = hits / np.arange(1, len(hits) + 1)
    return hits / max(1, found.wanted.sum()), np.maximum.accumulate(share[::-1])[::-1]


def _means(found: Sequence[Matches], weights: np.ndarray) -> np.ndarray:
    """Each of `METRICS`, (draws, metrics); a draw without any target is right without any answer."""
    pairs = [precision(one, weights) for one in found]
    average, recall = (np.stack([pair[which] for pair in pairs]) for which in (0, 1))  # (classes, draws, limits)
    there = ~np.isnan(average)
    means = [np.where(there, part, 0).sum(0) / np.maximum(there.sum(0), 1) for part in (average, recall)]
    values = np.stack([means[0][:, 0], means[0].mean(1), means[0][:, 5], means[1].mean(1)], axis=1)
    answers = sum((weights[:, one.picture].sum(1) for one in found), np.zeros(len(weights)))
    return np.where(there.any((0, 2))[:, None], values, (answers == 0)[:, None].astype(np.float64))


def scores(lines: Sequence[Line], seed: int = 0) -> list[Score]:
    """The `METRICS`, in order, with a bootstrap of the pictures.

    Raises:
        DataError: there are no lines.
        FormatError: a line has no boxes.
    """
    if not len(lines):
        raise DataError("Expected predictions to score, there are none. Give the test at least one row.")
    found = list(matched(lines).values())
    if not found:  # nothing to find, and nothing found
        return [Score(metric.name, 1.0, "higher", 1.0, 1.0, "none: there is nothing to find") for metric in METRICS]
    number = len(lines)
    drawn = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), DRAWS)
    step = max(1, AT_ONCE // max(1, *(len(one.picture) for one in found)))
    values = _means(found, np.ones((1, number), np.int64))[0]
    parts = np.concatenate([_means(found, drawn[start : start + step]) for start in range(0, DRAWS, step)])
    low, high = np.quantile(parts, (0.025, 0.975), axis=0)
    method = f"percentile-bootstrap(pictures,draws={DRAWS},seed={seed})"
    return [
        Score(metric.name, value, "higher", min(a, value), max(b, value), method)
        for metric, value, a, b in zip(METRICS, values.tolist(), low.tolist(), high.tolist(), strict=True)
    ]


# --- comparing two answers ------------------------------------------------------------------------------------------


def losses(lines: Sequence[Line]) -> np.ndarray:
    """1 - the average precision at an IoU of 0.5 of each picture alone, mean over its classes, (lines,); of a picture
    without targets the highest score of an answer."""
    values: list[list[float]] = [[] for _ in lines]
    once = np.ones((1, 1), np.int64)
    for found in matched(lines).values():
        order = np.argsort(found.picture, kind="stable")  # of each picture the best first, as before
        edges = np.searchsorted(found.picture[order], np.arange(len(lines) + 1))
        for at in np.flatnonzero(found.wanted).tolist():
            here = order[edges[at] : edges[at + 1]]
            alone = Matches(np.zeros(len(here), np.int64), found.scores[here], found.right[:, here], found.wanted[[at]])
            values[at].append(float(precision(alone, once)[0][0, 0]))
    return np.array(
        [
            1 - np.mean(each) if each else parsed(line["prediction"]).scores.max(initial=0.0)
            for each, line in zip(values, lines, strict=True)
        ]
    )


def block(lines: Sequence[Line]) -> int:
    """1: pictures are independent."""
    return 1


def changed(a: Line, b: Line) -> bool:
    """Whether one answer has a box of a score of at least 0.5 that lies on none of its class in the other."""
    mine, theirs = (parsed(line["prediction"]) for line in (a, b))
    pairs = ((mine, theirs), (theirs, mine))
    return any(_unlike(_shown(x, SHOWN), _shown(y, SHOWN - NEARLY), LIMITS[0], 1.0) for x, y in pairs)


def agrees(stored: Line, fresh: Line, noise: float) -> bool:
    """The same boxes, but for as many as may change because the stored answer was unsure of them, and a margin that
    differs by no more than noise.

    Two boxes are the same that have one class, an IoU of at least `SAME`, and scores no further apart than noise. What
    is unsure can take one box away and bring another.

    Args:
        noise: of a margin, as measured for the model between two settings of the machine.
    """
    old, new = parsed(stored["prediction"]), parsed(fresh["prediction"])
    unsure = stored["prediction"].get("unsure", [0] * len(STEPS))  # a rule, such as the floor, is the same everywhere
    allowed = 2 * next((count for step, count in zip(STEPS, unsure, strict=True) if step >= noise), unsure[-1])
    tolerance = max(noise, STEPS[0])
    moved = max(_unlike(old, new, SAME, tolerance), _unlike(new, old, SAME, tolerance))
    moved_margin = abs(stored.get("margin", 1.0) - fresh.get("margin", 1.0))
    return moved <= allowed and bool(moved_margin <= tolerance)


def _shown(boxes: Boxes, least: float) -> Boxes:
    high = boxes.scores >= least
    return Boxes(boxes.boxes[high], [x for x, keep in zip(boxes.labels, high, strict=True) if keep], boxes.scores[high])


def _unlike(a: Boxes, b: Boxes, overlap: float, tolerance: float) -> int:
    """How many boxes of one answer have none like them in the other."""
    alike = iou(a.boxes, b.boxes) >= overlap
    alike &= np.array(a.labels, object)[:, None] == np.array(b.labels, object)[None]
    alike &= np.abs(a.scores[:, None] - b.scores[None]) <= tolerance
    return int((~alike.any(axis=1)).sum())
