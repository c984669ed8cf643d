"""a model folder, read without running code from it, as something that answers: a detector of ours, an open one, an
export.

config.json of our own:  {"model_type": "modelcommons", "task", "architecture", "options", "id2label", "preprocess"}
of transformers:         its own; its image processor says how pictures become inputs
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ValidationError

from modelcommons.errors import FormatError
from modelcommons.formats.model_folder import CONFIG, MODEL_TYPE, WEIGHTS, check_weights, labels, read_config
from modelcommons.workbench.engine.processors import PROCESSOR
from modelcommons.workbench.fields.image.boxes.answers import NO_LIMIT, Proposals
from modelcommons.workbench.fields.image.boxes.architectures import ARCHITECTURES, FasterRcnnOptions, YoloOptions
from modelcommons.workbench.fields.image.boxes.canvas import Canvas
from modelcommons.workbench.fields.image.boxes.detector import Detector, Run, as_arrays, on_canvas

if TYPE_CHECKING:
    from torch import Tensor, nn


def load(folder: Path, variant: str = "") -> Detector:
    """A detector from its folder. `variant`: an ONNX file inside it.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: a file is truncated, or not what the config says.
    """
    config = read_config(folder)
    names = labels(config, folder)
    if config["model_type"] != MODEL_TYPE:
        check_weights(folder)
        from modelcommons.workbench.fields.image.boxes.open_models import open_propose

        network, propose = open_propose(folder)
        return Detector(names, propose, NO_LIMIT, network)
    options, canvas = _options(config, folder), Canvas.of(config, folder)
    limit = float(options.overlap)
    if variant:
        return Detector(names, on_canvas(_onnx_run(folder / variant), canvas), limit, None, canvas)
    check_weights(folder)
    network = _weighted(folder, build(options, len(names)))
    return Detector(names, on_canvas(_torch_run(network), canvas), limit, network, canvas)


def files(folder: Path, variant: str = "") -> list[str]:
    processor = [PROCESSOR] if (folder / PROCESSOR).is_file() else []
    return [CONFIG, *processor, variant or WEIGHTS]


def build(options: BaseModel, num_labels: int) -> Any:
    """The network these options are of, with random weights; it has `loss` and `proposals`."""
    from modelcommons.workbench.fields.image.boxes.faster_rcnn import FasterRcnn
    from modelcommons.workbench.fields.image.boxes.yolo import Yolo

    if isinstance(options, FasterRcnnOptions):
        return FasterRcnn(num_labels, options.width, options.depth, options.hidden)
    assert isinstance(options, YoloOptions)
    return Yolo(num_labels, options.width, options.depth)


def _options(config: Mapping[str, Any], folder: Path) -> Any:
    try:
        return ARCHITECTURES[config["architecture"]].model_validate(config["options"])
    except (KeyError, TypeError, ValidationError) as error:
        raise FormatError(f"{folder / CONFIG}: expected a network of ours, got another ({error!s:.200}).") from error


def _weighted(folder: Path, network: nn.Module) -> nn.Module:
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise FormatError(f"{folder}: the weights are not those of its config ({error!s:.200}).") from error
    return network


def _torch_run(network: Any) -> Run:
    import torch

    network.eval().to(memory_format=torch.channels_last)

    def run(inputs: np.ndarray) -> list[Proposals]:
        with torch.inference_mode():
            return as_arrays(network.proposals(torch.from_numpy(inputs).contiguous(memory_format=torch.channels_last)))

    return run


def _onnx_run(path: Path) -> Run:
    from modelcommons.workbench.engine.quantize import session

    opened = session(path)

    def run(inputs: np.ndarray) -> list[Proposals]:
        import torch

        from modelcommons.workbench.fields.image.boxes.yolo import read

        logits, sides = map(torch.from_numpy, opened.run({"pixel_values": np.ascontiguousarray(inputs)}))
        return as_arrays(read(logits, sides, (inputs.shape[2], inputs.shape[3])))

    return run


# --- exports --------------------------------------------------------------------------------------------------------


def example(model: Detector) -> Tensor:
    """Two inputs of a network, for an exporter to follow."""
    import torch

    assert model.canvas is not None
    canvas = model.canvas
    pictures = np.random.default_rng(0).integers(0, 256, (2, canvas.height, canvas.width, 3), np.uint8)
    return torch.from_numpy(np.ascontiguousarray(canvas.inputs(list(pictures))))
