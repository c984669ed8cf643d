"""explaining: which words around a masked one its answer rests on, by masking each of them too."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from modelcommons.workbench.fields.text.ngrams import WORD
from modelcommons.workbench.fields.text.pretraining.model import FillMask
from modelcommons.workbench.fields.text.pretraining.pairs import MASK, Place, Question
from modelcommons.workbench.task import Attribution, Row

MOST = 200  # words of a row that are weighed; the others stay as they are


class Explainer:
    """Features are the words that are not asked for; removing one masks it. The answer is that to the first place."""

    def __init__(self, model: FillMask) -> None:
        self._model = model

    def attribute(self, row: Row) -> Attribution:
        """How much less likely the model's own answer gets without each word, in nats."""
        words = around(row.x)
        answer = self._model.pieces.text(self._answer(row.x))
        if not words:
            return Attribution(np.zeros(1), ("",), method="nothing to mask", answer=answer)
        found = self._strength(row.x, [[], *([word] for word in words)])
        names = tuple(row.x.word(word) for word in words)
        return Attribution(found[0] - found[1:], names, method="masking each word (occlusion)", answer=answer)

    def strength(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """Log-probability of the original answer, for each trial."""
        words = around(row.x)
        return self._strength(row.x, [[words[at] for at in some.tolist() if at < len(words)] for some in removed])

    def show(self, row: Row, attribution: Attribution) -> str:
        """The text, words for the answer on blue and against it on orange; the answer bold in its place."""
        most = max(1e-12, float(np.abs(attribution.weights).max()))
        colored = dict(zip(around(row.x), attribution.weights.tolist(), strict=False))
        first = _asked(row.x)[0]
        pieces = []
        for side, text in enumerate(row.x.sides):
            end = 0
            for place in sorted([*colored, *_asked(row.x)], key=lambda each: each.start):
                if place.side != side:
                    continue
                pieces.append(html.escape(text[end : place.start]))
                said = attribution.answer if place == first else "…" if place not in colored else row.x.word(place)
                pieces.append(_marked(said, colored.get(place), most))
                end = place.end
            pieces.append(f"{html.escape(text[end:])} ")
        return f'<p class="text">{"".join(pieces)}</p>'

    def _answer(self, question: Question) -> np.ndarray:
        """Tokens that the model itself puts into the first place."""
        ((_, shares, _),) = self._model.shares([self._model.pieces.encode(question)])
        return np.asarray(shares[0].argmax(axis=1))

    def _strength(self, question: Question, hidden: Sequence[Sequence[Place]]) -> np.ndarray:
        answer = self._answer(question)
        encoded = [self._model.pieces.encode(question, places) for places in hidden]
        found = np.zeros(len(hidden))
        for at, shares, _ in self._model.shares(encoded):
            found[at] = shares[0][np.arange(len(answer)), answer].sum()
        return found


def around(question: Question) -> list[Place]:
    """The words that are not asked for; marks of punctuation are none."""
    asked = _asked(question)
    words = [
        Place(side, *match.span())
        for side, text in enumerate(question.sides)
        for match in WORD.finditer(text)
        if match[0][0].isalnum()
    ]
    return [
        word
        for word in words
        if not any(place.side == word.side and place.start <= word.start < place.end for place in asked)
    ][:MOST]


def _asked(question: Question) -> tuple[Place, ...]:
    """The places that are asked for; where a person asked, each `[MASK]`."""
    if question.places:
        return question.places
    found = []
    for side, text in enumerate(question.sides):
        start = -1
        while (start := text.find(MASK, start + 1)) >= 0:
            found.append(Place(side, start, start + len(MASK)))
    return tuple(found)


def _marked(text: str, weight: float | None, most: float) -> str:
    if weight is None:
        return f"<b>{html.escape(text)}</b>"
    color = "37,99,235" if weight > 0 else "234,88,12"
    style = f"background:rgba({color},{min(1.0, abs(weight) / most) * 0.55:.2f})"
    return f'<span style="{style}" title="{weight:+.3f}">{html.escape(text)}</span>'
