"""metrics: how right answers are, from stored lines alone; the questions about one passage are drawn together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from modelcommons.errors import DataError, FormatError
from modelcommons.workbench.engine.statistics import bootstrap
from modelcommons.workbench.fields.text.spans.rules import RULES, compare
from modelcommons.workbench.task import Line, Metric, Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = (
    Metric("f1", "higher", 0.0, 1.0, "words in common with a known answer, the best of them; mean over the questions"),
    Metric("exact_match", "higher", 0.0, 1.0, "share of the answers that are a known one, but for case and marks"),
)
DRAWS = 2000
TOLERANCE = 1e-3  # of a margin: what a re-run on another machine may move


def scores(lines: Sequence[Line], seed: int = 0) -> list[Score]:
    """F1 and exact match by the rules that stand in each line, with a bootstrap of the passages.

    Raises:
        DataError: there are no lines.
        FormatError: a line is no answer to a question about a passage.
    """
    if not lines:
        raise DataError("Expected questions to score, there are none. Give the test at least one row.")
    exact, f1 = _compared(lines)
    passages = [str(line["target"]["passage"]) for line in lines]
    groups = passages if len(set(passages)) > 1 else None
    method = f"percentile-bootstrap({'passages' if groups else 'questions'},draws={DRAWS},seed={seed})"
    found = []
    for metric, values in zip(METRICS, (f1, exact), strict=True):
        value = float(values.mean())
        low, high = bootstrap(values, seed, DRAWS, groups)
        right = int(values.sum()) if metric.name == "exact_match" else None
        den = None if right is None else len(lines)
        found.append(Score(metric.name, value, "higher", min(low, value), max(high, value), method, right, den))
    return found


def losses(lines: Sequence[Line]) -> np.ndarray:
    """1 - F1 of each answer, (lines,)."""
    return np.asarray(1.0 - _compared(lines)[1])


def block(lines: Sequence[Line]) -> int:
    """Questions of a passage, on average."""
    return max(1, round(len(lines) / max(1, len({line["target"]["passage"] for line in lines}))))


def changed(a: Line, b: Line) -> bool:
    """Whether the answers are different stretches."""
    return bool(a["prediction"] != b["prediction"])


def agrees(stored: Line, fresh: Line, noise: float) -> bool:
    """The same stretch, or one that the recorded margin leaves open; and a margin that moved by no more than noise."""
    allowed = max(noise, TOLERANCE)
    if changed(stored, fresh):
        return bool(stored.get("margin", 0.0) <= allowed)
    return bool(abs(stored.get("margin", 0.0) - fresh.get("margin", 0.0)) <= allowed)


def _compared(lines: Sequence[Line]) -> tuple[np.ndarray, np.ndarray]:
    """Exact match and F1 of each line, (lines,) float64."""
    try:
        found = []
        for line in lines:
            target, answer = line["target"], line["prediction"]["text"]
            if target["rules"] not in RULES or not isinstance(answer, str):
                raise ValueError(f"rules {target['rules']!r}, answer {answer!r:.40}")
            found.append(compare(target["rules"], answer, target["answers"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(
            "Expected lines with `answers`, `rules` and `passage` as target and a text as prediction; "
            f"one has none ({error}). Score the model again."
        ) from error
    exact, f1 = np.array(found, np.float64).reshape(-1, 2).T
    return exact, f1


WORDS = {
    "en": {"title": "F1 of the surest answers", "x": "share of the questions that is answered, surest first",
           "y": "their mean F1", "all": "all questions"},
    "zh": {"title": "最有把握的回答的 F1", "x": "作答的问题所占份额，从最有把握的开始", "y": "它们的平均 F1",
           "all": "全部问题"},
}  # fmt: skip


def figures(lines: Sequence[Line], language: Literal["en", "zh"] = "en") -> list[tuple[str, str]]:
    """(title, SVG) pairs: whether the margin tells which answers can be relied on."""
    from modelcommons.workbench.engine.drawing import ACCENT, INK, plain, svg

    if not all("margin" in line for line in lines):
        return []
    words, f1 = WORDS[language], 1.0 - losses(lines)
    order = np.argsort([-line["margin"] for line in lines], kind="stable")
    counts = np.arange(1, len(f1) + 1)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot(counts / len(f1), np.cumsum(f1[order]) / counts, color=INK)
        axes.axhline(float(f1.mean()), color=ACCENT, linestyle="--", label=words["all"])
        axes.set(xlabel=words["x"], ylabel=words["y"], xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(frameon=False)
        plain(axes)

    return [(words["title"], svg(draw, 5.0, 2.8))]
