"""plots: the learning curve, the spread over seeds and the slices, for people who look rather than read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from modelcommons.workbench.engine.drawing import ACCENT, COLORS, INK, PALE, plain, svg
from modelcommons.workbench.engine.scoring import Score
from modelcommons.workbench.engine.training import Fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Words = Mapping[str, str]


def learning_curve(fits: Mapping[int, Fit], chosen: int | None, words: Words) -> str:
    """Validation metric and training loss by epoch, one line per seed; `chosen` is the one that is shipped alone."""

    def draw(figure: Figure) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        for color, (seed, fit) in zip(_colors(len(fits)), fits.items(), strict=True):
            epochs = [point.epoch for point in fit.curve]
            label = f"{words['seed']} {seed}" + (f" ({words['chosen']})" if seed == chosen and len(fits) > 1 else "")
            top.plot(epochs, [point.metric for point in fit.curve], marker="o", markersize=3, color=color, label=label)
            losses = [(point.epoch, point.train_loss) for point in fit.curve if np.isfinite(point.train_loss)]
            if losses:
                bottom.plot(*zip(*losses, strict=True), marker="o", markersize=3, color=color)
        first = next(iter(fits.values()))
        top.set_ylabel(f"{first.metric}\n({words['validation']})")
        bottom.set(xlabel=words["epoch"], ylabel=words["train_loss"])
        if len(fits) > 1:
            top.legend(frameon=False)
        plain(top)
        plain(bottom)

    return svg(draw, 6.4, 4.4)


def seeds(scores: Mapping[int, Score], together: Score | None, words: Words) -> str:
    """The main metric of every seed with its interval, beside all together, or else their mean."""
    names = {f"{words['seed']} {seed}": score for seed, score in scores.items()}
    if together:
        return _dots(names, together.value, words["together"], words)
    return _dots(names, float(np.mean([score.value for score in scores.values()])), words["mean"], words)


def slices(parts: Mapping[str, Score], whole: Score, words: Words) -> str:
    """One metric on each slice with its interval, beside all rows."""
    return _dots(parts, whole.value, words["all_rows"], words) if parts else ""


def _dots(scores: Mapping[str, Score], line: float, line_name: str, words: Words) -> str:
    metric = next(iter(scores.values())).metric

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        places = np.arange(len(scores))
        values = np.array([score.value for score in scores.values()])
        reach = [
            [score.value - score.low for score in scores.values()],
            [score.high - score.value for score in scores.values()],
        ]
        axes.axvline(line, color=ACCENT, linestyle="--", linewidth=1, label=line_name)
        axes.errorbar(
            values, places, xerr=np.clip(reach, 0, None), fmt="o", color=INK, ecolor=PALE, capsize=3, markersize=5
        )
        axes.set_yticks(places, [short(name) for name in scores])
        axes.set_ylim(len(scores) - 0.5, -0.5)
        axes.set_xlabel(f"{metric} ({words['interval']})")
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        plain(axes)

    return svg(draw, 6.4, 1.1 + 0.32 * len(scores))


def short(text: str, longest: int = 32) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _colors(count: int) -> list[str]:
    return [COLORS[index % len(COLORS)] for index in range(count)]
