"""forecaster: a model folder's config and maps, answering histories with forecasts and intervals. numpy only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modelcommons.errors import DataError, FormatError
from modelcommons.formats import safetensors
from modelcommons.workbench.fields.series import pretrained
from modelcommons.workbench.fields.series.metrics import rounded
from modelcommons.workbench.fields.series.rows import History, Panel, Scale, Windows, evenly
from modelcommons.workbench.task import Answer, Row

MODEL_TYPE = "modelcommons-series"
BATCH = 64  # windows answered at a time
MOST_ERRORS = 500  # windows of one part that intervals are made from, evenly spaced

# (batch, look-back, channels) -> forecasts (batch, horizon, channels), and where there are intervals low and high
Run = Callable[[np.ndarray], Sequence[np.ndarray]]


@dataclass(frozen=True, slots=True)
class Config:
    """config.json of a forecasting model."""

    architecture: str
    horizon: int
    lookback: int
    channels: tuple[str, ...]
    season: int
    scale: Scale | None = None
    interval: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, panel: Panel, architecture: str, lookback: int, interval: float | None, options: Mapping[str, Any]
    ) -> Config:
        return cls(architecture, panel.horizon, lookback, panel.channels, panel.season, panel.scale, interval, options)


def write_config(config: Config, folder: Path) -> None:
    text = json.dumps({"model_type": MODEL_TYPE, **as_json(config)}, indent=2, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def as_json(config: Config) -> dict[str, Any]:
    """What config.json says of a forecaster."""
    scale = config.scale and {"mean": config.scale.mean.tolist(), "std": config.scale.std.tolist()}
    return {
        "task": "time-series-forecasting",
        "architecture": config.architecture,
        "horizon": config.horizon,
        "lookback": config.lookback,
        "channels": list(config.channels),
        "season": config.season,
        "scale": scale,
        "interval": config.interval,
        "options": dict(config.options),
    }


def read_config(folder: Path) -> Config:
    """
    Raises:
        FormatError: it is no config of a forecasting model.
    """
    path = folder / "config.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["model_type"] in pretrained.CLASSES:
            value = value[pretrained.OURS]
        elif value["model_type"] != MODEL_TYPE:
            raise FormatError(f"Expected model_type '{MODEL_TYPE}' in {path}, got '{value['model_type']}'.")
        scale = value["scale"] and Scale(
            np.array(value["scale"]["mean"], float), np.array(value["scale"]["std"], float)
        )
        return Config(
            str(value["architecture"]), int(value["horizon"]), int(value["lookback"]), tuple(value["channels"]),
            int(value["season"]), scale, value["interval"], value["options"],
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"Expected the config of a forecasting model in {path}; it has none ({error}).") from error


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """The tensors of model.safetensors.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: the file is missing or truncated.
    """
    from safetensors.numpy import load_file

    path = folder / "model.safetensors"
    if not path.is_file():
        safetensors.refuse_pickles(folder)
        raise FormatError(f"There is no model.safetensors in {folder}. Get the whole model folder again.")
    safetensors.check(path)
    return load_file(path)


def write_weights(weights: Mapping[str, np.ndarray], folder: Path) -> None:
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in weights.items()}
    save_file(arrays, folder / "model.safetensors", {"format": "pt"})


class Forecaster:
    """A model that is ready to answer."""

    labels: Sequence[str] = ()

    def __init__(self, config: Config, run: Run) -> None:
        self.config, self.run = config, run

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """Forecasts in the units of each row's history."""
        answers: list[Answer] = []
        for start in range(0, len(rows), BATCH):
            chunk = [rows[at].x for at in range(start, min(start + BATCH, len(rows)))]
            outputs = self.run(np.stack([self.lookback(history) for history in chunk]))
            for at, history in enumerate(chunk):
                values = [rounded(self._restored(output[at], history)).tolist() for output in outputs]
                answers.append({"prediction": dict(zip(("mean", "low", "high"), values, strict=False))})
        return answers

    def lookback(self, history: History) -> np.ndarray:
        """The last steps of a history as the model reads them, (look-back, channels)."""
        values = _last(history.values, self.config.lookback)
        if values.shape[1] != len(self.config.channels):
            raise DataError(
                f"Expected a history with {len(self.config.channels)} channels ({', '.join(self.config.channels)}), "
                f"got {values.shape[1]}."
            )
        if self.config.scale is not None and history.scale is None:
            values = self.config.scale.apply(values)
        return values

    def _restored(self, values: np.ndarray, history: History) -> np.ndarray:
        scale = self.config.scale
        return scale.undo(values) if scale is not None and history.scale is None else values


def linear_run(weight: np.ndarray, low: np.ndarray | None = None, high: np.ndarray | None = None) -> Run:
    """A linear map (horizon, look-back), shared by all channels, as something to run."""
    weight = weight.astype(np.float64)

    def run(past: np.ndarray) -> list[np.ndarray]:
        level = past.mean(axis=1, keepdims=True)
        mean = level + np.einsum("hl,blc->bhc", weight, past - level, optimize=True)
        return with_interval(mean, low, high)

    return run


def with_interval(mean: np.ndarray, low: np.ndarray | None, high: np.ndarray | None) -> list[np.ndarray]:
    return [mean] if low is None or high is None else [mean, mean + low, mean + high]


def conformal(unseen: Iterable[tuple[Run, Windows]], lookback: int, share: float | None) -> dict[str, np.ndarray]:
    """What to add to a forecast for an interval that holds `share` of the values: {"low", "high"}, (horizon, channels).

    Source: split conformal prediction (Vovk et al. 2005), by step and channel, on signed errors. The promise holds as
    far as the time to come resembles these windows, which follow and overlap each other.

    Args:
        unseen: something to run, and windows that it was not fitted on.
    """
    if share is None:
        return {}
    error = np.concatenate([_errors(run, windows, lookback) for run, windows in unseen if len(windows)])
    tail = (1 - share) / 2
    tail = max(0.0, tail - (1 - tail) / len(error))  # one window more than were seen: the one to come
    low, high = np.quantile(error, [tail, 1 - tail], axis=0)
    return {"low": low, "high": high}


def _errors(run: Run, windows: Windows, lookback: int) -> np.ndarray:
    """What came minus what was forecast, (windows, horizon, channels)."""
    which = evenly(len(windows), MOST_ERRORS).tolist()
    errors = []
    for start in range(0, len(which), BATCH):
        rows = [windows[at] for at in which[start : start + BATCH]]
        past = np.stack([_last(row.x.values, lookback) for row in rows])
        errors.append(np.stack([row.y for row in rows]) - run(past)[0])
    return np.concatenate(errors)


def _last(values: np.ndarray, lookback: int) -> np.ndarray:
    """The last steps; where there are too few, the first one is repeated before them."""
    values = values[-lookback:]
    missing = lookback - len(values)
    return np.pad(values, ((missing, 0), (0, 0)), mode="edge") if missing else values
