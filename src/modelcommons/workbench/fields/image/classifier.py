"""a model folder, read without running code from it, as something that answers: our own networks, open models, exports.

config.json of our own:  {"model_type": "modelcommons", "task", "architecture", "options", "id2label", "preprocess"}
of transformers:         its own, and "preprocess" with the shape that pictures have before its image processor
of several:              see `together`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from modelcommons.errors import FormatError
from modelcommons.formats.model_folder import CONFIG, MODEL_TYPE, WEIGHTS, check_weights, read_config
from modelcommons.formats.model_folder import labels as labels_of
from modelcommons.formats.pixels import pixels
from modelcommons.formats.preprocess import Preprocess, read_preprocess
from modelcommons.workbench.engine.adapters import open_model
from modelcommons.workbench.engine.classification import Answer, answers
from modelcommons.workbench.engine.processors import PROCESSOR, processor_inputs, read_processor
from modelcommons.workbench.fields.image import together
from modelcommons.workbench.fields.image.architectures import ARCHITECTURES
from modelcommons.workbench.task import Row

if TYPE_CHECKING:
    from torch import Tensor, nn

TASK_NAME = "image-classification"
BATCH = 128  # pictures answered at a time


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
    labels, preprocess = labels_of(config, folder), read_preprocess(config, folder)
    own, names = config["model_type"] == MODEL_TYPE, together.members(config, folder)
    processed = (folder / PROCESSOR).is_file() if names else not own
    inputs = processor_inputs(read_processor(folder)) if processed else preprocess.inputs
    if variant:
        return Classifier(labels, preprocess, inputs, _onnx_run(folder / variant))
    if names:
        network = _joined_network(folder, names, labels)
    else:
        check_weights(folder)
        network = _own_network(folder, config, preprocess, len(labels)) if own else open_network(folder)
    network.eval()
    return Classifier(labels, preprocess, inputs, _torch_run(network), network)


def files(folder: Path, variant: str = "") -> list[str]:
    processor = [PROCESSOR] if (folder / PROCESSOR).is_file() else []
    names = () if variant else together.members(read_config(folder), folder)
    weights = [f"{name}/{path}" for name in names for path in files(folder / name)] or [variant or WEIGHTS]
    return [CONFIG, *processor, *weights]


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


# --- several together -----------------------------------------------------------------------------------------------


def _joined_network(folder: Path, names: Sequence[str], labels: Sequence[str]) -> nn.Module:
    """Those in the folders of these names, which have the same labels, as one."""
    networks = []
    for name in names:
        if together.members(read_config(folder / name), folder / name):
            raise FormatError(f"{folder / name}: expected a model that answers alone, got several. Get it again.")
        found = load(folder / name)
        if list(found.labels) != list(labels):
            raise FormatError(f"{folder / name}: expected the labels of {folder}, got others. Get it again.")
        assert found.network is not None
        networks.append(logits_only(found.network))
    return together.mean(networks)


# --- running --------------------------------------------------------------------------------------------------------


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
