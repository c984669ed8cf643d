"""figures: forecasts beside what came, and the error by step ahead, for people who look rather than read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from modelcommons.workbench.engine.drawing import ACCENT, INK, PALE, plain, svg
from modelcommons.workbench.fields.series.rows import evenly
from modelcommons.workbench.task import Line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS = {
    "en": {
        "forecasts": "Forecasts", "by_step": "Error by step ahead", "truth": "what came", "forecast": "forecast",
        "step": "steps ahead", "mae": "mean absolute error", "naive": "seasonal naive, in-sample",
    },
    "zh": {
        "forecasts": "预测示例", "by_step": "各预测步的误差", "truth": "实际值", "forecast": "预测值",
        "step": "预测步数", "mae": "平均绝对误差", "naive": "季节性朴素法(训练段)",
    },
}  # fmt: skip
SHOWN = 3  # windows drawn: the first, the middle, the last


def figures(lines: Sequence[Line], language: Literal["en", "zh"] = "en") -> list[tuple[str, str]]:
    """(title, SVG) pairs."""
    words = WORDS[language]
    return [
        (words["forecasts"], svg(lambda figure: _draw_forecasts(figure, lines, words), 7.0, 2.0 * SHOWN)),
        (words["by_step"], svg(lambda figure: _draw_steps(figure, lines, words), 7.0, 2.6)),
    ]


def _draw_forecasts(figure: Figure, lines: Sequence[Line], words: dict[str, str]) -> None:
    which = evenly(len(lines), SHOWN).tolist()
    for axes, at in zip(np.atleast_1d(figure.subplots(len(which), 1)), which, strict=True):
        line = lines[at]
        prediction = {key: np.array(value)[:, -1] for key, value in line["prediction"].items()}  # the last channel
        steps = np.arange(1, len(prediction["mean"]) + 1)
        axes.plot(steps, np.array(line["target"]["values"])[:, -1], color=INK, label=words["truth"])
        axes.plot(steps, prediction["mean"], color=ACCENT, label=words["forecast"])
        if "low" in prediction:
            axes.fill_between(steps, prediction["low"], prediction["high"], color=ACCENT, alpha=0.15, linewidth=0)
        axes.set_title(str(line["id"]), fontsize=9, loc="left")
        plain(axes)
    axes.set_xlabel(words["step"])
    axes.legend(frameon=False, fontsize=8)


def _draw_steps(figure: Figure, lines: Sequence[Line], words: dict[str, str]) -> None:
    total, naive = 0.0, 0.0
    for line in lines:
        total = total + np.abs(np.array(line["prediction"]["mean"]) - np.array(line["target"]["values"])).mean(axis=1)
        naive += float(np.mean(line["target"]["scale"]))
    axes = figure.subplots()
    error = np.atleast_1d(total) / max(len(lines), 1)
    axes.plot(np.arange(1, len(error) + 1), error, color=ACCENT)
    axes.axhline(naive / max(len(lines), 1), color=PALE, linestyle="--", linewidth=0.8, label=words["naive"])
    axes.set_xlabel(words["step"])
    axes.set_ylabel(words["mae"])
    axes.set_ylim(bottom=0)
    plain(axes)
    axes.legend(frameon=False, fontsize=8)
