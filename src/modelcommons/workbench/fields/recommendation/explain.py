"""explain: because of which items: what each item of a history does for the first item of the list."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from modelcommons.workbench.engine.drawing import ACCENT, PALE
from modelcommons.workbench.fields.recommendation.recommender import Recommender
from modelcommons.workbench.task import Attribution, Row

SHOWN = 8  # items of a history that are drawn, the weightiest
WIDTH = 160  # of the longest bar, in pixels


class Explainer:
    """Features are the items of the history; one is removed as if it had never been chosen."""

    def __init__(self, model: Recommender) -> None:
        self.model = model

    def attribute(self, row: Row) -> Attribution:
        """How far the answer falls without each item; for ease and item-knn that is exactly the item's share.

        Without a history there is one feature, nothing, of no weight.
        """
        asked = self.model.asked([row.x])
        items, _ = next(self.model.lists(asked))
        size = len(asked.items[0])
        answer = self.model.catalogue.titles[items[0]] if len(items) else "nothing is left to recommend"
        if not size or not len(items):
            return Attribution(np.zeros(1), ("no history",), (), "leave one out", answer)
        with_all, *without = self.strength(row, [np.array([], np.int64), *(np.array([at]) for at in range(size))])
        names = tuple(self.model.catalogue.titles[at] for at in asked.items[0].tolist())
        return Attribution(with_all - np.array(without), names, (), "leave one out", answer)

    def strength(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """The score of the item that stood first, less the mean over the catalogue."""
        asked = self.model.asked([row.x])
        items, _ = next(self.model.lists(asked))
        if not len(items):
            return np.zeros(len(removed))
        history = asked.items[0]
        kept = [np.delete(history, np.asarray(some, np.int64)[np.asarray(some) < len(history)]) for some in removed]
        features = [asked.features[0]] * len(kept) if len(asked.features) else []
        again = type(asked)(kept, np.repeat(asked.moments, len(kept)), features)
        scores = self.model.scores(again)
        return np.asarray(scores[:, items[0]] - scores.mean(axis=1, dtype=np.float64))

    def show(self, row: Row, attribution: Attribution) -> str:
        """The answer, and the items of the history that did most for or against it."""
        order = np.argsort(-np.abs(attribution.weights), kind="stable")[:SHOWN].tolist()
        most = max(float(np.abs(attribution.weights).max()), 1e-12)
        shares = [(html.escape(attribution.names[at]), float(attribution.weights[at]) / most) for at in order]
        bars = "".join(f"<tr><td>{name}</td><td>{_bar(share)}</td></tr>" for name, share in shares)
        return f"<p><b>{html.escape(attribution.answer)}</b></p><table>{bars}</table>"


def _bar(share: float) -> str:
    color = ACCENT if share > 0 else PALE
    return (
        f'<svg width="{WIDTH}" height="10" role="img" xmlns="http://www.w3.org/2000/svg"><title>{share:+.2f}</title>'
        f'<rect width="{abs(share) * WIDTH:.1f}" height="10" fill="{color}"/></svg>'
    )
