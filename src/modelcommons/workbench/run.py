"""the spine: one recipe, seven stages."""

from __future__ import annotations

from modelcommons.workbench import fields
from modelcommons.workbench.engine.progress import Progress
from modelcommons.workbench.folder import RunFolder
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.stages.evaluate import evaluate
from modelcommons.workbench.stages.explain import explain
from modelcommons.workbench.stages.get import get
from modelcommons.workbench.stages.prepare import prepare
from modelcommons.workbench.stages.publish import publish
from modelcommons.workbench.stages.shrink import shrink
from modelcommons.workbench.stages.tune import tune


def run(recipe: Recipe, folder: RunFolder, progress: Progress) -> ...:
    task = fields.find(recipe.task)
    got = get(task, recipe, progress)
    data = prepare(task, got.source, recipe, folder, progress)
    tuned = tune(task, got, data.parts, recipe, folder, progress)
    scored = evaluate(task, tuned, got, data, recipe, folder, progress)
    explained = explain(task, tuned, data, scored, recipe, folder, progress)
    shrunk = shrink(task, tuned, got, data, scored, recipe, folder, progress)
    return publish(task, got, data, tuned, scored, explained, shrunk, recipe, folder, progress)
