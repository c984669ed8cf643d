"""metrics: what a list of ten is worth, from stored lines alone; every item of the catalogue was a candidate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelcommons.errors import DataError, FormatError
from modelcommons.workbench.engine.statistics import bootstrap, wilson
from modelcommons.workbench.task import Line, Metric, Score

LISTED = 10  # items recommended
METRICS = (
    Metric("recall@10", "higher", 0.0, 1.0, "share found of what was chosen; of more than ten choices, of ten"),
    Metric("ndcg@10", "higher", 0.0, 1.0, "the same with a discount by rank; 1 when what was chosen stands first"),
    Metric("hit_rate@10", "higher", 0.0, 1.0, "share of the lists that hold at least one item that was chosen"),
    Metric("coverage@10", "higher", 0.0, 1.0, "share of the catalogue that stands in at least one list"),
    Metric("novelty@10", "higher", 0.0, float("inf"), "bits: mean of -log2 of the share of users who chose the item"),
    Metric("diversity@10", "higher", 0.0, 1.0, "mean of 1 - cosine over the pairs of a list, by features or audience"),
)
DRAWS = 2000
COVERAGE_DRAWS = 400  # each counts the items of all lists again
DISCOUNT = 1 / np.log2(np.arange(2, LISTED + 2))  # of ranks 1 to 10
TOLERANCE = 1e-5  # of the largest score: what a re-run may move, beside the six digits that are stored


def scores(lines: Sequence[Line], seed: int = 0) -> list[Score]:
    """Every metric, with a bootstrap over the lists.

    Source: NDCG by Järvelin & Kekäläinen (2002) with gains 0 and 1. Recall divides by at most ten, so that a perfect
    list is worth 1 however much was chosen (as in Liang et al., Variational Autoencoders for Collaborative Filtering).

    Raises:
        FormatError: a line is no recommendation.
    """
    if not len(lines):
        raise DataError("Expected predictions to score, there are none. Give the test at least one row.")
    try:
        hits = [found(line) for line in lines]
        wanted = np.array([len(line["target"]["items"]) for line in lines])
        novelty = np.array([float(line["prediction"]["novelty"]) for line in lines])
        diversity = np.array([float(line["prediction"]["diversity"]) for line in lines])
        listed = [[str(item) for item in line["prediction"]["items"]] for line in lines]
        num_items = int(lines[0]["target"]["num_items"])
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"Expected lines with `target.items` and `prediction.items`, one has none ({error}). Score the model again."
        ) from error
    recall = np.array([recall_of(hit, count) for hit, count in zip(hits, wanted.tolist(), strict=True)])
    ndcg = np.array([ndcg_of(hit, count) for hit, count in zip(hits, wanted.tolist(), strict=True)])
    num_hit, num_lists = int(sum(hit.any() for hit in hits)), len(lines)
    return [
        _mean(METRICS[0], recall, seed),
        _mean(METRICS[1], ndcg, seed),
        Score("hit_rate@10", num_hit / num_lists, "higher", *wilson(num_hit, num_lists), "wilson", num_hit, num_lists),
        _coverage(listed, num_items, seed),
        _mean(METRICS[4], novelty, seed),
        _mean(METRICS[5], diversity, seed),
    ]  # fmt: skip


def found(line: Line) -> np.ndarray:
    """Which ranks hold what was chosen, (10,) bool."""
    wanted = set(line["target"]["items"])
    hit = np.zeros(LISTED, bool)
    items = line["prediction"]["items"][:LISTED]
    hit[: len(items)] = [item in wanted for item in items]
    return hit


def recall_of(hit: np.ndarray, num_wanted: int) -> float:
    return float(hit.sum()) / min(LISTED, num_wanted)


def ndcg_of(hit: np.ndarray, num_wanted: int) -> float:
    return float(DISCOUNT[hit].sum() / DISCOUNT[: min(LISTED, num_wanted)].sum())


def losses(lines: Sequence[Line]) -> np.ndarray:
    """1 - recall of each list, (lines,)."""
    return np.array([1 - recall_of(found(line), len(line["target"]["items"])) for line in lines])


def block(lines: Sequence[Line]) -> int:
    """1: users are asked independently."""
    return 1


def changed(a: Line, b: Line) -> bool:
    """Whether another item stands first, or other items in the list."""
    one, other = a["prediction"]["items"], b["prediction"]["items"]
    return bool(one[:1] != other[:1] or set(one) != set(other))


def agrees(stored: Line, fresh: Line, noise: float) -> bool:
    """The same items at the same ranks, or others whose scores were as good as equal."""
    a, b = stored["prediction"], fresh["prediction"]
    if len(a["items"]) != len(b["items"]):
        return False
    scale = max((abs(score) for score in (*a["scores"], *b["scores"])), default=0.0)
    allowed = max(noise, TOLERANCE) * scale
    return all(abs(x - y) <= allowed for x, y in zip(a["scores"], b["scores"], strict=True)) and all(
        item == other or _tied(other, x, a, allowed) or _tied(item, x, b, allowed)
        for item, other, x in zip(a["items"], b["items"], a["scores"], strict=True)
    )


def _tied(item: str, score: float, prediction: Line, allowed: float) -> bool:
    """Whether the item's own score is that of the rank; an item beyond the list must tie with its last."""
    if item in prediction["items"]:
        return bool(abs(prediction["scores"][prediction["items"].index(item)] - score) <= allowed)
    return bool(abs(prediction["scores"][-1] - score) <= allowed)


def _mean(metric: Metric, values: np.ndarray, seed: int) -> Score:
    low, high = bootstrap(values, seed, DRAWS)
    value = float(values.mean())
    method = f"percentile-bootstrap(draws={DRAWS},seed={seed})"
    return Score(metric.name, value, metric.direction, min(low, value), max(high, value), method)


def _coverage(listed: Sequence[Sequence[str]], num_items: int, seed: int) -> Score:
    """Distinct items of all lists, over the catalogue.

    A resample repeats lists and so holds fewer items than the lists do: the draws are shifted by that difference.
    """
    distinct = sorted({item for items in listed for item in items})
    code = {item: at for at, item in enumerate(distinct)}
    lists = np.full((len(listed), LISTED), len(distinct))  # one item more for places that are empty
    for row, items in zip(lists, listed, strict=True):
        row[: len(items)] = [code[item] for item in items[:LISTED]]
    value = len(distinct) / num_items
    rng, draws = np.random.default_rng(seed), np.empty(COVERAGE_DRAWS)
    for at in range(COVERAGE_DRAWS):
        seen = np.zeros(len(distinct) + 1, bool)
        seen[lists[rng.integers(0, len(lists), len(lists))]] = True
        draws[at] = seen[:-1].sum() / num_items
    low, high = (np.quantile(draws, (0.025, 0.975)) + value - draws.mean()).tolist()
    method = f"shifted-bootstrap(draws={COVERAGE_DRAWS},seed={seed})"
    return Score("coverage@10", value, "higher", max(0.0, min(low, value)), min(1.0, max(high, value)), method)
