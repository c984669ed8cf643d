"""figures: forecasts beside what came, the error by step ahead, and whether quantiles hold what they promise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from modelcommons.workbench.engine.drawing import ACCENT, INK, PALE, plain, svg
from modelcommons.workbench.fields.series.metrics import quantiles_of
from modelcommons.workbench.fields.series.rows import evenly
from modelcommons.workbench.task import Line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS = {
    "en": {
        "forecasts": "Forecasts", "by_step": "Error by step ahead", "truth": "what came", "forecast": "forecast",
        "step": "steps ahead", "mae": "mean absolute error", "naive": "seasonal naive, in-sample",
        "quantiles": "Quantiles", "promised": "level", "found": "share of values below",
    },
    "zh": {
        "forecasts": "预测示例", "by_step": "各预测步的误差", "truth": "实际值", "forecast": "预测值",
        "step": "预测步数", "mae": "平均绝对误差", "naive": "季节性朴素法(训练段)",
        "quantiles": "分位数", "promised": "名义水平", "found": "实际落在其下的比例",
    },
}  # fmt: skip
SHOWN = 3  # windows drawn: the first, the middle, the last


def figures(lines: Sequence[Line], language: Literal["en", "zh"] = "en") -> list[tuple[str, str]]:
    """(title, SVG) pairs."""
    words = WORDS[language]
    found = [
        (words["forecasts"], svg(lambda figure: _draw_forecasts(figure, lines, words), 7.0, 2.0 * SHOWN)),
        (words["by_step"], svg(lambda figure: _draw_steps(figure, lines, words), 7.0, 2.6)),
    ]
    if len(lines) and quantiles_of(lines[0]):
        found.append((words["quantiles"], svg(lambda figure: _draw_shares(figure, lines, words), 3.5, 3.0)))
    return found


def _draw_forecasts(figure: Figure, lines: Sequence[Line], words: dict[str, str]) -> None:
    which = evenly(len(lines), SHOWN).tolist()
    for axes, at in zip(np.atleast_1d(figure.subplots(len(which), 1)), which, strict=True):
        line = lines[at]
        mean, truth = (np.array(value)[:, -1] for value in (line["prediction"]["mean"], line["target"]["values"]))
        steps = np.arange(1, len(mean) + 1)
        axes.plot(steps, truth, color=INK, label=words["truth"])
        axes.plot(steps, mean, color=ACCENT, label=words["forecast"])
        for low, high in bands_of(line):
            axes.fill_between(steps, low[:, -1], high[:, -1], color=ACCENT, alpha=0.15, linewidth=0)
        axes.set_title(str(line["id"]), fontsize=9, loc="left")
        plain(axes)
    axes.set_xlabel(words["step"])
    axes.legend(frameon=False, fontsize=8)


def bands_of(line: Line) -> list[tuple[np.ndarray, np.ndarray]]:
    """The fan: each level below the middle with the one as far above it, from the widest; else the interval."""
    every = list(quantiles_of(line).values())
    half = len(every) // 2
    if half:
        return list(zip(every[:half], reversed(every[-half:]), strict=True))
    prediction = line["prediction"]
    return [(np.array(prediction["low"]), np.array(prediction["high"]))] if "low" in prediction else []


def _draw_shares(figure: Figure, lines: Sequence[Line], words: dict[str, str]) -> None:
    below: dict[str, list[float]] = {}
    for line in lines:
        truth = np.array(line["target"]["values"])
        for level, answer in quantiles_of(line).items():
            below.setdefault(level, []).append(float((truth <= answer).mean()))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=PALE, linestyle="--", linewidth=0.8)
    axes.plot([float(level) for level in below], [np.mean(shares) for shares in below.values()], "o-", color=ACCENT)
    axes.set_xlabel(words["promised"])
    axes.set_ylabel(words["found"])
    plain(axes)


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
