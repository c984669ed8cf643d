"""a model folder, read without running code from it, as something that answers: our own networks, open models, exports.

config.json of our own:  {"model_type": "modelcommons", "task", "architecture", "options", "id2label", "preprocess"}
of transformers:         its own, and "preprocess" with the stretch of a recording that is heard
"""

# B batch, N samples of the window, T frames, M mel bands

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from modelcommons.errors import FormatError
from modelcommons.formats.model_folder import CONFIG, MODEL_TYPE, WEIGHTS, check_weights, labels, read_config
from modelcommons.workbench.engine.classification import Answer, answers
from modelcommons.workbench.fields.speech.architectures import CLASSIFIERS
from modelcommons.workbench.fields.speech.extractors import PROCESSOR, extracted, read_extractor
from modelcommons.workbench.fields.speech.features import Features, read_features
from modelcommons.workbench.fields.speech.sound import FASTEST, SLOWEST, Sound
from modelcommons.workbench.task import Row

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = 32  # recordings answered at a time
MOST_HEARD = 60.0  # seconds; more in a config is a mistake or an attack
USUAL_HEARD = 1.0  # seconds that an open model hears when its config does not say

Inputs = Callable[[np.ndarray], np.ndarray]  # float32 (B, N) -> what the network takes
Run = Callable[[np.ndarray], np.ndarray]  # the latter -> logits (B, labels)


@dataclass(frozen=True, slots=True)
class Window:
    """The stretch of a recording that a classifier hears."""

    rate_hz: int
    samples: int

    def fitted(self, sound: Sound) -> np.ndarray:
        """Silence around a short recording, the middle of a long one; float32 (N,)."""
        return self.placed(sound.at(self.rate_hz), 0.5)

    def placed(self, samples: np.ndarray, where: float) -> np.ndarray:
        """The samples with their free play at the beginning (0), at the end (1) or between; float32 (N,)."""
        spare = round(where * abs(self.samples - len(samples)))
        if len(samples) >= self.samples:
            return samples[spare : spare + self.samples]
        window = np.zeros(self.samples, np.float32)
        window[spare : spare + len(samples)] = samples
        return window


class Classifier:
    """A model that is ready to answer."""

    def __init__(
        self, labels: Sequence[str], window: Window, inputs: Inputs, run: Run, network: nn.Module | None = None
    ) -> None:
        self.labels, self.window, self.inputs, self._run = labels, window, inputs, run
        self.network = network  # where there is one: an export has none

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        found: list[Answer] = []
        for start in range(0, len(rows), BATCH):
            heard = np.stack([self.window.fitted(row.x) for row in rows[start : start + BATCH]])
            found += answers(self.probabilities(heard), self.labels)
        return found

    def probabilities(self, samples: np.ndarray) -> np.ndarray:
        """float32 (B, N) -> float64 (B, labels)."""
        logits = self._run(self.inputs(samples)).astype(np.float64)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def weighed(self, sounds: Sequence[Sound]) -> tuple[str, np.ndarray]:
        """The label of the first of these, and its log probability in each, (recordings,)."""
        found = self.probabilities(np.stack([self.window.fitted(sound) for sound in sounds]))
        answer = int(found[0].argmax())
        with np.errstate(divide="ignore"):
            return self.labels[answer], np.log(found[:, answer])


# --- folders --------------------------------------------------------------------------------------------------------


def load(folder: Path, variant: str = "") -> Classifier:
    """A classifier from its folder. `variant`: an ONNX file inside it.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: a file is truncated, or not what the config says.
    """
    config = read_config(folder)
    names = labels(config, folder)
    own = config["model_type"] == MODEL_TYPE
    if own:
        window, features = _own_window(config, folder)
        inputs: Inputs = features.inputs
    else:
        extractor = read_extractor(folder)
        window, inputs = _open_window(config, extractor, folder), extracted(extractor)
    if variant:
        return Classifier(names, window, inputs, _onnx_run(folder / variant))
    check_weights(folder)
    network = (_own_network(folder, config, len(names)) if own else open_network(folder)).eval()
    return Classifier(names, window, inputs, _torch_run(network), network)


def files(folder: Path, variant: str = "") -> list[str]:
    """What is read to predict."""
    processor = [PROCESSOR] if (folder / PROCESSOR).is_file() else []
    return [CONFIG, *processor, variant or WEIGHTS]


def _own_window(config: Mapping[str, Any], folder: Path) -> tuple[Window, Features]:
    try:
        found = config["preprocess"]
        window = _window(found)
        options = CLASSIFIERS[config["architecture"]].model_validate(config["options"])
        features = read_features(found, options)
        assert features.logmel.frames(window.samples) > 0
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise FormatError(f"{folder / CONFIG}: `preprocess` is not as it was written ({error!s:.200}).") from error
    return window, features


def _open_window(config: Mapping[str, Any], extractor: Any, folder: Path) -> Window:
    """As tuning wrote it; a model that was not made here hears its first second at its own rate."""
    try:
        rate_hz = int(extractor.sampling_rate)
        return _window(config.get("preprocess") or {"rate_hz": rate_hz, "samples": round(USUAL_HEARD * rate_hz)})
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise FormatError(f"{folder / CONFIG}: `preprocess` is not as it was written ({error!s:.200}).") from error


def _window(found: Mapping[str, Any]) -> Window:
    window = Window(int(found["rate_hz"]), int(found["samples"]))
    assert SLOWEST <= window.rate_hz <= FASTEST and 0 < window.samples <= MOST_HEARD * window.rate_hz, window
    return window


def _own_network(folder: Path, config: Mapping[str, Any], num_labels: int) -> nn.Module:
    from safetensors.torch import load_file

    from modelcommons.workbench.fields.speech.models import Cnn

    try:
        network = Cnn(CLASSIFIERS[config["architecture"]].model_validate(config["options"]), num_labels)
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (KeyError, ValidationError, RuntimeError) as error:
        raise FormatError(f"{folder}: the weights are not those of its config ({error!s:.200}).") from error
    return network


def open_network(folder: Path, names: Sequence[str] | None = None) -> nn.Module:
    """A model of the transformers library; with `names`, a new head for these labels.

    Raises:
        FormatError: it is no audio classifier that the library knows, or needs code from the folder.
    """
    from transformers import AutoModelForAudioClassification

    from modelcommons.workbench.engine.adapters import open_model

    return open_model(AutoModelForAudioClassification, folder, "audio classifier", names)


def logits_of(output: Any) -> Tensor:
    """A network's logits: ours give the tensor itself, those of transformers an output with a name for it."""
    logits: Tensor = getattr(output, "logits", output)
    return logits


def _torch_run(network: nn.Module) -> Run:
    import torch

    def run(inputs: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(logits_of(network(torch.from_numpy(inputs))).float().numpy())

    return run


def _onnx_run(path: Path) -> Run:
    from modelcommons.workbench.engine.quantize import session

    opened = session(path)
    return lambda inputs: opened.run({"input_values": inputs})[0]


# --- exports --------------------------------------------------------------------------------------------------------


def example(model: Classifier) -> Tensor:
    """Two inputs of a network, for an exporter to follow."""
    import torch

    noise = np.random.default_rng(0).normal(0, 0.1, (2, model.window.samples)).astype(np.float32)
    return torch.from_numpy(model.inputs(noise))


def logits_only(model: Classifier) -> nn.Module:
    """The network with its logits as its one output."""
    from torch import nn

    assert model.network is not None

    class Logits(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_values: Tensor) -> Tensor:
            return logits_of(self.network(input_values))

    return Logits(model.network).eval()
