"""a first recipe for a task: it runs as it is, and shows every key there is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from modelcommons.workbench import fields
from modelcommons.workbench.recipe import ModelChoice, Recipe
from modelcommons.workbench.task import Disturbs, Exports, Slices, Task

# real data that is already there, so that the first recipe runs without a download
FIRST_DATA = {
    "audio-classification": "bundled:morse",
    "automatic-speech-recognition": "bundled:morse-messages",
    "fill-mask": "bundled:python-docs",
    "image-classification": "bundled:digits",
    "image-text-matching": "bundled:digits",
    "object-detection": "bundled:digit-scenes",
    "recommendation": "bundled:python-imports",
    "speech-enhancement": "bundled:morse",
    "tabular-classification": "bundled:breast-cancer",
    "tabular-regression": "bundled:diabetes",
    "text-classification": "bundled:python-docs",
    "text-generation": "bundled:python-docs",
    "text-to-speech": "bundled:tunes",
    "text2text-generation": "bundled:python-docs",
    "time-series-forecasting": "bundled:sunspots",
}
# what these data ask for beside the defaults
FIRST_CHOICES: dict[str, dict[str, dict[str, Any]]] = {
    "text-to-speech": {"model": {"options": {"phonetic": "true"}}, "tune": {"budget": {"minutes": 1}}},
}
LEFT_OUT = ("name", "task", "privacy")  # said otherwise, or reserved


def starter(name: str) -> str:
    """The text of a commented recipe for the task `name`; keys that have a default are commented out.

    Raises:
        NotFound: there is no such task.
    """
    task = fields.find(name)
    first = next(iter(task.architectures))
    chosen = FIRST_CHOICES.get(name, {})
    written: dict[str, dict[str, Any]] = {
        **chosen, "model": {"new": first, **chosen.get("model", {})},
        "data": {"source": FIRST_DATA.get(name, "./data")},
    }  # fmt: skip
    lines = [
        f"# {task.name}: {task.summary}.",
        "# What is commented out shows its default. Next: commons check FILE, then commons run FILE.",
        f"task: {name}",
    ]
    for section, field in Recipe.model_fields.items():
        if section not in LEFT_OUT and isinstance(field.annotation, type):
            lines += ["", f"{section}:  # {field.description}"]
            lines += _lines(field.annotation, written.get(section, {}), _Known(task, first), "  ")
    return "\n".join(lines) + "\n"


class _Known:
    """What the task adds to the words of a recipe."""

    def __init__(self, task: Task, first: str) -> None:
        slices = ", ".join(task.slices) if isinstance(task, Slices) else ""
        disturbances = ", ".join(task.disturbances) if isinstance(task, Disturbs) else ""
        self.also = {
            "new": f"Known: {', '.join(task.architectures)}.",
            "columns": f"Roles: {', '.join(task.roles)}." if task.roles else "",
            "slices": f"Known: {slices}." if slices else "This task has none.",
            "from": "" if task.open_models else "This task takes no open model.",
            "formats": "" if isinstance(task, Exports) else "This task has no export.",
            "disturb": f"Known: {disturbances}." if disturbances else "This task has none.",
        }
        self.options = {"ModelSection": task.architectures[first], "DataSection": task.options}


def _lines(model: type[BaseModel], written: Mapping[str, Any], known: _Known, indent: str) -> Iterator[str]:
    """One line for each key: its value or default, and what it is for."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        words = " ".join(filter(None, (field.description, known.also.get(key))))
        inner, value = _inner(model, key, field, known), written.get(key)
        if inner and value:
            yield f"{indent}{key}:  # {words}"
            yield from _lines(inner, value, known, f"{indent}  ")
        elif key in written:
            yield f"{indent}{key}: {value}  # {words}"
        elif inner:
            yield f"{indent}# {key}:  # {words}"
            yield from _lines(inner, {}, known, f"{indent}  " if "#" in indent else f"{indent}#   ")
        else:
            yield f"{indent}{'' if '#' in indent else '# '}{key}: {_default(field)}  # {words}"


def _inner(model: type[BaseModel], key: str, field: FieldInfo, known: _Known) -> type[BaseModel] | None:
    """The model of a key that has keys of its own."""
    if key == "options":
        return known.options.get(model.__name__)
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not ModelChoice else None


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    return json.dumps(default, ensure_ascii=False, default=list) if not field.is_required() else "..."
