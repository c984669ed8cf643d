"""the one table of tasks. A task is imported only when it is asked for."""

from __future__ import annotations

import difflib
import importlib
from typing import cast

from modelcommons.errors import MissingPackage, NotFound
from modelcommons.workbench.task import Task

# task -> module that holds it as `TASK`; the module's folder is the field
TASKS: dict[str, str] = {
    "image-classification": "image.classification",
    "text-classification": "text.classification",
    "time-series-forecasting": "series.forecasting",
}


def find(name: str) -> Task:
    """The task called `name`.

    Raises:
        NotFound: there is none; the message names the nearest.
        MissingPackage: its field's extra is not installed.
    """
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"Known tasks: {', '.join(TASKS)}."
        raise NotFound(f"There is no task '{name}'. {hint}")
    module = TASKS[name]
    return cast(Task, importlib.import_module(f"{__name__}.{module}").TASK)


def missing(task: Task, error: ModuleNotFoundError) -> MissingPackage:
    """The one sentence for a package that a field needs and that is not here."""
    package = (error.name or "a package").split(".")[0]
    return MissingPackage(
        f"The {task.field} field needs '{package}'. Install it: pip install 'modelcommons[{task.field}]'."
    )
