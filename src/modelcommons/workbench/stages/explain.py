"""explain: what some answers rested on, and a test of whether these explanations name what matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelcommons.formats import predictions
from modelcommons.workbench.engine.attribution import Deletion, deletion
from modelcommons.workbench.engine.energy import Energy
from modelcommons.workbench.engine.progress import Progress
from modelcommons.workbench.folder import RunFolder
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.stages.evaluate import Evaluated
from modelcommons.workbench.stages.prepare import Prepared
from modelcommons.workbench.stages.tune import Tuned
from modelcommons.workbench.task import Attribution, Explainer, Explains, Line, Row, Task

TOP = 5  # features listed by name
EXTREME = 0.1  # share of the rows that counts as the best, and as the worst


@dataclass(frozen=True, slots=True)
class Feature:
    name: str
    weight: float


@dataclass(frozen=True, slots=True)
class ExplainedRow:
    id: str
    answer: str
    target: str  # empty where it is more than a word
    html: str  # self-contained and escaped, for the report
    top: tuple[Feature, ...]  # what spoke for the answer most


@dataclass(frozen=True, slots=True)
class Explained:
    examples: tuple[ExplainedRow, ...]
    deletion: Deletion | None  # None when nothing was explained
    skipped: str = ""  # why nothing was
    energy: Energy | None = None


def explain(
    task: Task, tuned: Tuned, data: Prepared, scored: Evaluated, recipe: Recipe, folder: RunFolder, progress: Progress
) -> Explained:
    """Explains some right answers, some wrong and some unsure ones, and tests all explanations together."""
    wanted = recipe.explain.examples
    if not wanted:
        return _skipped("the recipe asks for no examples", progress)
    if not isinstance(task, Explains):
        return _skipped(f"{task.name} has no explainer", progress)
    lines = predictions.read(folder.path / scored.main.predictions)
    chosen = choose(lines, task.losses(lines), wanted, recipe.evaluate.seed)
    rows = [data.parts.test[index] for index in chosen]
    explainer = task.explainer(folder.path / tuned.model)
    found = []
    for done, row in enumerate(rows):
        progress.step("explain", done, len(rows))
        found.append(explainer.attribute(row))
    test = deletion(
        [attribution.weights for attribution in found],
        lambda at, removed: explainer.strength(rows[at], removed),
        recipe.explain.trials,
        recipe.evaluate.seed,
    )
    progress.line("explain", in_words(test))
    examples = [_row(explainer, *one) for one in zip(rows, found, [lines[at] for at in chosen], strict=True)]
    return Explained(tuple(examples), test)


def choose(lines: Sequence[Line], losses: np.ndarray, count: int, seed: int) -> list[int]:
    """Rows to explain, in order: a third of the worst, a third of the least sure, the others among the best.

    Args:
        losses: one per line, lower is better.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(losses))  # among equals, any
    low, high = np.quantile(losses, (EXTREME, 1 - EXTREME))
    worst = [at for at in order.tolist() if losses[at] >= high and losses[at] > losses.min()]
    best = [at for at in order.tolist() if losses[at] <= low]
    margins = np.array([line.get("margin", np.inf) for line in lines])
    unsure = order[np.argsort(margins[order], kind="stable")].tolist() if np.isfinite(margins).all() else []
    chosen: dict[int, None] = {}
    for some, until in ((worst, count // 3), (unsure, 2 * count // 3), (best, count), (order.tolist(), count)):
        for at in some:
            if len(chosen) >= until:
                break
            chosen[at] = None
    return sorted(chosen)


def in_words(test: Deletion) -> str:
    """`8 examples · removing what they name weakens the answer by 0.41, at random by 0.12 (p = 0.008)`."""
    said = (
        f"{test.examples} examples · removing what they name weakens the answer by {test.named:.2g}, "
        f"at random by {test.random:.2g} (p = {test.p_value:.2g})"
    )
    return said if test.holds else f"{said}: no better than random, do not rely on them"


def _row(explainer: Explainer, row: Row, attribution: Attribution, line: Line) -> ExplainedRow:
    strongest = np.argsort(-attribution.weights, kind="stable")[:TOP].tolist()
    names = attribution.names or tuple(f"part {at + 1}" for at in range(len(attribution.weights)))
    target = line.get("target")
    return ExplainedRow(
        id=row.id,
        answer=attribution.answer,
        target=str(target) if isinstance(target, (str, int, float)) else "",
        html=explainer.show(row, attribution),
        top=tuple(Feature(names[at], float(attribution.weights[at])) for at in strongest),
    )


def _skipped(why: str, progress: Progress) -> Explained:
    progress.line("explain", f"skipped: {why}")
    return Explained((), None, why)
