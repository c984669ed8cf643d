"""a model folder, read without running code from it, as something that answers: a U-Net, an open model, an export.

config.json of our own:  {"model_type": "modelcommons", "task", "architecture", "options", "id2label", "preprocess"}
of transformers:         its own; its image processor says how pictures become inputs
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from modelcommons.errors import FormatError
from modelcommons.formats.model_folder import CONFIG, MODEL_TYPE, WEIGHTS, check_weights, labels, read_config
from modelcommons.workbench.engine.adapters import open_model
from modelcommons.workbench.engine.processors import PROCESSOR, processor_inputs, read_processor
from modelcommons.workbench.fields.image.classifier import logits_of
from modelcommons.workbench.fields.image.masks.architectures import ARCHITECTURES, UNetOptions
from modelcommons.workbench.fields.image.masks.augment import colored
from modelcommons.workbench.fields.image.masks.metrics import answer
from modelcommons.workbench.task import Answer, Row

if TYPE_CHECKING:
    from torch import Tensor, nn

TILE = 1024  # pixels a side of what a U-Net answers at once; larger pictures in tiles

Inputs = Callable[[np.ndarray], np.ndarray]  # uint8 (B, H, W, C) -> float32 (B, channels, h, w)
Run = Callable[[np.ndarray], np.ndarray]  # the latter -> logits (B, classes, h', w')


@dataclass(frozen=True, slots=True)
class Preprocess:
    """From pictures in bytes to a U-Net's input; both sides are mirrored outwards to multiples of `stride`."""

    mean: tuple[float, ...]  # of each channel over the training pictures, 0 to 1
    std: tuple[float, ...]
    stride: int

    @property
    def channels(self) -> int:
        return len(self.mean)

    def inputs(self, pictures: np.ndarray) -> np.ndarray:
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        values = (pictures.astype(np.float32) / 255 - mean) / std
        missing = [(0, -size % self.stride) for size in pictures.shape[1:3]]
        return np.asarray(np.pad(values, [(0, 0), *missing, (0, 0)], "symmetric").transpose(0, 3, 1, 2))

    @classmethod
    def of(cls, config: Mapping[str, Any], stride: int, folder: Path) -> Preprocess:
        """As a config says.

        Raises:
            FormatError: it does not.
        """
        try:
            mean, std = (tuple(map(float, config["preprocess"][name])) for name in ("mean", "std"))
            if len(mean) not in (1, 3) or len(std) != len(mean) or min(std) <= 0:
                raise ValueError(f"{len(mean)} means, deviations {std}")
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{folder / CONFIG}: `preprocess` is not as it was written ({error}).") from error
        return cls(mean, std, stride)


class Segmenter:
    """A model that is ready to answer."""

    def __init__(
        self,
        labels: Sequence[str],
        channels: int,
        inputs: Inputs,
        run: Run,
        reach: int | None,  # pixels around one that its answer rests on; None: of an open model, which sees a whole
        network: nn.Module | None = None,  # where there is one: an export has none
    ) -> None:
        self.labels, self.channels, self.network = labels, channels, network
        self.inputs, self.run, self.reach = inputs, run, reach

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """One picture after the other: they are of different sizes."""
        return [answer(self.logits(row.x[None])[0], self.labels) for row in rows]

    def logits(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (B, height, width, 1 or 3) -> float32 (B, classes, height, width)."""
        _, height, width, _ = pictures.shape
        made = np.stack([colored(picture, self.channels) for picture in pictures])
        if self.reach is None:
            return fitted(self.run(self.inputs(made)), height, width)
        whole = np.empty((len(made), len(self.labels), height, width), np.float32)
        for inside, outside, place in tiles(height, width, self.reach):
            whole[:, :, *inside] = self.run(self.inputs(made[:, *outside]))[:, :, *place]
        return whole


Place = tuple[slice, slice]


def tiles(height: int, width: int, reach: int, side: int = TILE) -> Iterator[tuple[Place, Place, Place]]:
    """What is answered at once: its place in the picture, the larger place that is looked at for it, and where in that
    it lies. Answers are those of the whole picture.

    Source: the overlap-tile strategy of Ronneberger, Fischer & Brox, U-Net (2015), figure 2.

    Args:
        reach: pixels looked at around a tile; as `side`, a multiple of the network's stride.
    """
    lines = [
        [(slice(at, min(at + side, size)), slice(max(0, at - reach), min(at + side + reach, size)))
         for at in range(0, size, side)]
        for size in (height, width)
    ]  # fmt: skip
    for (top, above), (left, beside) in itertools.product(*lines):
        place = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in ((top, above), (left, beside)))
        yield (top, left), (above, beside), (place[0], place[1])


def fitted(logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Logits of another scale, laid over the picture."""
    import torch

    return np.asarray(stretched(torch.from_numpy(logits), height, width).numpy())


def stretched(logits: Tensor, height: int, width: int) -> Tensor:
    from torch.nn.functional import interpolate

    return logits if logits.shape[2:] == (height, width) else interpolate(logits, (height, width), mode="bilinear")


# --- loading --------------------------------------------------------------------------------------------------------


def load(folder: Path, variant: str = "") -> Segmenter:
    """A segmenter from its folder. `variant`: an ONNX file inside it.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: a file is truncated, or not what the config says.
    """
    config = read_config(folder)
    names = labels(config, folder)
    options = _options(config, folder) if config["model_type"] == MODEL_TYPE else None
    inputs: Inputs
    if options is None:
        inputs, channels, reach = processor_inputs(read_processor(folder)), 3, None
    else:
        preprocess = Preprocess.of(config, 2**options.depth, folder)
        inputs, channels, reach = preprocess.inputs, preprocess.channels, options.reach
    if variant:
        return Segmenter(names, channels, inputs, _onnx_run(folder / variant), reach)
    check_weights(folder)
    network = open_network(folder) if options is None else _own_network(folder, options, channels, len(names))
    return Segmenter(names, channels, inputs, torch_run(network), reach, network)


def files(folder: Path, variant: str = "") -> list[str]:
    processor = [PROCESSOR] if (folder / PROCESSOR).is_file() else []
    return [CONFIG, *processor, variant or WEIGHTS]


def _options(config: Mapping[str, Any], folder: Path) -> UNetOptions:
    try:
        options = ARCHITECTURES[config["architecture"]].model_validate(config["options"])
    except (KeyError, TypeError, ValidationError) as error:
        raise FormatError(f"{folder / CONFIG}: expected a network of ours, got another ({error!s:.200}).") from error
    assert isinstance(options, UNetOptions)
    return options


def _own_network(folder: Path, options: UNetOptions, channels: int, num_labels: int) -> nn.Module:
    from safetensors.torch import load_file

    from modelcommons.workbench.fields.image.masks.unet import UNet

    network = UNet(channels, num_labels, options.width, options.depth)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise FormatError(f"{folder}: the weights are not those of its config ({error!s:.200}).") from error
    return network


def torch_run(network: nn.Module) -> Run:
    import torch

    network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(inputs: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            pixels = torch.from_numpy(inputs).contiguous(memory_format=torch.channels_last)
            return np.asarray(logits_of(network(pixels)).float().numpy())

    return run


def _onnx_run(path: Path) -> Run:
    from modelcommons.workbench.engine.quantize import session

    opened = session(path)
    return lambda inputs: opened.run({"pixel_values": np.ascontiguousarray(inputs)})[0]


# --- open models ----------------------------------------------------------------------------------------------------


def open_network(folder: Path, names: Sequence[str] | None = None) -> nn.Module:
    """A model of the transformers library; with `names` of classes, a new head where the old one has others.

    Raises:
        FormatError: it is no segmentation model that the library knows, or needs code from the folder.
    """
    from transformers import AutoModelForSemanticSegmentation

    return open_model(AutoModelForSemanticSegmentation, folder, "segmentation model", names)


# --- exports --------------------------------------------------------------------------------------------------------


def example(model: Segmenter) -> Tensor:
    """Two inputs of a network, higher than wide, for an exporter to follow."""
    import torch

    pictures = np.random.default_rng(0).integers(0, 256, (2, 192, 128, model.channels), np.uint8)
    return torch.from_numpy(np.ascontiguousarray(model.inputs(pictures)))
