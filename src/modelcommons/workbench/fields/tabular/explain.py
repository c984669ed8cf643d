"""explain: what each column did for an answer, by putting its usual value in its place."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from modelcommons.workbench.engine.drawing import ACCENT, PALE
from modelcommons.workbench.fields.tabular.predictor import Predictor, probabilities
from modelcommons.workbench.task import Attribution, Row

SHOWN = 10  # columns that are drawn, the weightiest
WIDTH = 160  # of the longest bar, in pixels


class Explainer:
    """Features are columns; removing one puts the training rows' mean, or most frequent word, in its place.

    For a linear model the log-odds (or the answer) move by exactly weight times distance from the mean. For trees it is
    the effect of the column alone, given all others: what two columns do only together counts for both.
    """

    def __init__(self, model: Predictor) -> None:
        self.model = model

    def attribute(self, row: Row) -> Attribution:
        names = self.model.encoder.names
        outputs = self._outputs(row, [np.array([], np.int64), *(np.array([at]) for at in range(len(names)))])
        if self.model.labels:
            odds = _log_odds(outputs, int(_winner(outputs)))
            label = self.model.labels[int(_winner(outputs))]
            return Attribution(odds[0] - odds[1:], names, (), "occlusion by the usual value, log-odds", label)
        means = self.model.means(outputs)
        moved = means[0] - means[1:]
        told = tuple(f"{name} ({change:+.3g})" for name, change in zip(names, moved.tolist(), strict=True))
        return Attribution(np.abs(moved), told, (), "occlusion by the usual value", f"{means[0]:.4g}")

    def strength(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """Log-odds of the original label; or minus the distance from the original answer, in units of the target."""
        outputs = self._outputs(row, [np.array([], np.int64), *removed])
        if self.model.labels:
            return _log_odds(outputs, int(_winner(outputs)))[1:]
        return np.asarray(-np.abs(outputs[1:, 0] - outputs[0, 0]))

    def show(self, row: Row, attribution: Attribution) -> str:
        """A table: column, cell, and a bar for what it did."""
        order = np.argsort(-np.abs(attribution.weights), kind="stable")[:SHOWN].tolist()
        most = max(float(np.abs(attribution.weights).max()), 1e-12)
        lines = []
        for at in order:
            share, cell = float(attribution.weights[at]) / most, row.x.get(self.model.encoder.names[at])
            told = "" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else str(cell)
            lines.append(
                f"<tr><td>{html.escape(attribution.names[at])}</td><td>{html.escape(told)}</td>{_bar(share)}</tr>"
            )
        return f"<p><b>{html.escape(attribution.answer)}</b></p><table>{''.join(lines)}</table>"

    def _outputs(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """Outputs of the row without these columns, one after the other, (trials, outputs)."""
        names, usual = self.model.encoder.names, self.model.encoder.usual()
        gone = [{names[at] for at in np.asarray(some, int).tolist() if at < len(names)} for some in removed]
        columns: dict[str, Any] = {
            name: [usual[name] if name in out else row.x.get(name) for out in gone] for name in names
        }
        return self.model.outputs(columns)


def _winner(outputs: np.ndarray) -> int:
    return int(probabilities(outputs[:1], 1.0)[0].argmax())


def _log_odds(outputs: np.ndarray, label: int) -> np.ndarray:
    """Of one label against all others, (rows,)."""
    if outputs.shape[1] == 1:
        return np.asarray(outputs[:, 0] * (1 if label == 1 else -1))
    others = np.delete(outputs, label, axis=1)
    most = others.max(axis=1)
    return np.asarray(outputs[:, label] - most - np.log(np.exp(others - most[:, None]).sum(axis=1)))


def _bar(share: float) -> str:
    color = ACCENT if share > 0 else PALE
    return (
        f'<td><svg width="{WIDTH}" height="10" role="img" xmlns="http://www.w3.org/2000/svg"><title>{share:+.2f}</title>'
        f'<rect width="{abs(share) * WIDTH:.1f}" height="10" fill="{color}"/></svg></td>'
    )
