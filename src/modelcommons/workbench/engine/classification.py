"""classification, whatever is classified: answers from probabilities, scores from stored lines, the floor, two figures.

A line is `{"id", "margin", "prediction": {"label", "probabilities": {label: probability}}, "target": label}`. The
probabilities carry their labels, so that one line, opened alone, can be read and disputed. `margin` is the largest
probability less the second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from modelcommons.errors import DataError, FormatError
from modelcommons.workbench.engine.drawing import ACCENT, INK, PALE, plain, svg
from modelcommons.workbench.engine.scoring import Metric, Score
from modelcommons.workbench.engine.statistics import bootstrap, wilson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Answer = dict[str, Any]
Line = dict[str, Any]

BINS = 15  # of equal width, over the probability of the answer
DRAWS = 2000
LEAST = 1e-15  # a smaller probability counts as this in the log loss: one sure error is not infinitely bad
EXACT, GROUPS = 100_000, 1024  # more rows than `EXACT` are resampled in this many groups
NOISE = 1e-4  # probabilities of a re-run may always differ by this much

METRICS = (
    Metric("accuracy", "higher", 0.0, 1.0, "share of rows whose label is right"),
    Metric("macro_f1", "higher", 0.0, 1.0, "F1 of each label, averaged over the labels, rare ones weighing as much"),
    Metric("log_loss", "lower", 0.0, -float(np.log(LEAST)), "mean of -log of the probability given to the right label"),
    Metric("calibration_error", "lower", 0.0, 1.0, f"how far confidence is from accuracy, in {BINS} equal bins (ECE)"),
)


# --- answers --------------------------------------------------------------------------------------------------------


def answers(probabilities: np.ndarray, labels: Sequence[str]) -> list[Answer]:
    """One answer per row; floats keep 6 significant digits.

    Args:
        probabilities: shape (rows, labels), each row sums to 1.
    """
    best = probabilities.argmax(axis=1)  # of equal ones the first
    top = np.sort(probabilities, axis=1)[:, -2:]
    margins = top[:, -1] - top[:, 0] if len(labels) > 1 else top[:, 0]
    return [
        {
            "margin": rounded(margin),
            "prediction": {
                "label": labels[index],
                "probabilities": {label: rounded(value) for label, value in zip(labels, row, strict=True)},
            },
        }
        for index, margin, row in zip(best.tolist(), margins.tolist(), probabilities.tolist(), strict=True)
    ]


def rounded(value: float) -> float:
    """6 significant digits."""
    return float(f"{value:.6g}")


@dataclass
class Majority:
    """The floor: gives every row the class shares of the training rows, hence always the most frequent label."""

    labels: Sequence[str]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, labels: Iterable[str]) -> Majority:
        """From the labels of the training rows."""
        counts = Counter(labels)
        names = tuple(sorted(counts))
        return cls(names, tuple(counts[name] / counts.total() for name in names))

    def predict(self, rows: Sequence[object]) -> list[Answer]:
        return answers(np.array([self.shares]), self.labels) * len(rows)  # the same answer to all


# --- comparing two answers ------------------------------------------------------------------------------------------


def losses(lines: Sequence[Line]) -> np.ndarray:
    """1 where the label is wrong, else 0; shape (lines,)."""
    outcomes = Outcomes.of(lines)
    return np.asarray(outcomes.target != outcomes.answer, np.float64)


def changed(a: Line, b: Line) -> bool:
    return bool(a["prediction"]["label"] != b["prediction"]["label"])


def block(lines: Sequence[Line]) -> int:
    """1: rows are independent."""
    return 1


def agrees(stored: Line, fresh: Line, noise: float) -> bool:
    """Same label, or one that the recorded margin leaves open; and probabilities that differ by no more than noise.

    Args:
        noise: of a probability, as measured for the model between two settings of the machine.
    """
    same = not changed(stored, fresh) or stored["margin"] <= noise
    old, new = stored["prediction"]["probabilities"], fresh["prediction"]["probabilities"]
    return same and old.keys() == new.keys() and all(abs(old[k] - new[k]) <= max(noise, NOISE) for k in old)


# --- scores ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What scores need of the lines, as arrays of shape (lines,)."""

    labels: tuple[str, ...]  # that stand in the lines as target or answer, sorted
    target: np.ndarray  # index into `labels`
    answer: np.ndarray  # index into `labels`
    confidence: np.ndarray  # probability of the answer
    right: np.ndarray  # probability of the target; 0 where the model does not know that label

    @classmethod
    def of(cls, lines: Sequence[Line]) -> Outcomes:
        """From lines in memory; or, for millions, from an Arrow table of them when `lines` has one as `table`.

        Raises:
            FormatError: a line is no classification, or a probability is none.
        """
        if not len(lines):
            raise DataError("Expected predictions to score, there are none. Give the test at least one row.")
        table = getattr(lines, "table", None)
        try:
            outcomes = _from_table(table) if table is not None else _from_lines(lines)
        except (KeyError, TypeError, AttributeError) as error:
            raise FormatError(
                "Expected lines with `target`, `prediction.label` and `prediction.probabilities` by label; "
                f"one has none ({error}). Score the model again."
            ) from error
        for values in (outcomes.confidence, outcomes.right):
            if not ((values >= 0) & (values <= 1)).all():
                raise FormatError("Expected probabilities between 0 and 1, one is not. Score the model again.")
        return outcomes


def _from_lines(lines: Sequence[Line]) -> Outcomes:
    targets = [line["target"] for line in lines]
    answered = [line["prediction"]["label"] for line in lines]
    given = [line["prediction"]["probabilities"] for line in lines]
    labels = tuple(sorted({*targets, *answered}))
    index = _places(labels)
    return Outcomes(
        labels,
        np.array([index[label] for label in targets]),
        np.array([index[label] for label in answered]),
        np.array([row[label] for row, label in zip(given, answered, strict=True)], dtype=np.float64),
        np.array([row.get(label, 0.0) for row, label in zip(given, targets, strict=True)], dtype=np.float64),
    )


def _from_table(table: Any) -> Outcomes:
    """From a pyarrow Table with the columns `target` and `prediction` (a struct); a label is a field of the struct."""
    prediction = table["prediction"].combine_chunks()
    targets = table["target"].combine_chunks().dictionary_encode()
    answered = prediction.field("label").dictionary_encode()
    labels = tuple(sorted({*targets.dictionary.to_pylist(), *answered.dictionary.to_pylist()}))
    target, answer = (_positions(column, labels) for column in (targets, answered))
    confidence, right = np.zeros(len(target)), np.zeros(len(target))
    probabilities, places = prediction.field("probabilities"), _places(labels)
    for field in probabilities.type:
        if field.name in places:
            values = probabilities.field(field.name).cast("double").fill_null(0.0).to_numpy()
            position = places[field.name]
            np.copyto(right, values, where=target == position)
            np.copyto(confidence, values, where=answer == position)
    return Outcomes(labels, target, answer, confidence, right)


def _places(labels: Sequence[str]) -> dict[str, int]:
    return {label: place for place, label in enumerate(labels)}


def _positions(column: Any, labels: tuple[str, ...]) -> np.ndarray:
    """Index into `labels` of each value of a dictionary-encoded column."""
    places = _places(labels)
    where = np.array([places[label] for label in column.dictionary.to_pylist()])
    return np.asarray(where[column.indices.to_numpy()])


def scores(lines: Sequence[Line], seed: int = 0) -> list[Score]:
    """The `METRICS`, in order, from stored lines alone.

    Args:
        lines: parsed lines; a sequence with an Arrow `table` of them is read column by column (see `Outcomes.of`).
        seed: of the bootstrap.
    """
    outcomes = Outcomes.of(lines)
    return [
        _accuracy(outcomes),
        _macro_f1(outcomes, seed),
        _log_loss(outcomes, seed),
        _calibration_error(outcomes, seed),
    ]


def _accuracy(outcomes: Outcomes) -> Score:
    num, den = int((outcomes.target == outcomes.answer).sum()), len(outcomes.target)
    return Score("accuracy", num / den, "higher", *wilson(num, den), "wilson", num, den)


def _macro_f1(outcomes: Outcomes, seed: int) -> Score:
    cells, counts = _cells(outcomes)
    value = float(_f1(counts[None].astype(np.float64), cells, len(outcomes.labels))[0])
    draws = np.concatenate([_f1(drawn, cells, len(outcomes.labels)) for drawn in _resampled(counts, seed)])
    low, high = np.quantile(draws, (0.025, 0.975)).tolist()
    return Score("macro_f1", value, "higher", min(low, value), max(high, value), _method("percentile", seed))


def _f1(drawn: np.ndarray, cells: np.ndarray, num_labels: int) -> np.ndarray:
    """Macro F1 of each draw, over the labels that it has as target or answer; `drawn` is (draws, cells)."""
    target, answer = cells
    both, right = np.zeros((len(drawn), num_labels)), np.zeros((len(drawn), num_labels))
    for side in (target, answer):  # (draws, labels): how often as target, plus how often as answer
        order = np.argsort(side, kind="stable")
        labels, starts = np.unique(side[order], return_index=True)
        both[:, labels] += np.add.reduceat(drawn[:, order], starts, axis=1)
    same = target == answer
    right[:, target[same]] = 2 * drawn[:, same]
    return np.asarray((right / np.maximum(both, 1)).sum(1) / (both > 0).sum(1))


def _log_loss(outcomes: Outcomes, seed: int) -> Score:
    surprise = -np.log(np.maximum(outcomes.right, LEAST))
    low, high = bootstrap(surprise, seed, DRAWS) if len(surprise) <= EXACT else _grouped_bootstrap(surprise, seed)
    value = float(surprise.mean())
    return Score("log_loss", value, "lower", min(low, value), max(high, value), _method("percentile", seed))


def _grouped_bootstrap(values: np.ndarray, seed: int) -> tuple[float, float]:
    """Interval of the mean of very many rows: groups of neighbouring rank stand for their rows, each by its mean."""
    group = np.arange(len(values)) * GROUPS // len(values)
    counts = np.bincount(group)
    means = np.bincount(group, np.sort(values)) / counts
    draws = np.concatenate([drawn @ means for drawn in _resampled(counts, seed)]) / len(values)
    low, high = np.quantile(draws, (0.025, 0.975)).tolist()
    return low, high


def _calibration_error(outcomes: Outcomes, seed: int) -> Score:
    """Expected calibration error with equal bins, and an interval whose bias is taken out.

    Source: Guo et al., On Calibration of Modern Neural Networks (2017), section 2. The error of a resample is larger on
    average than the error of the rows (noise adds to every bin's gap), so the draws are shifted by that difference.
    For the draws, rows of a bin are grouped by their gap in steps of 1/512, each group standing for its mean.
    """
    gap = outcomes.confidence - (outcomes.target == outcomes.answer)
    bins = _bins(outcomes.confidence)
    value = float(np.abs(np.bincount(bins, gap, BINS)).sum() / len(gap))
    steps = ((gap + 1) * 512).astype(np.int64)  # 0 to 1024
    keys, group, counts = np.unique(bins * 1025 + steps, return_inverse=True, return_counts=True)
    mean_gap = np.bincount(group, gap) / counts
    by_bin = np.eye(BINS)[keys // 1025] * mean_gap[:, None]  # (groups, bins)
    draws = np.concatenate([np.abs(drawn @ by_bin).sum(1) for drawn in _resampled(counts, seed)]) / len(gap)
    low, high = (np.quantile(draws, (0.025, 0.975)) + value - draws.mean()).tolist()
    low, high = max(0.0, min(low, value)), min(1.0, max(high, value))
    return Score("calibration_error", value, "lower", low, high, _method("shifted", seed))


def _bins(confidence: np.ndarray) -> np.ndarray:
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def _method(kind: str, seed: int) -> str:
    return f"{kind}-bootstrap(draws={DRAWS},seed={seed})"


def _resampled(counts: np.ndarray, seed: int, at_once: int = 250) -> Iterator[np.ndarray]:
    """Bootstrap of rows that fall into few groups: multinomial counts, float64, in chunks of shape (draws, groups)."""
    rng = np.random.default_rng(seed)
    shares = counts / counts.sum()
    for _ in range(DRAWS // at_once):
        yield rng.multinomial(int(counts.sum()), shares, size=at_once).astype(np.float64)


def _cells(outcomes: Outcomes) -> tuple[np.ndarray, np.ndarray]:
    """Cells of the confusion matrix that are not empty, (2, cells): target and answer; and their counts, (cells,)."""
    size = len(outcomes.labels)
    codes, counts = np.unique(outcomes.target * size + outcomes.answer, return_counts=True)
    return np.stack(np.divmod(codes, size)), counts


def confusion(outcomes: Outcomes) -> np.ndarray:
    """Counts, shape (labels, labels): row is the target, column the answer."""
    size = len(outcomes.labels)
    return np.bincount(outcomes.target * size + outcomes.answer, minlength=size * size).reshape(size, size)


# --- figures --------------------------------------------------------------------------------------------------------


WORDS = {
    "en": {
        "confusion": "Which label was taken for which",
        "pairs": "The most frequent mistakes",
        "reliability": "How sure, and how often right",
        "target": "right label",
        "answer": "answer",
        "share": "share of the right label's rows",
        "confidence": "probability of the answer",
        "accuracy": "share that is right",
        "rows": "rows",
        "ideal": "ideal",
    },
    "zh": {
        "confusion": "混淆矩阵",
        "pairs": "最常见的错误",
        "reliability": "把握程度与正确率",
        "target": "正确标签",
        "answer": "回答",
        "share": "占该正确标签行数的比例",
        "confidence": "回答的概率",
        "accuracy": "正确的比例",
        "rows": "行数",
        "ideal": "理想",
    },
}
MANY_LABELS = 20  # more than this: no numbers in the cells, and the worst pairs listed beside
MOST_DRAWN = 400  # labels of a confusion matrix that is drawn
PAIRS = 20


def figures(lines: Sequence[Line], language: Literal["en", "zh"] = "en") -> list[tuple[str, str]]:
    """(title, SVG) pairs: the confusion matrix (with the worst pairs, where labels are many), then how reliable it is.

    Of more labels than `MOST_DRAWN` only the worst pairs: nobody could read the matrix, which grows with their square.
    Text stays text, so that any viewer's fonts show Chinese labels; the same lines give the same bytes.
    """
    outcomes, words = Outcomes.of(lines), WORDS[language]
    size = len(outcomes.labels)
    drawings = [
        *([("confusion", _confusion_figure)] if size <= MOST_DRAWN else []),
        *([("pairs", _pairs_figure)] if size > MANY_LABELS else []),
        ("reliability", _reliability_figure),
    ]
    return [(words[name], draw(outcomes, words)) for name, draw in drawings]


def _confusion_figure(outcomes: Outcomes, words: dict[str, str]) -> str:
    counts, size = confusion(outcomes), len(outcomes.labels)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    many = size > MANY_LABELS
    inches = max(4.2, size * (0.16 if many else 0.44)) + 1.2
    names, font = [_short(label) for label in outcomes.labels], 6 if many else 8

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        figure.colorbar(image, shrink=0.6, label=words["share"])
        axes.set_xticks(range(size), names, rotation=90, fontsize=font)
        axes.set_yticks(range(size), names, fontsize=font)
        axes.set(xlabel=words["answer"], ylabel=words["target"])
        for row, column in [] if many else np.argwhere(counts):
            color = "white" if shares[row, column] > 0.55 else INK
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=color)

    return svg(draw, inches, inches * 0.92)


def _pairs_figure(outcomes: Outcomes, words: dict[str, str]) -> str:
    (target, answer), counts = _cells(outcomes)
    wrong = np.flatnonzero(target != answer)
    worst = wrong[np.argsort(-counts[wrong], kind="stable")[:PAIRS]]
    pairs = zip(target[worst].tolist(), answer[worst].tolist(), strict=True)
    names = [f"{_short(outcomes.labels[one])} → {_short(outcomes.labels[other])}" for one, other in pairs]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.barh(range(len(worst)), counts[worst], color=ACCENT)
        axes.set_yticks(range(len(worst)), names, fontsize=8)
        axes.invert_yaxis()
        axes.set(xlabel=words["rows"], ylabel=f"{words['target']} → {words['answer']}")
        plain(axes)

    return svg(draw, 6.4, 0.8 + 0.22 * max(len(worst), 1))


def _reliability_figure(outcomes: Outcomes, words: dict[str, str]) -> str:
    bins = _bins(outcomes.confidence)
    rows = np.bincount(bins, minlength=BINS)
    used = rows > 0
    confidence = np.bincount(bins, outcomes.confidence, BINS)[used] / rows[used]
    right = np.bincount(bins, outcomes.target == outcomes.answer, BINS)[used]
    low, high = np.array([wilson(int(k), int(n)) for k, n in zip(right, rows[used], strict=True)]).T
    accuracy = right / rows[used]

    def draw(figure: Figure) -> None:
        top, bottom = figure.subplots(2, height_ratios=(3, 1), sharex=True)
        top.plot((0, 1), (0, 1), linestyle=":", color=PALE, label=words["ideal"])
        top.errorbar(confidence, accuracy, (accuracy - low, high - accuracy), marker="o", capsize=2, color=INK)
        top.set(xlim=(0, 1), ylim=(0, 1.02), ylabel=words["accuracy"])
        top.legend(frameon=False, loc="upper left")
        bottom.bar((np.arange(BINS) + 0.5) / BINS, rows, width=0.9 / BINS, color=INK)
        bottom.set(xlabel=words["confidence"], ylabel=words["rows"])
        plain(top)
        plain(bottom)

    return svg(draw, 4.8, 5.2)


def _short(label: str, longest: int = 28) -> str:
    return label if len(label) <= longest else label[: longest - 1] + "…"
