"""explain: which stretch of which channel's past a forecast rests on, by taking it away."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from modelcommons.workbench.engine.drawing import ACCENT, INK
from modelcommons.workbench.fields.series.forecaster import Forecaster
from modelcommons.workbench.fields.series.rows import History
from modelcommons.workbench.task import Attribution, Row

MOST_STRETCHES = 24  # features for each channel
WIDTH, HEIGHT = 640, 120  # of the drawing, in pixels


class Explainer:
    """Features are stretches of the look-back, channel by channel; a stretch is removed by the look-back's mean."""

    def __init__(self, model: Forecaster) -> None:
        self.model = model
        self.edges = np.unique(np.linspace(0, model.config.lookback, MOST_STRETCHES + 1).astype(int))

    def attribute(self, row: Row) -> Attribution:
        """How far each stretch moves the forecast, in units of the seasonal naive's error; for a linear map exact."""
        num_features = (len(self.edges) - 1) * len(self.model.config.channels)
        moved = -self.strength(row, [np.array([feature]) for feature in range(num_features)])
        names = tuple(f"{channel} {self._name(part)}" for channel in self.model.config.channels for part in self._parts)
        shape = (len(self.model.config.channels), len(self.edges) - 1)
        ahead = f"{self.model.config.horizon} steps from {str(row.x.start).replace('T', ' ')}"
        return Attribution(moved, names, shape, "occlusion by the look-back's mean", ahead)

    def strength(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """Minus the mean distance from the undisturbed forecast: 0 when nothing was removed."""
        past = self.model.lookback(row.x)
        inputs = np.stack([past, *(self._without(past, features) for features in removed)])
        forecasts = np.concatenate([self.model.run(inputs[at : at + 64])[0] for at in range(0, len(inputs), 64)])
        distance = np.abs(forecasts[1:] - forecasts[0]) / self._unit(row.x)
        return np.asarray(-distance.mean(axis=(1, 2)))

    def show(self, row: Row, attribution: Attribution) -> str:
        """The look-back of the channel that matters most, shaded by weight, and its forecast."""
        weights = attribution.weights.reshape(attribution.shape)
        channel = int(weights.sum(axis=1).argmax())
        past = self.model.lookback(row.x)
        ahead = self.model.run(past[None])[0][0][:, channel]
        title = f"{self.model.config.channels[channel]}: {attribution.answer}"
        return _draw(past[:, channel], ahead, self.edges, weights[channel], title)

    @property
    def _parts(self) -> range:
        return range(len(self.edges) - 1)

    def _name(self, part: int) -> str:
        """Steps before the origin: `lag 25-48`."""
        lookback = self.model.config.lookback
        last, first = lookback - self.edges[part], lookback - self.edges[part + 1] + 1
        return f"lag {first}" if first == last else f"lag {first}-{last}"

    def _without(self, past: np.ndarray, features: np.ndarray) -> np.ndarray:
        past, level = past.copy(), past.mean(axis=0)
        for feature in np.asarray(features, int).tolist():
            channel, part = divmod(feature, len(self._parts))
            past[self.edges[part] : self.edges[part + 1], channel] = level[channel]
        return past

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
