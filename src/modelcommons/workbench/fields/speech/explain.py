"""explain: which moments of a recording its label or its text rests on, by silencing each."""

from __future__ import annotations

import html
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from modelcommons.workbench.engine.drawing import ACCENT, INK, PALE
from modelcommons.workbench.fields.speech.sound import Sound
from modelcommons.workbench.task import Attribution, Row

MOMENT_S = 0.05  # seconds of a moment, about
FEWEST, MOST = 5, 40  # moments of a recording
LEAST = np.log(1e-9)  # log probability below which an answer is gone
BARS = 240  # of a drawing
WIDTH, HEIGHT = 480, 96


# recordings of one length -> the answer to the first of them, and its log probability in each, (recordings,)
Weigh = Callable[[Sequence[Sound]], tuple[str, np.ndarray]]


class Explainer:
    """Features are moments of equal length; a moment is removed by silence."""

    def __init__(self, weigh: Weigh) -> None:
        self.weigh = weigh

    def attribute(self, row: Row) -> Attribution:
        """How far the log probability of the answer falls when each moment is silent.

        Source: Zeiler & Fergus, Visualizing and Understanding Convolutional Networks (2014), section 4.2.
        """
        edges = self._edges(row)
        alone = [np.array([at]) for at in range(len(edges) - 1)]
        answer, logs = self._weighed(row, [np.array([], np.int64), *alone])
        names = tuple(f"{start / row.x.rate_hz:.2f} s" for start in edges[:-1].tolist())
        method = f"silencing each of {len(alone)} moments (occlusion)"
        return Attribution(logs[0] - logs[1:], names, (), method, answer)

    def strength(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """Probability of the answer that the whole recording gets."""
        return np.asarray(np.exp(self._weighed(row, [np.array([], np.int64), *removed])[1][1:]))

    def show(self, row: Row, attribution: Attribution) -> str:
        """The recording as a wave over its moments: warm for, cold against the answer."""
        edges = self._edges(row) / len(row.x.samples) * WIDTH
        largest = float(np.abs(attribution.weights).max()) or 1.0
        moments = "".join(
            f'<rect x="{start:.1f}" width="{end - start:.1f}" height="{HEIGHT}" '
            f'fill="{ACCENT if weight > 0 else INK}" opacity="{abs(weight) / largest * 0.7:.2f}">'
            f"<title>{html.escape(name)}: {weight:+.3f}</title></rect>"
            for start, end, weight, name in zip(
                edges[:-1], edges[1:], attribution.weights.tolist(), attribution.names, strict=True
            )
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" viewBox="0 0 {WIDTH} {HEIGHT + 14}">'
            f"<title>{html.escape(attribution.answer)}</title>{moments}"
            f'<path d="{_wave(row.x.samples)}" stroke="{INK}" fill="none"/>'
            f'<text x="0" y="{HEIGHT + 12}" font-size="10" fill="{PALE}">0 s</text>'
            f'<text x="{WIDTH}" y="{HEIGHT + 12}" font-size="10" fill="{PALE}" text-anchor="end">'
            f"{row.x.seconds:.2f} s</text></svg>"
        )

    def _edges(self, row: Row) -> np.ndarray:
        """Where moments begin and end, in samples, int64 (moments + 1,)."""
        count = max(FEWEST, min(MOST, round(row.x.seconds / MOMENT_S)))
        return np.linspace(0, len(row.x.samples), count + 1).astype(np.int64)

    def _weighed(self, row: Row, removed: Sequence[np.ndarray]) -> tuple[str, np.ndarray]:
        """The answer to the first of these trials, and its log probability in each, (trials,)."""
        edges, heard = self._edges(row), []
        for features in removed:
            samples = row.x.samples.copy()
            for at in features.tolist():
                samples[edges[at] : edges[at + 1]] = 0
            heard.append(Sound(samples, row.x.rate_hz))
        answer, logs = self.weigh(heard)
        return answer, np.maximum(logs, LEAST)


def _wave(samples: np.ndarray) -> str:
    """Loudest sample of each of `BARS` stretches, as upright strokes of an SVG path."""
    edges = np.linspace(0, len(samples), BARS + 1).astype(np.int64)
    loudest = [np.abs(samples[a:b].astype(np.int64)).max(initial=0) for a, b in itertools.pairwise(edges)]
    peaks = np.array(loudest)
    heights = peaks / max(1, int(peaks.max())) * HEIGHT / 2
    step = WIDTH / BARS
    return "".join(
        f"M{(at + 0.5) * step:.1f} {HEIGHT / 2 - height:.1f}V{HEIGHT / 2 + height:.1f}"
        for at, height in enumerate(heights.tolist())
    )
