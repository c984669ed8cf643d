"""forecaster: a model folder's config and maps, answering histories with forecasts and intervals. numpy only."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modelcommons.errors import DataError, FormatError, UnsafeFile
from modelcommons.workbench.fields.series.metrics import rounded
from modelcommons.workbench.fields.series.rows import History, Panel, Scale, Windows
from modelcommons.workbench.task import Answer, Row

MODEL_TYPE = "modelcommons-series"
BATCH = 64  # windows answered at a time
MOST_RESIDUALS = 2_000  # validation windows that intervals are made from, evenly spaced

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
    scale = config.scale and {"mean": config.scale.mean.tolist(), "std": config.scale.std.tolist()}
    value = {
        "model_type": MODEL_TYPE,
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
    (folder / "config.json").write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_config(folder: Path) -> Config:
    """
    Raises:
        FormatError: it is no config of a forecasting model.
    """
    path = folder / "config.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["model_type"] != MODEL_TYPE:
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
        UnsafeFile: there are only pickled weights.
        FormatError: the file is missing or truncated.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / "model.safetensors"
    if not path.is_file():
        pickled = [found.name for kind in ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt") for found in folder.glob(kind)]
        if pickled:
            raise UnsafeFile(
                f"{folder / pickled[0]} is a pickle, which can run code; it is not loaded. Save safetensors."
            )
        raise FormatError(f"There is no model.safetensors in {folder}. Get the whole model folder again.")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise FormatError(f"{path} is truncated or no safetensors file ({error}). Get it again.") from error


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
        """The last steps of a history as the model reads them, (look-back, channels); a short one begins repeated."""
        values = history.values[-self.config.lookback :]
        if values.shape[1] != len(self.config.channels):
            raise DataError(
                f"Expected a history with {len(self.config.channels)} channels ({', '.join(self.config.channels)}), "
                f"got {values.shape[1]}."
            )
        if self.config.scale is not None and history.scale is None:
            values = self.config.scale.apply(values)
        missing = self.config.lookback - len(values)
        return np.pad(values, ((missing, 0), (0, 0)), mode="edge") if missing else values

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


def conformal(run: Run, windows: Windows, lookback: int, share: float | None) -> dict[str, np.ndarray]:
    """What to add to a forecast for an interval that holds `share` of the values: {"low", "high"}, (horizon, channels).

    Source: split conformal prediction (Vovk et al. 2005), by step and channel, on signed errors of windows that were not
    trained on. Windows follow each other, so the promise holds as far as the time to come resembles these windows.
    """
    if share is None:
        return {}
    which = np.unique(np.linspace(0, len(windows) - 1, min(len(windows), MOST_RESIDUALS)).astype(int))
    errors = []
    for start in range(0, len(which), BATCH):
        rows = [windows[int(at)] for at in which[start : start + BATCH]]
        past = np.stack([_last(row.x.values, lookback) for row in rows])
        errors.append(np.stack([row.y for row in rows]) - run(past)[0])
    error = np.concatenate(errors)  # (windows, horizon, channels)
    tail = (1 - share) / 2
    tail = max(0.0, tail - (1 - tail) / len(error))  # one window more than asked for: the one to come
    low, high = np.quantile(error, [tail, 1 - tail], axis=0)
    return {"low": low, "high": high}


def _last(values: np.ndarray, lookback: int) -> np.ndarray:
    values = values[-lookback:]
    missing = lookback - len(values)
    return np.pad(values, ((missing, 0), (0, 0)), mode="edge") if missing else values
