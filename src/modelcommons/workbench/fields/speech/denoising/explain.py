"""explain: which moments and bands of a recording the mask keeps, and what is left of the answer without them."""

# T frames, F frequencies

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from modelcommons.workbench.engine.drawing import picture_data
from modelcommons.workbench.fields.speech.denoising.model import Enhancer
from modelcommons.workbench.task import Attribution, Row

MOMENT_S = 0.1  # seconds of a moment, about
FEWEST, MOST = 4, 20  # moments of a recording
BANDS = 8
RANGE_DB = 60.0  # that a drawing shows below its loudest
WIDTH, HEIGHT = 480, 120
DROPPED = np.array([200, 85, 61])  # colour of what the mask takes away
KEPT = np.array([31, 58, 95])


class Explainer:
    """Features are moments times bands; one is removed by silence in it."""

    def __init__(self, model: Enhancer) -> None:
        self.model = model

    def attribute(self, row: Row) -> Attribution:
        """The share of the answer's energy that comes through each cell of the mask."""
        spectrum = self._spectrum(row)
        energy = np.abs(spectrum * self.model.mask(spectrum)).astype(np.float64) ** 2
        moments, bands = self._cells(spectrum)
        weights = np.zeros((moments[-1] + 1, BANDS))
        np.add.at(weights, (moments[:, None], bands[None]), energy)
        seconds, hertz = row.x.seconds / len(weights), self.model.rate_hz / 2 / BANDS
        names = tuple(
            f"{moment * seconds:.2f} s, {band * hertz:.0f}-{(band + 1) * hertz:.0f} Hz"
            for moment in range(len(weights))
            for band in range(BANDS)
        )
        method = f"energy through the mask, {len(weights)} moments by {BANDS} bands"
        kept = energy.sum() / max(1e-12, float((np.abs(spectrum).astype(np.float64) ** 2).sum()))
        shares = (weights / max(1e-12, float(weights.sum()))).ravel()
        return Attribution(shares, names, weights.shape, method, f"{kept:.0%} of the energy kept")

    def strength(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """How much of the whole recording's answer is in the answer to what is left of it; 1: all of it."""
        spectrum = self._spectrum(row)
        moments, bands = self._cells(spectrum)
        cell = moments[:, None] * BANDS + bands[None]  # (T, F)
        whole = self._enhanced(spectrum)
        energy = max(1e-12, float(whole @ whole))
        left = [np.where(np.isin(cell, some), np.complex64(0), spectrum) for some in removed]
        return np.array([float(self._enhanced(each) @ whole) / energy for each in left])

    def show(self, row: Row, attribution: Attribution) -> str:
        """The spectrogram: blue is what the mask keeps, red what it takes away."""
        spectrum = self._spectrum(row)
        loud = 20 * np.log10(np.maximum(np.abs(spectrum), 1e-6))
        strong = np.clip((loud - loud.max()) / RANGE_DB + 1, 0, 1)[..., None]  # (T, F, 1)
        mask = self.model.mask(spectrum)[..., None]
        colors = 255 - strong * (255 - (mask * KEPT + (1 - mask) * DROPPED))
        data = picture_data(colors.transpose(1, 0, 2)[::-1].round().astype(np.uint8))
        title = f"{attribution.answer}; {row.x.seconds:.2f} s, 0 to {self.model.rate_hz // 2} Hz"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" viewBox="0 0 {WIDTH} {HEIGHT}">'
            f"<title>{html.escape(title)}</title>"
            f'<image width="{WIDTH}" height="{HEIGHT}" preserveAspectRatio="none" href="{data}"/></svg>'
        )

    def _spectrum(self, row: Row) -> np.ndarray:
        return self.model.stft.analysed(row.x.at(self.model.rate_hz))

    def _enhanced(self, spectrum: np.ndarray) -> np.ndarray:
        num_samples = len(spectrum) * self.model.stft.hop
        return self.model.stft.synthesized(spectrum * self.model.mask(spectrum), num_samples).astype(np.float64)

    def _cells(self, spectrum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The moment of each frame, int64 (T,), and the band of each frequency, int64 (F,)."""
        frames, bins = spectrum.shape
        seconds = frames * self.model.stft.hop / self.model.rate_hz
        count = min(frames, max(FEWEST, min(MOST, round(seconds / MOMENT_S))))
        return np.arange(frames) * count // frames, np.arange(bins) * BANDS // bins
