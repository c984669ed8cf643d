"""serve: a model folder, loaded and ready to answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from modelcommons.errors import FormatError, NotFound, UsageError
from modelcommons.formats.card import read_front_matter
from modelcommons.workbench import fields
from modelcommons.workbench.recipe import load_resolved
from modelcommons.workbench.task import Answer, Model, Streams, Task

UNNAMED = "input"  # the id of a row that was handed in by itself


@dataclass(frozen=True)
class Served:
    """A model that takes inputs as a person has them: a text, a path, an array."""

    folder: Path
    task: Task
    model: Model
    options: BaseModel  # the task's `data.options` that the model was made with

    def predict(self, value: Any) -> list[Answer]:
        """One answer per input: a list in, a folder, or a file with several rows, gives several answers.

        What comes from a file has its name, or that of its row, as `id`.
        """
        with fields.needed(self.task):
            rows = self.task.read_input(value, self.options)
            answers = self.model.predict(rows)
        return [
            answer if row.id == UNNAMED else {"id": row.id, **answer} for row, answer in zip(rows, answers, strict=True)
        ]

    def stream(self, value: Any) -> Iterator[str]:
        """The answers to `predict`'s input bit by bit, as they come about.

        Raises:
            UsageError: the task's answers come whole.
        """
        if not isinstance(self.model, Streams):
            raise UsageError(f"The answers of {self.task.name} come whole. Leave --stream out.")
        with fields.needed(self.task):
            for row in self.task.read_input(value, self.options):
                yield from self.model.stream(row)


def load(path: str | Path, variant: str = "") -> Served:
    """A model from a run folder, a model folder or (downloaded first) a hub id. No code from the folder is run.

    Args:
        variant: an export inside the folder, such as `onnx/model_int8.onnx`.

    Raises:
        NotFound: no model or no such export there, or nothing in the folder says its task.
        MissingPackage: the extra of its field is not installed.
        UnsafeFile: the weights are a pickle.
        FormatError: a file is truncated or is not what the config says.
    """
    folder = find_folder(path)
    task = find_task(folder)
    recipe = folder / "recipe.yaml"
    options = task.options.model_validate(load_resolved(recipe).data.options if recipe.is_file() else {})
    if variant and not (folder / variant).is_file():
        here = sorted(path.relative_to(folder).as_posix() for path in folder.glob("onnx/*.onnx"))
        raise NotFound(f"There is no export {variant} in {folder}. Exports: {', '.join(here) or 'none'}.")
    with fields.needed(task):
        return Served(folder, task, task.load(folder, variant), options)


def find_folder(path: str | Path) -> Path:
    """The model folder that `path` names: itself, the `model/` of a run folder, or a hub id's downloaded files."""
    for folder in (Path(path) / "model", Path(path)):
        if (folder / "config.json").is_file():
            return folder
    if Path(path).exists():
        raise NotFound(f"Expected a model folder (config.json and weights) at {path}; there is none. Name a run.")
    from modelcommons.workbench.stages.get import get_model  # asks the network: only when nothing is here

    return get_model(str(path))


def find_task(folder: Path) -> Task:
    """The task of a model folder, as its recipe, config or card says."""
    if (folder / "recipe.yaml").is_file():
        return fields.find(load_resolved(folder / "recipe.yaml").task)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise FormatError(f"{folder / 'config.json'} is not JSON ({error}). Download the model again.") from error
    card = folder / "README.md"
    name = config.get("task") or (card.is_file() and read_front_matter(card.read_text()).get("pipeline_tag"))
    if not name:
        raise NotFound(f"Nothing in {folder} says its task. Add `pipeline_tag:` to the front matter of its README.md.")
    return fields.find(str(name))
