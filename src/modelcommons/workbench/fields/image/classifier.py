"""a model folder, read without running code from it, as something that answers: our own networks, open models, exports.

config.json of our own:  {"model_type": "modelcommons", "task", "architecture", "options", "id2label", "preprocess"}
of transformers:         its own, and "preprocess" with the shape that pictures have before its image processor
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from modelcommons.errors import FormatError
from modelcommons.formats.pixels import pixels
from modelcommons.formats.preprocess import Preprocess, read_preprocess
from modelcommons.formats.safetensors import check, refuse_pickles
from modelcommons.workbench.engine.adapters import open_model
from modelcommons.workbench.engine.classification import Answer, answers
from modelcommons.workbench.engine.processors import PROCESSOR, processor_inputs, read_processor
from modelcommons.workbench.fields.image.architectures import ARCHITECTURES
from modelcommons.workbench.task import Row

if TYPE_CHECKING:
    from torch import Tensor, nn

MODEL_TYPE = "modelcommons"
TASK_NAME = "image-classification"
BATCH = 128  # pictures answered at a time
WEIGHTS = "model.safetensors"


class Classifier:
    """A model that is ready to answer."""

    def __init__(
        self,
        labels: Sequence[str],
        preprocess: Preprocess,
        inputs: Callable[[np.ndarray], np.ndarray],  # uint8 (B, H, W, C) -> float32 (B, C, H, W)
        run: Callable[[np.ndarray], np.ndarray],  # the latter -> logits (B, labels)
        network: nn.Module | None = None,  # where there is one: an export has none
    ) -> None:
        self.labels, self.preprocess, self.inputs, self.run, self.network = labels, preprocess, inputs, run, network

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        found: list[Answer] = []
        for start in range(0, len(rows), BATCH):
            pictures = np.stack([self.fitted(rows[at].x) for at in range(start, min(start + BATCH, len(rows)))])
            found += answers(self.probabilities(pictures), self.labels)
        return found

    def fitted(self, picture: np.ndarray) -> np.ndarray:
        """A picture of any size and colour in the shape that the model was trained on."""
        shape = self.preprocess.shape
        return picture if picture.shape == shape.dimensions else pixels(picture, shape)

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (batch, height, width, channels) -> float64 (batch, labels)."""
        logits = self.run(self.inputs(pictures)).astype(np.float64)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


# --- loading --------------------------------------------------------------------------------------------------------


def load(folder: Path, variant: str = "") -> Classifier:
    """A classifier from its folder. `variant`: an ONNX file inside it.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: a file is truncated, or not what the config says.
    """
    config = read_config(folder)
    labels, preprocess = _labels(config, folder), read_preprocess(config, folder)
    own = config["model_type"] == MODEL_TYPE
    inputs = preprocess.inputs if own else processor_inputs(read_processor(folder))
    if variant:
        return Classifier(labels, preprocess, inputs, _onnx_run(folder / variant))
    check_weights(folder)
    network = _own_network(folder, config, preprocess, len(labels)) if own else open_network(folder)
    network.eval()
    return Classifier(labels, preprocess, inputs, _torch_run(network), network)


def files(folder: Path, variant: str = "") -> list[str]:
    processor = [PROCESSOR] if (folder / PROCESSOR).is_file() else []
    return ["config.json", *processor, variant or WEIGHTS]


def read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        assert isinstance(config, dict) and isinstance(config["model_type"], str)
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise FormatError(f"Expected the config of a model in {path}; it is none ({error}). Get it again.") from error
    return config


def write_config(
    folder: Path, architecture: str, options: dict[str, Any], labels: Sequence[str], preprocess: Preprocess
) -> None:
    """config.json of one of our own networks."""
    config = {
        "model_type": MODEL_TYPE,
        "task": TASK_NAME,
        "architecture": architecture,
        "options": options,
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "preprocess": asdict(preprocess),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def check_weights(folder: Path) -> None:
    """Refuses what is no whole safetensors file, before anything loads it."""
    if not (folder / WEIGHTS).is_file():
        refuse_pickles(folder)
        raise FormatError(f"There is no {WEIGHTS} in {folder}. Get the whole model folder again.")
    check(folder / WEIGHTS)


def _labels(config: dict[str, Any], folder: Path) -> list[str]:
    try:
        return [str(config["id2label"][str(index)]) for index in range(len(config["id2label"]))]
    except (KeyError, TypeError) as error:
        raise FormatError(f"{folder / 'config.json'}: expected labels 0, 1, ... in id2label ({error}).") from error


def _own_network(folder: Path, config: dict[str, Any], preprocess: Preprocess, num_labels: int) -> nn.Module:
    import torch
    from safetensors.torch import load_file

    from modelcommons.workbench.fields.image.models import build

    try:
        options = ARCHITECTURES[config["architecture"]].model_validate(config["options"])
        network = build(options, preprocess.shape, num_labels)
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (KeyError, ValidationError, RuntimeError) as error:
        raise FormatError(f"{folder}: the weights are not those of its config ({error!s:.200}).") from error
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _torch_run(network: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    import torch

    def run(inputs: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(logits_of(network(torch.from_numpy(inputs))).float().numpy())

    return run


def _onnx_run(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    from modelcommons.workbench.engine.quantize import session

    opened = session(path)
    return lambda inputs: opened.run({"pixel_values": np.ascontiguousarray(inputs)})[0]


# --- open models ----------------------------------------------------------------------------------------------------


def logits_of(output: Any) -> Any:
    """A network's logits: ours give the tensor itself, those of transformers an output with a name for it."""
    return getattr(output, "logits", output)


def open_network(folder: Path, labels: Sequence[str] | None = None) -> nn.Module:
    """A model of the transformers library; with `labels`, a new head where the old one has other classes.

    Raises:
        FormatError: it is no image classifier that the library knows, or needs code from the folder.
    """
    from transformers import AutoModelForImageClassification

    network = open_model(AutoModelForImageClassification, folder, "image classifier", labels)
    config: Any = network.config
    if config.model_type == "efficientnet":
        from modelcommons.workbench.fields.image.gates import skip_open_gates

        skip_open_gates(network)
    return network


# --- exports --------------------------------------------------------------------------------------------------------


def example(model: Classifier) -> Tensor:
    """Two inputs of a network, for an exporter to follow."""
    import torch

    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, *model.preprocess.shape.dimensions), np.uint8)
    return torch.from_numpy(np.ascontiguousarray(model.inputs(pictures)))


def logits_only(network: nn.Module) -> nn.Module:
    """The network with its logits as its one output."""
    from torch import nn

    class Logits(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixel_values: Tensor) -> Tensor:
            logits: Tensor = logits_of(self.network(pixel_values))
            return logits

    return Logits(network).eval()
