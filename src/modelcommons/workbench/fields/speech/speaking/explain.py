"""explain: which characters decide which moments of what is said, by leaving each out of the text."""

# T frames, L pieces of the text

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

import numpy as np

from modelcommons.workbench.engine.drawing import ACCENT, INK, PALE
from modelcommons.workbench.fields.speech.sound import wav
from modelcommons.workbench.fields.speech.speaking.cepstra import COEFFICIENTS, distortion
from modelcommons.workbench.fields.speech.speaking.model import Voice
from modelcommons.workbench.fields.speech.speaking.outline import Outline
from modelcommons.workbench.task import Attribution, Row

WIDTH, HEIGHT = 640, 56
LETTER_PX = 7  # narrower pieces carry no letter in the drawing
MOST_HEARD = 400_000  # bytes of a recording that is put into the page


class Explainer:
    """Features are the characters of the text (words, for an open voice); one is removed by leaving it out."""

    def __init__(self, voice: Voice) -> None:
        self.voice = voice

    def attribute(self, row: Row) -> Attribution:
        """How far what is said moves, in dB of mel-cepstral distortion, when each character is left out.

        Source: Zeiler & Fergus, Visualizing and Understanding Convolutional Networks (2014), section 4.2.
        """
        pieces = self.voice.speaks.pieces(row.x.text)
        weights = -self.strength(row, [np.array([at]) for at in range(len(pieces))])
        method = f"leaving out each of {len(pieces)} characters or words (occlusion)"
        return Attribution(weights, tuple(pieces), (), method, "".join(pieces).strip())

    def strength(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """0 for what is said of the whole text, and the less the further what is said without these is from it, dB."""
        pieces, speaker = self.voice.speaks.pieces(row.x.text), self.voice.asked(row).speaker
        whole = self.voice.speaks.outline(pieces, speaker).cepstra
        found = []
        for features in removed:
            gone = set(features.tolist())
            left = [piece for at, piece in enumerate(pieces) if at not in gone]
            said = any(map(str.isalnum, "".join(left)))
            now = self.voice.speaks.outline(left, speaker).cepstra if said else np.zeros((1, COEFFICIENTS))
            found.append(-distortion(whole, now) if gone else 0.0)
        return np.array(found, np.float64)

    def show(self, row: Row, attribution: Attribution) -> str:
        """The moments of each character, the warmer the more hangs on it; the loudness; and what it sounds like."""
        outline = self.voice.speaks.outline(list(attribution.names), self.voice.asked(row).speaker)
        edges = np.concatenate([[0.0], np.cumsum(outline.seconds)])
        scale = WIDTH / max(float(edges[-1]), 1e-6)
        largest = float(attribution.weights.max(initial=0)) or 1.0
        blocks = "".join(
            self._block(name, start * scale, (end - start) * scale, weight / largest, f"{start:.2f} s: {weight:.2f} dB")
            for name, start, end, weight in zip(
                attribution.names, edges[:-1].tolist(), edges[1:].tolist(), attribution.weights.tolist(), strict=True
            )
        )
        drawing = (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" viewBox="0 0 {WIDTH} {HEIGHT + 14}">'
            f"<title>{html.escape(attribution.answer)}</title>{blocks}"
            f'<polyline points="{_curve(outline)}" stroke="{INK}" fill="none"/>'
            f'<text x="0" y="{HEIGHT + 12}" font-size="10" fill="{PALE}">0 s</text>'
            f'<text x="{WIDTH}" y="{HEIGHT + 12}" font-size="10" fill="{PALE}" text-anchor="end">'
            f"{edges[-1]:.2f} s</text></svg>"
        )
        heard = wav(self.voice.speaks.say(self.voice.asked(row)))
        if len(heard) > MOST_HEARD:
            return drawing
        return f'{drawing}<br><audio controls src="data:audio/wav;base64,{base64.b64encode(heard).decode()}"></audio>'

    def _block(self, name: str, start: float, width: float, share: float, words: str) -> str:
        """One piece as a coloured block with its letters, where they have room."""
        letters = (
            f'<text x="{start + width / 2:.1f}" y="12" font-size="11" text-anchor="middle">{html.escape(name)}</text>'
            if width >= LETTER_PX * len(name)
            else ""
        )
        return (
            f'<rect x="{start:.1f}" width="{width:.1f}" height="{HEIGHT}" fill="{ACCENT}" stroke="white" '
            f'opacity="{0.1 + 0.8 * max(0.0, share):.2f}"><title>{html.escape(repr(name))}, {words}</title></rect>'
            f"{letters}"
        )


def _curve(outline: Outline) -> str:
    """The loudness of each frame as points of a line."""
    loud = outline.loudness - outline.loudness.min()
    heights = HEIGHT - loud / max(float(loud.max()), 1e-6) * (HEIGHT - 20)
    step = WIDTH / len(heights)
    return " ".join(f"{(at + 0.5) * step:.1f},{height:.1f}" for at, height in enumerate(heights.tolist()))
