"""metrics: recall, rank and reciprocal rank in both directions, from stored lines alone; ties count as in any order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from modelcommons.errors import DataError, FormatError
from modelcommons.workbench.engine.statistics import bootstrap
from modelcommons.workbench.fields.multimodal.ranking import NEAR
from modelcommons.workbench.task import Line, Metric, Score

DIRECTIONS = {"image_to_text": "texts", "text_to_image": "images"}  # metric's prefix -> key of the prediction
CUTS = (1, 5, 10)
DRAWS = 2000
CHUNK = 4_000_000  # counts held at a time
TOLERANCE = NEAR / 2  # of a similarity, from machine to machine
METRICS = (
    Metric("mean_recall", "higher", 0.0, 1.0, "mean of the six recalls below"),
    *(
        metric
        for prefix, what in (
            ("image_to_text", "a text of the picture among all texts"),
            ("text_to_image", "a picture of the text among all pictures"),
        )
        for metric in (
            *(Metric(f"{prefix}_recall@{cut}", "higher", 0.0, 1.0, f"{what}, in the first {cut}") for cut in CUTS),
            Metric(f"{prefix}_mrr", "higher", 0.0, 1.0, f"mean of 1 / rank: {what}"),
            Metric(f"{prefix}_median_rank", "lower", 1.0, float("inf"), f"median rank: {what}"),
        )
    ),
)


def scores(lines: Sequence[Line], seed: int = 0) -> list[Score]:
    """Every metric with a bootstrap over pictures: rows of one picture are drawn together.

    A candidate that ties with the right one stands before it in half of all orders; what is told is the mean over all
    orders, so a model to which everything is alike scores exactly what chance does.

    Source: recall as in Karpathy & Fei-Fei, Deep Visual-Semantic Alignments (2015); the best of several right ones
    counts.

    Raises:
        DataError: there are no lines.
        FormatError: a line is no answer of this task.
    """
    if not len(lines):
        raise DataError("Expected predictions to score, there are none. Give the test at least one row.")
    try:
        places = {prefix: _places(lines, key) for prefix, key in DIRECTIONS.items()}
        pictures = [str(line["target"]["image"]) for line in lines]
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"Expected lines with `texts.rank` and `images.rank`, one has none ({error}). Score the model again."
        ) from error
    found: dict[str, Score] = {}
    found["mean_recall"] = _mean(METRICS[0], _mean_recall(places.values()), pictures, seed)
    metrics = {metric.name: metric for metric in METRICS}
    for prefix, (rank, tied) in places.items():
        for cut in CUTS:
            name = f"{prefix}_recall@{cut}"
            found[name] = _mean(metrics[name], recall(rank, tied, cut), pictures, seed)
        found[f"{prefix}_mrr"] = _mean(metrics[f"{prefix}_mrr"], reciprocal(rank, tied), pictures, seed)
        found[f"{prefix}_median_rank"] = _median(metrics[f"{prefix}_median_rank"], rank + tied / 2, pictures, seed)
    return [found[metric.name] for metric in METRICS]


def _places(lines: Sequence[Line], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Rank of the best right candidate and number of wrong ones that tie with it, each (lines,)."""
    placed = [line["prediction"][key] for line in lines]
    return np.array([int(one["rank"]) for one in placed]), np.array([int(one["tied"]) for one in placed])


def recall(rank: np.ndarray, tied: np.ndarray, cut: int) -> np.ndarray:
    """Share of the orders of equal candidates in which the right one is among the first `cut`."""
    return np.asarray(np.clip((cut + 1 - rank) / (tied + 1), 0.0, 1.0))


def reciprocal(rank: np.ndarray, tied: np.ndarray) -> np.ndarray:
    """Mean of 1 / rank over the orders of equal candidates."""
    sums = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int((rank + tied).max()) + 1))])
    return np.asarray((sums[rank + tied] - sums[rank - 1]) / (tied + 1))


def _mean_recall(places: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    return np.asarray(np.mean([recall(*place, cut) for place in places for cut in CUTS], axis=0))


def losses(lines: Sequence[Line]) -> np.ndarray:
    """1 - mean recall of each line, (lines,)."""
    return np.asarray(1 - _mean_recall([_places(lines, key) for key in DIRECTIONS.values()]))


def chance(num_candidates: int, cut: int) -> float:
    """Recall of a random order with one right candidate, exactly."""
    return min(1.0, cut / num_candidates)


def block(lines: Sequence[Line]) -> int:
    """1: pairs are asked about one by one."""
    return 1


def changed(a: Line, b: Line) -> bool:
    """Whether another text or another picture stands first."""
    return any(a["prediction"][key]["best"][:1] != b["prediction"][key]["best"][:1] for key in DIRECTIONS.values())


def agrees(stored: Line, fresh: Line, noise: float) -> bool:
    """The same similarities but for the last digits, and ranks that moved by no more than there are candidates near."""
    one, other = stored["prediction"], fresh["prediction"]
    allowed = max(noise, TOLERANCE)
    if abs(one["similarity"] - other["similarity"]) > allowed:
        return False
    return all(_same_place(one[key], other[key], allowed) for key in DIRECTIONS.values())


def _same_place(stored: Line, fresh: Line, allowed: float) -> bool:
    moved = max(abs(stored["rank"] - fresh["rank"]), abs(stored["tied"] - fresh["tied"]))
    return (
        moved <= fresh["near"]
        and len(stored["best"]) == len(fresh["best"])
        and all(abs(a - b) <= allowed for a, b in zip(stored["similarities"], fresh["similarities"], strict=True))
    )


def _mean(metric: Metric, values: np.ndarray, pictures: Sequence[str], seed: int) -> Score:
    low, high = bootstrap(values, seed, DRAWS, pictures)
    value = float(values.mean())
    method = f"percentile-bootstrap(draws={DRAWS},seed={seed},by=picture)"
    return Score(metric.name, value, metric.direction, min(low, value), max(high, value), method)


def _median(metric: Metric, values: np.ndarray, pictures: Sequence[str], seed: int) -> Score:
    """The interval is over the lower medians of resampled pictures."""
    value = float(np.median(values))
    order = np.argsort(values, kind="stable")
    _, which = np.unique(np.asarray(pictures), return_inverse=True)
    size = int(which.max()) + 1
    rng = np.random.default_rng(seed)
    drawn: list[float] = []
    for _ in range(0, DRAWS, step := max(1, CHUNK // max(size, len(values)))):
        often = rng.multinomial(size, np.full(size, 1 / size), size=min(step, DRAWS - len(drawn)))
        passed = np.cumsum(often[:, which[order]], axis=1)
        drawn += values[order[(2 * passed >= passed[:, -1:]).argmax(axis=1)]].tolist()
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    method = f"percentile-bootstrap(draws={DRAWS},seed={seed},by=picture)"
    return Score(metric.name, value, metric.direction, min(low, value), max(high, value), method)
