"""model folders in the Hugging Face layout: the config, and weights that are checked before anything loads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelcommons.errors import FormatError
from modelcommons.formats.safetensors import check, refuse_pickles

MODEL_TYPE = "modelcommons"  # of our own architectures; others are the transformers library's
CONFIG, WEIGHTS = "config.json", "model.safetensors"
LARGEST = 16 * 2**20  # bytes of a config


def read_config(folder: Path) -> dict[str, Any]:
    """The config of a model.

    Raises:
        FormatError: there is none, or it is no JSON object with a `model_type`.
    """
    path = folder / CONFIG
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"more than {LARGEST >> 20} MiB")
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
            raise ValueError("no `model_type`")
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"Expected the config of a model in {path}; it is none ({error}). Get it again.") from error
    return config


def write_config(folder: Path, task: str, architecture: str, options: Mapping[str, Any], **rest: Any) -> None:
    """config.json of one of our own architectures; `rest` is the task's own: labels, preprocessing."""
    config = {"model_type": MODEL_TYPE, "task": task, "architecture": architecture, "options": dict(options), **rest}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def id2label(labels: Sequence[str]) -> dict[str, str]:
    return {str(index): label for index, label in enumerate(labels)}


def labels(config: Mapping[str, Any], folder: Path) -> list[str]:
    """The names of a classifier's outputs, in order.

    Raises:
        FormatError: `id2label` is missing or not numbered from 0.
    """
    try:
        return [str(config["id2label"][str(index)]) for index in range(len(config["id2label"]))]
    except (KeyError, TypeError) as error:
        raise FormatError(f"{folder / CONFIG}: expected labels 0, 1, ... in id2label ({error}).") from error


def check_weights(folder: Path) -> None:
    """Refuses what is no whole safetensors file, before anything loads it.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: they are missing, cut off or damaged.
    """
    if not (folder / WEIGHTS).is_file():
        refuse_pickles(folder)
        raise FormatError(f"There is no {WEIGHTS} in {folder}. Get the whole model folder again.")
    check(folder / WEIGHTS)
