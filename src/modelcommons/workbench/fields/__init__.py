"""the one table of tasks. A task is imported only when it is asked for."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from modelcommons.errors import MissingPackage, NotFound
from modelcommons.workbench.task import Task

# task -> module that holds it as `TASK`; the module's folder is the field
TASKS: dict[str, str] = {
    "audio-classification": "speech.classification",
    "automatic-speech-recognition": "speech.recognition",
    "fill-mask": "text.fill_mask",
    "image-classification": "image.classification",
    "image-segmentation": "image.segmentation",
    "image-text-matching": "multimodal.matching",
    "object-detection": "image.detection",
    "question-answering": "text.question_answering",
    "recommendation": "recommendation.recommendation",
    "speech-enhancement": "speech.enhancement",
    "tabular-classification": "tabular.classification",
    "tabular-regression": "tabular.regression",
    "text-classification": "text.classification",
    "text-generation": "text.generation",
    "text-to-speech": "speech.synthesis",
    "text2text-generation": "text.text2text",
    "time-series-forecasting": "series.forecasting",
    "translation": "text.translation",
}

EXPORTERS = ("onnx", "onnxruntime", "onnxscript")  # these come with the extra `onnx`, whatever the field


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


def need_exporters() -> None:
    """Raises: MissingPackage: models cannot be exported here; said before an hour of training, not after."""
    for package in EXPORTERS:
        if importlib.util.find_spec(package) is None:
            raise MissingPackage(f"To shrink a model needs '{package}'. Install it: pip install 'modelcommons[onnx]'.")


@contextmanager
def needed(task: Task) -> Iterator[None]:
    """What is done inside is the task's work; a package that is not here is named with the extra that brings it.

    Raises:
        MissingPackage: one is not here.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in ("", "modelcommons"):
            raise  # a mistake of ours
        extra = "onnx" if package in EXPORTERS else task.field
        raise MissingPackage(
            f"The {task.field} field needs '{package}'. Install it: pip install 'modelcommons[{extra}]'."
        ) from error
