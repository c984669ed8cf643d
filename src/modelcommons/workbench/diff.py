"""diff: two models on the same rows: which answers changed, and whether one loses less than the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelcommons.errors import Undecided, UsageError
from modelcommons.formats import predictions
from modelcommons.formats.predictions import Lines
from modelcommons.workbench import fields
from modelcommons.workbench.engine.statistics import paired
from modelcommons.workbench.serve import find_folder, find_task
from modelcommons.workbench.task import Score, Task

SHOWN = 10  # changed rows in words
SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Changed:
    """One row that the two answer otherwise."""

    id: str
    target: Any
    a: Any  # prediction
    b: Any
    better: str  # a, b, or neither


@dataclass(frozen=True, slots=True)
class Diff:
    a: str
    b: str
    num_rows: int
    scores_a: tuple[Score, ...]
    scores_b: tuple[Score, ...]
    changed: tuple[Changed, ...]
    p_value: float  # of losing equally, two-sided; McNemar where losses are 0 and 1, else a paired bootstrap

    @property
    def winner(self) -> str:
        """The one that loses less, where that is not by chance; else empty."""
        if self.p_value >= SIGNIFICANT:
            return ""
        a, b = self.scores_a[0], self.scores_b[0]
        return self.a if (a.value > b.value) == (a.direction == "higher") else self.b

    def __str__(self) -> str:
        scores = [
            f"{a.metric:<18}{a.value:>10.4g}{b.value:>10.4g}{b.value - a.value:>+10.2g}"
            for a, b in zip(self.scores_a, self.scores_b, strict=True)
        ]
        better = {side: sum(each.better == side for each in self.changed) for side in ("a", "b", "neither")}
        rows = [
            f"  {each.id}: {_words(each.a)} -> {_words(each.b)}  (target {_words(each.target)})"
            for each in self.changed
        ]
        more = [f"  ... and {len(rows) - SHOWN:,} more"] if len(rows) > SHOWN else []
        said = f"{self.winner} is better" if self.winner else "no difference that chance does not explain"
        return "\n".join(
            [
                f"a  {self.a}",
                f"b  {self.b}",
                f"{'metric':<18}{'a':>10}{'b':>10}{'b - a':>10}",
                *scores,
                f"{len(self.changed):,} of {self.num_rows:,} answers changed: "
                f"{better['a']:,} for the worse, {better['b']:,} for the better, {better['neither']:,} neither",
                *rows[:SHOWN],
                *more,
                f"{said} (paired test, p = {self.p_value:.2g})",
            ]
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{a.metric}</td><td>{a.value:.4g}</td><td>{b.value:.4g}</td><td>{b.value - a.value:+.2g}</td></tr>"
            for a, b in zip(self.scores_a, self.scores_b, strict=True)
        )
        told = f"{len(self.changed):,} of {self.num_rows:,} answers changed, p = {self.p_value:.2g}"
        return f"<table><tr><th>metric</th><th>a</th><th>b</th><th>b - a</th></tr>{rows}</table><p>{told}</p>"


def diff(a: str | Path, b: str | Path, seed: int = 0) -> Diff:
    """Compares the stored predictions of two models.

    Args:
        a: a run folder, a model folder, a hub id, or one predictions file (`.../predictions/onnx/model.jsonl.gz`).
        b: the same.
        seed: of the bootstrap.

    Raises:
        NotFound: no model, or no predictions, are there.
        UsageError: the two are of different tasks.
        Undecided: they did not answer the same rows.
    """
    (task, mine), (other, theirs) = _answers(a), _answers(b)
    if task.name != other.name:
        raise UsageError(f"Expected two models of one task, got {task.name} and {other.name}.")
    _same_rows(mine, theirs)
    losses = task.losses(mine), task.losses(theirs)
    with fields.needed(task):
        p_value = paired(*losses, seed, task.block(mine))
    return Diff(
        a=str(a),
        b=str(b),
        num_rows=len(mine),
        scores_a=tuple(task.scores(mine, seed)),
        scores_b=tuple(task.scores(theirs, seed)),
        changed=tuple(
            Changed(x["id"], x.get("target"), x["prediction"], y["prediction"], _better(loss_x, loss_y))
            for x, y, loss_x, loss_y in zip(mine, theirs, *losses, strict=True)
            if task.changed(x, y)
        ),
        p_value=p_value,
    )


def _answers(path: str | Path) -> tuple[Task, Lines]:
    """Task and stored predictions of what `path` names."""
    file = Path(path)
    if file.name.endswith(".jsonl.gz"):
        if not file.is_file():
            raise Undecided(f"There are no predictions at {path}.")
        folder = next((up for up in file.parents if (up / "config.json").is_file()), None)
        if folder is None:
            raise UsageError(f"Expected {path} inside a model folder, so that its task is known.")
        return find_task(folder), predictions.read(file)
    folder = find_folder(path)
    file = folder / "predictions" / "model.jsonl.gz"
    if not file.is_file():
        raise Undecided(f"{folder} has no stored predictions; its licence may forbid to share them. Run it here.")
    return find_task(folder), predictions.read(file)


def _same_rows(a: Lines, b: Lines) -> None:
    ids_a, ids_b = a.ids, b.ids
    if ids_a != ids_b:
        common = len(set(ids_a) & set(ids_b))
        raise Undecided(
            f"The two did not answer the same rows: {len(ids_a):,} and {len(ids_b):,}, {common:,} of them in common. "
            "Run both on the same data and split."
        )
    for x, y in zip(a, b, strict=True):
        if x.get("target") != y.get("target"):
            raise Undecided(f"Row {x['id']} has another target in each. Run both on the same data.")


def _better(loss_a: np.floating[Any], loss_b: np.floating[Any]) -> str:
    return "neither" if loss_a == loss_b else "a" if loss_a < loss_b else "b"


def _words(value: Any) -> str:
    """A prediction or target, short enough for a line."""
    if isinstance(value, dict):
        value = value.get("label", value.get("mean", value.get("values", value)))
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
