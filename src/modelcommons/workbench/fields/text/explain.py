"""explaining: which words an answer rested on, by leaving each out; works for every model alike."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from modelcommons.workbench.engine.attribution import occlusion
from modelcommons.workbench.fields.text.classifier import Classifier
from modelcommons.workbench.fields.text.ngrams import WORD
from modelcommons.workbench.task import Attribution, Row

if TYPE_CHECKING:
    from torch import Tensor

MOST = 200  # words of a text that are weighed; the rest stays as it is


class Explainer:
    """Features are words, or single characters of scripts written without spaces; removing one takes it out."""

    def __init__(self, model: Classifier) -> None:
        self._model = model

    def attribute(self, row: Row) -> Attribution:
        import torch

        words = spans(row.x)
        answer, _ = self._answer(row)
        if not words:
            return Attribution(np.zeros(1), ("",), method="nothing to leave out", answer=answer)

        def score(kept: Tensor) -> Tensor:
            texts = [without(row.x, words, np.flatnonzero(mask == 0)) for mask in kept.numpy()]
            return torch.from_numpy(self._log_odds(texts, row))

        everything = torch.ones(1, len(words))
        weights = occlusion(score, everything, torch.zeros_like(everything), np.arange(len(words))[None])
        names = tuple(row.x[start:end] for start, end in words)
        return Attribution(weights, names, method="leaving out each word (occlusion)", answer=answer)

    def strength(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """Probability of the original answer; shape (trials,)."""
        _, at = self._answer(row)
        words = spans(row.x)
        texts = [without(row.x, words, indices[indices < len(words)]) for indices in removed]
        return np.asarray(self._model.probabilities(texts)[:, at])

    def show(self, row: Row, attribution: Attribution) -> str:
        """The text, words for the answer on blue and against it on orange, as strong as they weigh."""
        most = max(1e-12, float(np.abs(attribution.weights).max()))
        pieces, end = [], 0
        for (start, stop), weight in zip(spans(row.x), attribution.weights, strict=False):
            color = "37,99,235" if weight > 0 else "234,88,12"
            style = f"background:rgba({color},{min(1.0, abs(float(weight)) / most) * 0.55:.2f})"
            pieces.append(html.escape(row.x[end:start]))
            pieces.append(f'<span style="{style}" title="{float(weight):+.3f}">{html.escape(row.x[start:stop])}</span>')
            end = stop
        return f'<p class="text">{"".join(pieces)}{html.escape(row.x[end:])}</p>'

    def _answer(self, row: Row) -> tuple[str, int]:
        at = int(self._model.probabilities([row.x])[0].argmax())
        return self._model.labels[at], at

    def _log_odds(self, texts: Sequence[str], row: Row) -> np.ndarray:
        """Of the original answer: what a sure answer loses shows here, where its probability hardly moves."""
        _, at = self._answer(row)
        share = np.clip(self._model.probabilities(texts)[:, at], 1e-9, 1 - 1e-9)
        return np.asarray(np.log(share / (1 - share)))


def spans(text: str) -> list[tuple[int, int]]:
    """Where the words that are weighed begin and end; marks of punctuation are not words."""
    found = [match.span() for match in WORD.finditer(text) if match[0][0].isalnum()]
    return found[:MOST]


def without(text: str, words: Sequence[tuple[int, int]], removed: np.ndarray) -> str:
    """The text with these words taken out."""
    kept, end = [], 0
    for index in sorted(removed.tolist()):
        start, stop = words[index]
        kept.append(text[end:start])
        end = stop
    return "".join([*kept, text[end:]])
