"""explaining: which words of what stands before a continuation rests on, by leaving each out."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from modelcommons.workbench.fields.text.explain import spans, without
from modelcommons.workbench.fields.text.language.model import LanguageModel
from modelcommons.workbench.fields.text.language.passages import Passage, Prompt
from modelcommons.workbench.task import Attribution, Row

READ = 240  # characters before the continuation, whose words are weighed
WRITTEN = 8  # tokens of the continuation that are explained


class Explainer:
    """Features are the words before the continuation; removing one takes it out of the text."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._seen: dict[str, tuple[str, str]] = {}

    def attribute(self, row: Row) -> Attribution:
        """How many nats dearer the model's own continuation gets without each word."""
        text, written = self._continued(row)
        words = spans(text)
        if not words:
            return Attribution(np.zeros(1), ("",), method="nothing to leave out", answer=written)
        costs = self._costs([without(text, words, np.array([at])) for at in range(len(words))], written)
        weights = costs - self._costs([text], written)[0]
        return Attribution(
            weights, tuple(text[a:b] for a, b in words), method="leaving out each word (occlusion)", answer=written
        )

    def strength(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """Minus the nats of the original continuation, for each trial."""
        text, written = self._continued(row)
        words = spans(text)
        texts = [without(text, words, indices[indices < len(words)]) for indices in removed]
        return -self._costs(texts, written)

    def show(self, row: Row, attribution: Attribution) -> str:
        """The text, words that the continuation rests on in blue, those against it in orange; then the continuation."""
        text, written = self._continued(row)
        most = max(1e-12, float(np.abs(attribution.weights).max()))
        pieces, end = [], 0
        for (start, stop), weight in zip(spans(text), attribution.weights, strict=False):
            color = "37,99,235" if weight > 0 else "234,88,12"
            style = f"background:rgba({color},{min(1.0, abs(float(weight)) / most) * 0.55:.2f})"
            pieces.append(html.escape(text[end:start]))
            pieces.append(f'<span style="{style}" title="{float(weight):+.3f}">{html.escape(text[start:stop])}</span>')
            end = stop
        body = f"{''.join(pieces)}{html.escape(text[end:])}<b>{html.escape(written)}</b>"
        return f'<p class="text" style="white-space:pre-wrap">{body}</p>'

    def _continued(self, row: Row) -> tuple[str, str]:
        """What stands before, and how the model goes on with it at temperature 0.

        Of a passage the first half is read, so that something stands before the continuation of a text's first one.
        """
        if row.id not in self._seen:
            x = row.x
            end = x.start + len(x.asked) // 2 if isinstance(x, Passage) else len(x.text)
            text = x.text[max(0, end - READ) : end]
            asked = Prompt(text=text, max_tokens=WRITTEN, temperature=0)
            self._seen[row.id] = (text, str(self._model.write(asked)["text"]))
        return self._seen[row.id]

    def _costs(self, texts: Sequence[str], written: str) -> np.ndarray:
        """Nats of the continuation behind each text, (texts,)."""
        passages = [Passage(text + written, len(text), len(text) + len(written)) for text in texts]
        return np.array([cost["nats"] for cost in self._model.costs(passages)])
