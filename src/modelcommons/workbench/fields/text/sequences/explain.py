"""explaining: which words of the source an answer rests on, by leaving each out."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from modelcommons.workbench.fields.text.explain import spans, without
from modelcommons.workbench.fields.text.sequences.model import SequenceModel
from modelcommons.workbench.task import Attribution, Row


class Explainer:
    """Features are the words of the source; removing one takes it out."""

    def __init__(self, model: SequenceModel) -> None:
        self._model = model
        self._seen: dict[str, str] = {}

    def attribute(self, row: Row) -> Attribution:
        """How many nats dearer the model's own answer gets without each word."""
        words, answer = spans(row.x), self._answer(row)
        if not words:
            return Attribution(np.zeros(1), ("",), method="nothing to leave out", answer=answer)
        texts = [row.x, *(without(row.x, words, np.array([at])) for at in range(len(words)))]
        costs = self._model.nats([(text, answer) for text in texts])
        names = tuple(row.x[start:end] for start, end in words)
        return Attribution(costs[1:] - costs[0], names, method="leaving out each word (occlusion)", answer=answer)

    def strength(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """Minus the nats of the original answer, for each trial."""
        words, answer = spans(row.x), self._answer(row)
        texts = [without(row.x, words, indices[indices < len(words)]) for indices in removed]
        return -self._model.nats([(text, answer) for text in texts])

    def show(self, row: Row, attribution: Attribution) -> str:
        """The source, words that the answer rests on in blue, those against it in orange; then the answer, and the
        training source it was taken from, if it was."""
        most = max(1e-12, float(np.abs(attribution.weights).max()))
        pieces, end = [], 0
        for (start, stop), weight in zip(spans(row.x), attribution.weights, strict=False):
            color = "37,99,235" if weight > 0 else "234,88,12"
            style = f"background:rgba({color},{min(1.0, abs(float(weight)) / most) * 0.55:.2f})"
            pieces.append(html.escape(row.x[end:start]))
            pieces.append(f'<span style="{style}" title="{float(weight):+.3f}">{html.escape(row.x[start:stop])}</span>')
            end = stop
        body = f"{''.join(pieces)}{html.escape(row.x[end:])} → <b>{html.escape(attribution.answer)}</b>"
        (known,) = self._model.known([row.x])
        taken = f"<br><small>{known.likeness:.2f} = {html.escape(known.source)}</small>" if known else ""
        return f'<p class="text">{body}{taken}</p>'

    def _answer(self, row: Row) -> str:
        if row.id not in self._seen:
            self._seen[row.id] = str(self._model.predict([row])[0]["prediction"]["text"])
        return self._seen[row.id]
