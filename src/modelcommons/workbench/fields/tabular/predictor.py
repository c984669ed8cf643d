"""predictor: a model folder that answers rows. Nothing in it is code, and trees are arrays like everything else.

config.json        {"model_type": "modelcommons", "task", "architecture", "options", "encoder", "outputs"}, and
                   "temperature", "id2label" of a classifier, "center", "unit", "low", "high" of a regression
model.safetensors  `weight` and `bias` (linear), arrays of nodes (boosting), or a network's tensors (mlp)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelcommons.errors import FormatError
from modelcommons.formats import model_folder
from modelcommons.formats.model_folder import CONFIG, WEIGHTS, check_weights
from modelcommons.workbench.engine import classification
from modelcommons.workbench.fields.tabular.encoder import Encoder, Run
from modelcommons.workbench.fields.tabular.metrics import rounded
from modelcommons.workbench.fields.tabular.rows import Cells, columns_of
from modelcommons.workbench.fields.tabular.trees import Forest
from modelcommons.workbench.task import Answer, Row

RAW = ("boosting",)  # architectures that take numbers as they are


@dataclass(frozen=True, slots=True)
class Finish:
    """How outputs become answers."""

    labels: tuple[str, ...] = ()  # of a classifier
    temperature: float = 1.0  # logits are divided by it
    center: float = 0.0  # of a regression: answer = center + unit * output
    unit: float = 1.0
    low: float = 0.0  # added to the answer: the interval
    high: float = 0.0


class Predictor:
    """A model that is ready to answer."""

    def __init__(self, encoder: Encoder, run: Run, raw: bool, finish: Finish) -> None:
        self.encoder, self.finish, self._run, self._raw = encoder, finish, run, raw
        self.labels: Sequence[str] = finish.labels

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        outputs = self.outputs(columns_of(rows, self.encoder.names))
        if self.finish.labels:
            return list(classification.answers(probabilities(outputs, self.finish.temperature), self.finish.labels))
        low, high = self.finish.low, self.finish.high
        return [
            {"prediction": {"mean": rounded(mean), "low": rounded(mean + low), "high": rounded(mean + high)}}
            for mean in self.means(outputs).tolist()
        ]

    def outputs(self, columns: Mapping[str, Cells]) -> np.ndarray:
        """(rows, outputs) float64: logits, or one number in units of the target's deviation."""
        return self._run(self.encoder.encode(columns, self._raw))

    def means(self, outputs: np.ndarray) -> np.ndarray:
        return self.finish.center + self.finish.unit * outputs[:, 0]


def probabilities(outputs: np.ndarray, temperature: float) -> np.ndarray:
    """(rows, labels); one output is the logit of the second of two labels."""
    logits = np.hstack([np.zeros_like(outputs), outputs]) if outputs.shape[1] == 1 else outputs
    logits = logits / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def linear_run(weight: np.ndarray, bias: np.ndarray) -> Run:
    """(features, outputs) and (outputs,)."""
    weight, bias = weight.astype(np.float64), bias.astype(np.float64)
    return lambda x: np.asarray(np.stack([x @ column for column in weight.T], axis=1) + bias)


# --- folders --------------------------------------------------------------------------------------------------------


def write(
    folder: Path, task: str, architecture: str, options: Mapping[str, Any], encoder: Encoder, finish: Finish,
    num_outputs: int, weights: Mapping[str, np.ndarray],
) -> None:  # fmt: skip
    from safetensors.numpy import save_file

    rest: dict[str, Any] = {"encoder": encoder.json(), "outputs": num_outputs}
    if finish.labels:
        rest |= {"temperature": finish.temperature, "id2label": model_folder.id2label(finish.labels)}
    else:
        rest |= {"center": finish.center, "unit": finish.unit, "low": finish.low, "high": finish.high}
    model_folder.write_config(folder, task, architecture, options, **rest)
    save_file(
        {name: np.ascontiguousarray(value) for name, value in weights.items()}, folder / WEIGHTS, {"format": "pt"}
    )


def load(folder: Path, variant: str = "") -> Predictor:
    """A predictor from its folder. `variant`: an ONNX file inside it.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: a file is truncated, or not what the config says.
    """
    from safetensors.numpy import load_file

    config = model_folder.read_config(folder)
    if not variant:
        check_weights(folder)
    weights = {} if variant else load_file(folder / WEIGHTS)
    try:
        encoder = Encoder.read(config["encoder"])
        architecture, num_features = str(config["architecture"]), len(encoder.owners)
        if variant:
            from modelcommons.workbench.fields.tabular.exporting import onnx_run

            run = onnx_run(folder / variant, architecture)
        else:
            run = _run(architecture, config, weights, num_features)
        if "id2label" in config:
            finish = Finish(tuple(model_folder.labels(config, folder)), float(config["temperature"]))
        else:
            finish = Finish((), 1.0, *(float(config[name]) for name in ("center", "unit", "low", "high")))
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise FormatError(
            f"{folder}: the weights are not those of its config ({error!s:.200}). Get it again."
        ) from error
    return Predictor(encoder, run, architecture in RAW, finish)


def _run(architecture: str, config: Mapping[str, Any], weights: Mapping[str, np.ndarray], num_features: int) -> Run:
    match architecture:
        case "linear":
            if weights["weight"].shape != (num_features, len(weights["bias"])):
                raise ValueError(f"expected weights for {num_features} numbers, got {weights['weight'].shape}")
            return linear_run(weights["weight"], weights["bias"])
        case "boosting":
            return Forest.read(weights, num_features).score
        case "mlp":
            from modelcommons.workbench.fields.tabular.models import load_run

            return load_run(config["options"], num_features, int(config["outputs"]), weights)
    raise ValueError(f"there is no architecture {architecture}")


def export(folder: Path, out: Path) -> None:
    """The model in `folder` as one ONNX file at `out`."""
    from safetensors.numpy import load_file

    from modelcommons.workbench.fields.tabular import exporting

    model, architecture = load(folder), str(model_folder.read_config(folder)["architecture"])
    exporting.export(architecture, load_file(folder / WEIGHTS), len(model.encoder.owners), out)


def files(variant: str = "") -> list[str]:
    return [CONFIG, variant or WEIGHTS]
