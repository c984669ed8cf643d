"""resolve: a recipe's names looked up: its task, and whether the task knows what the recipe asks of it."""

from __future__ import annotations

from collections.abc import Collection

from modelcommons.errors import NotFound, RecipeError
from modelcommons.formats.checked import check, dotted, near, place
from modelcommons.formats.yaml import At
from modelcommons.workbench import fields, protocols
from modelcommons.workbench.recipe import AUTO, ModelChoice, Recipe
from modelcommons.workbench.task import Disturbs, Exports, Joins, Slices, Task


def resolve(recipe: Recipe) -> Task:
    """The recipe's task, after every name in the recipe that belongs to the task was checked.

    Raises:
        RecipeError: no such task, architecture, option, column role, slice or protocol; the message has file and line.
        MissingPackage: the task's field is not installed.
    """
    try:
        task = fields.find(recipe.task)
    except NotFound as error:
        raise _wrong(recipe, ("task",), str(error)) from None
    try:
        if recipe.evaluate.protocol:
            protocols.find(recipe.evaluate.protocol)
    except NotFound as error:
        raise _wrong(recipe, ("evaluate", "protocol"), str(error)) from None
    check(task.options, dict(recipe.data.options), recipe.places, ("data", "options"))
    for role in recipe.data.columns:
        _known(recipe, ("data", "columns", role), role, "column role", task, task.roles)
    for number, name in enumerate(recipe.evaluate.slices):
        slices = task.slices if isinstance(task, Slices) else ()
        _known(recipe, ("evaluate", "slices", number), name, "slice", task, slices)
    for number, name in enumerate(() if recipe.evaluate.disturb == "auto" else recipe.evaluate.disturb):
        known = task.disturbances if isinstance(task, Disturbs) else ()
        _known(recipe, ("evaluate", "disturb", number), name, "disturbance", task, known)
    for number, choice in enumerate(recipe.model.auto or ()):
        if choice.from_ == AUTO:
            why = "expected the name of a candidate, got auto. Write `model: {from: auto}`."
            raise _wrong(recipe, ("model", "auto", number, "from"), why)
        _model(recipe, choice, ("model", "auto", number), task)
    if not recipe.model.auto:
        _model(recipe, recipe.model, ("model",), task)
    if recipe.tune.together:
        if not isinstance(task, Joins):
            raise _wrong(recipe, ("tune", "together"), f"{task.name} has no models that answer together. Remove it.")
        if len(set(recipe.tune.seeds)) < 2:
            why = "expected several seeds, whose models answer together, got one. Write `seeds: [0, 1]`."
            raise _wrong(recipe, ("tune", "together"), why)
    if recipe.shrink.formats and not isinstance(task, Exports):
        raise _wrong(recipe, ("shrink",), f"{task.name} has no export yet. Remove `shrink`.")
    return task


def _model(recipe: Recipe, choice: ModelChoice, at: At, task: Task) -> None:
    if choice.new:
        _known(recipe, (*at, "new"), choice.new, "architecture", task, task.architectures)
        check(task.architectures[choice.new], dict(choice.options), recipe.places, (*at, "options"))
        if recipe.tune.method != "full":
            reason = f"'{recipe.tune.method}' needs an open model (`model.from`), got a new one."
            raise _wrong(recipe, ("tune", "method"), f"{reason} Write `method: full`.")
    elif not task.open_models:
        known = f"`model.new`: {', '.join(task.architectures)}"
        raise _wrong(recipe, (*at, "from"), f"{task.name} takes no open model. Name a new architecture in {known}.")


def _known(recipe: Recipe, at: At, name: str, kind: str, task: Task, known: Collection[str]) -> None:
    if name not in known:
        hint = near(name, list(known)) or f"It has no {kind}s."
        raise _wrong(recipe, at, f"{task.name} has no {kind} '{name}'. {hint}")


def _wrong(recipe: Recipe, at: At, reason: str) -> RecipeError:
    return RecipeError(f"{place(recipe.places, at)}{dotted(at)}: {reason}")
