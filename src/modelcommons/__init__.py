"""Model Commons: adapt an open model, and publish numbers that anybody can check.

    import modelcommons as mc

    run = mc.run("recipe.yaml")           # data to model folder; a table in a notebook
    model = mc.load(run.folder)
    model.predict("How do I activate my card?")
    mc.verify(run.folder)                 # re-hash, re-score, and where asked re-infer or re-train

Every name is loaded when it is first used: `import modelcommons` loads no torch.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modelcommons import errors
    from modelcommons.workbench.diff import diff
    from modelcommons.workbench.engine.progress import Progress, Silent
    from modelcommons.workbench.plan import Plan
    from modelcommons.workbench.recipe import Recipe
    from modelcommons.workbench.run import Run
    from modelcommons.workbench.serve import load
    from modelcommons.workbench.verify import verify

__version__ = "0.1.0"

# libraries that would tell their makers; onnxruntime makes an id of the machine as soon as it is imported
for _name in ("HF_HUB_DISABLE_TELEMETRY", "ORT_DISABLE_TELEMETRY"):
    os.environ.setdefault(_name, "1")

__all__ = ["Progress", "Recipe", "Run", "Silent", "diff", "errors", "load", "plan", "run", "verify"]

# public name -> where it lives
HOMES = {
    "Progress": "modelcommons.workbench.engine.progress",
    "Recipe": "modelcommons.workbench.recipe",
    "Run": "modelcommons.workbench.run",
    "Silent": "modelcommons.workbench.engine.progress",
    "diff": "modelcommons.workbench.diff",
    "load": "modelcommons.workbench.serve",
    "verify": "modelcommons.workbench.verify",
}


def run(
    recipe: str | Path | Recipe,
    overrides: Sequence[str] = (),
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Runs a recipe (a file, or a `Recipe`) from data to model folder; run again after a kill, it goes on where it was.

    Args:
        overrides: `tune.epochs=3`, as on the command line; for a file only.
        folder: the run folder; `runs/<name>-<digest>` when not given.

    Raises:
        CommonsError: see `modelcommons.errors`; nothing is half written.
    """
    from pathlib import Path

    from modelcommons.workbench.run import run

    return run(_recipe(recipe, overrides), Path(folder) if folder else None, progress)


def plan(recipe: str | Path | Recipe, overrides: Sequence[str] = (), progress: Progress | None = None) -> Plan:
    """Whether a recipe fits this machine and its budget, from a few measured steps."""
    from modelcommons.workbench.plan import plan

    return plan(_recipe(recipe, overrides), progress)


def _recipe(recipe: str | Path | Recipe, overrides: Sequence[str]) -> Recipe:
    from modelcommons.workbench.recipe import Recipe, load

    return recipe if isinstance(recipe, Recipe) else load(recipe, overrides)


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("modelcommons.errors")
    if name in HOMES:
        return getattr(importlib.import_module(HOMES[name]), name)
    raise AttributeError(f"module 'modelcommons' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
