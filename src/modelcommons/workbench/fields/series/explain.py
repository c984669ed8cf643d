"""explain: which stretch of which channel's past, and what beside it, a forecast rests on; by taking it away."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from modelcommons.workbench.engine.drawing import ACCENT, INK
from modelcommons.workbench.fields.series.forecaster import Forecaster, Inputs
from modelcommons.workbench.fields.series.rows import History
from modelcommons.workbench.task import Attribution, Row

MOST_STRETCHES = 24  # features for each channel
SHOWN = 5  # columns beside the series, in words
WIDTH, HEIGHT = 640, 120  # of the drawing, in pixels


class Explainer:
    """Features are stretches of the look-back, channel by channel, then the columns beside the series, each as a whole;
    one is removed by its mean over the look-back.
    """

    def __init__(self, model: Forecaster) -> None:
        self.model = model
        self.edges = np.unique(np.linspace(0, model.config.lookback, MOST_STRETCHES + 1).astype(int))
        self.beside = tuple((kind, at) for kind in ("known", "past") for at in range(len(getattr(model.config, kind))))

    def attribute(self, row: Row) -> Attribution:
        """How far each feature moves the forecast, in units of the seasonal naive's error; for a linear map exact."""
        config, num_stretches = self.model.config, len(self._parts) * len(self.model.config.channels)
        moved = -self.strength(row, [np.array([feature]) for feature in range(num_stretches + len(self.beside))])
        stretches = (f"{channel} {self._name(part)}" for channel in config.channels for part in self._parts)
        names = (*stretches, *config.known, *config.past)
        shape = () if self.beside else (len(config.channels), len(self._parts))
        ahead = f"{config.horizon} steps from {str(row.x.start).replace('T', ' ')}"
        return Attribution(moved, names, shape, "occlusion by the look-back's mean", ahead)

    def strength(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """Minus the mean distance from the undisturbed forecast: 0 when nothing was removed."""
        whole = self.model.inputs([row.x])
        trials = [whole, *(self._without(whole, features) for features in removed)]
        forecasts = []
        for start in range(0, len(trials), 64):
            chunk = trials[start : start + 64]
            forecasts.append(
                self.model.run({name: np.concatenate([one[name] for one in chunk]) for name in whole})["mean"]
            )
        every = np.concatenate(forecasts)
        distance = np.abs(every[1:] - every[0]) / self._unit(row.x)
        return np.asarray(-distance.mean(axis=(1, 2)))

    def show(self, row: Row, attribution: Attribution) -> str:
        """The look-back of the channel that matters most, shaded by weight, and its forecast."""
        num_channels = len(self.model.config.channels)
        stretches = attribution.weights[: num_channels * len(self._parts)].reshape(num_channels, -1)
        channel = int(stretches.sum(axis=1).argmax())
        inputs = self.model.inputs([row.x])
        past, ahead = inputs["history"][0, :, channel], self.model.run(inputs)["mean"][0, :, channel]
        title = f"{self.model.config.channels[channel]}: {attribution.answer}"
        return _draw(past, ahead, self.edges, stretches[channel], title) + self._beside(attribution)

    @property
    def _parts(self) -> range:
        return range(len(self.edges) - 1)

    def _name(self, part: int) -> str:
        """Steps before the origin: `lag 25-48`."""
        lookback = self.model.config.lookback
        last, first = lookback - self.edges[part], lookback - self.edges[part + 1] + 1
        return f"lag {first}" if first == last else f"lag {first}-{last}"

    def _beside(self, attribution: Attribution) -> str:
        """How much each column beside the series moves the forecast, in words."""
        count = len(self.beside)
        if not count:
            return ""
        told = sorted(zip(attribution.weights[-count:], attribution.names[-count:], strict=True), reverse=True)
        return f"<p>{html.escape(', '.join(f'{name} {weight:.2g}' for weight, name in told[:SHOWN]))}</p>"

    def _without(self, inputs: Inputs, features: np.ndarray) -> Inputs:
        found = {name: value.copy() for name, value in inputs.items()}
        level, num_stretches = inputs["history"].mean(axis=1), len(self._parts) * len(self.model.config.channels)
        for feature in np.asarray(features, int).tolist():
            if feature < num_stretches:
                channel, part = divmod(feature, len(self._parts))
                found["history"][:, self.edges[part] : self.edges[part + 1], channel] = level[:, channel]
            else:
                kind, column = self.beside[feature - num_stretches]
                found[kind][:, :, column] = inputs[kind][:, : self.model.config.lookback, column].mean()
        return found

    def _unit(self, history: History) -> np.ndarray:
        return history.naive if history.naive is not None else np.ones(len(self.model.config.channels))


def _draw(past: np.ndarray, ahead: np.ndarray, edges: np.ndarray, weights: np.ndarray, title: str) -> str:
    """SVG: a line for the look-back, its stretches shaded by weight, and a dashed line for the forecast."""
    every = np.concatenate([past, ahead])
    low, high = float(every.min()), float(every.max())
    x = np.arange(len(every)) / max(len(every) - 1, 1) * WIDTH
    y = HEIGHT - (every - low) / max(high - low, 1e-12) * (HEIGHT - 8) - 4
    heat = weights / max(float(weights.max()), 1e-12)
    step = WIDTH / max(len(every) - 1, 1)
    shades = "".join(
        f'<rect x="{edges[part] * step:.1f}" width="{(edges[part + 1] - edges[part]) * step:.1f}" height="{HEIGHT}" '
        f'fill="{ACCENT}" fill-opacity="{0.6 * heat[part]:.2f}"/>'
        for part in range(len(weights))
    )
    known, forecast = (
        " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x[part], y[part], strict=True))
        for part in (slice(None, len(past)), slice(len(past) - 1, None))
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{html.escape(title)}</title>{shades}"
        f'<polyline points="{known}" fill="none" stroke="{INK}"/>'
        f'<polyline points="{forecast}" fill="none" stroke="{ACCENT}" stroke-dasharray="4 2"/></svg>'
    )
