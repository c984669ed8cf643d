"""forecaster: a model folder's config and maps, answering histories with forecasts and intervals. numpy only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from modelcommons.errors import DataError, FormatError
from modelcommons.formats import safetensors
from modelcommons.workbench.fields.series import pretrained, quantiles
from modelcommons.workbench.fields.series.metrics import rounded
from modelcommons.workbench.fields.series.rows import History, Options, Panel, Scale, Windows, evenly
from modelcommons.workbench.task import Answer, Row

MODEL_TYPE = "modelcommons-series"
BATCH = 64  # windows answered at a time
MOST_ERRORS = 500  # windows of one part that intervals are made from, evenly spaced

Inputs = dict[str, np.ndarray]  # by the names of an exported model: history, and where there are such, known and past
# (batch, 1 or 1 + levels, horizon, channels): the mean, and the levels of a network that was trained for quantiles
Run = Callable[[Inputs], np.ndarray]
Outputs = dict[str, np.ndarray]  # mean, low, high (batch, horizon, channels), quantiles (batch, quantiles, ...)


@dataclass(frozen=True, slots=True)
class Config:
    """config.json of a forecasting model."""

    architecture: str
    horizon: int
    lookback: int
    channels: tuple[str, ...]
    season: int
    scale: Scale | Literal["series"] | None = None  # series: each by its own steps
    interval: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    quantiles: tuple[float, ...] = ()
    known: tuple[str, ...] = ()  # columns read over look-back and horizon
    past: tuple[str, ...] = ()  # columns read over the look-back

    @classmethod
    def of(cls, panel: Panel, architecture: str, lookback: int, asked: Options, options: Mapping[str, Any]) -> Config:
        """Of a model that reads the columns beside the series too."""
        scale: Scale | Literal["series"] | None = panel.scales[0] if panel.scales else None
        if len(panel.scales) > 1:
            scale = "series"
        return cls(
            architecture, panel.horizon, lookback, panel.channels, panel.season, scale, asked.interval, options,
            asked.quantiles, panel.known, panel.past,
        )  # fmt: skip

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels that are forecast beside the mean, rising."""
        return quantiles.levels(self.interval, self.quantiles)

    @property
    def outputs(self) -> tuple[str, ...]:
        """What a forecast says, in the order of an exported model's outputs."""
        interval = () if self.interval is None else ("low", "high")
        return ("mean", *interval, *(("quantiles",) if self.quantiles else ()))

    def picked(self, mean: Any, every: Any) -> tuple[Any, ...]:
        """Those outputs, arrays or tensors.

        Args:
            mean: (batch, horizon, channels).
            every: the levels, (batch, levels, horizon, channels); None where there are none.
        """
        found, at = [mean], self.levels.index
        if self.interval is not None:
            found += [every[:, at(level)] for level in quantiles.levels(self.interval, ())]
        return (*found, every[:, list(map(at, self.quantiles))]) if self.quantiles else tuple(found)


def write_config(config: Config, folder: Path) -> None:
    text = json.dumps({"model_type": MODEL_TYPE, **as_json(config)}, indent=2, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def as_json(config: Config) -> dict[str, Any]:
    """What config.json says of a forecaster."""
    scale: Any = config.scale
    if isinstance(config.scale, Scale):
        scale = {"mean": config.scale.mean.tolist(), "std": config.scale.std.tolist()}
    return {
        "task": "time-series-forecasting",
        "architecture": config.architecture,
        "horizon": config.horizon,
        "lookback": config.lookback,
        "channels": list(config.channels),
        "season": config.season,
        "scale": scale,
        "interval": config.interval,
        "quantiles": list(config.quantiles),
        "known": list(config.known),
        "past": list(config.past),
        "options": dict(config.options),
    }


def from_json(value: Mapping[str, Any]) -> Config:
    """What `as_json` gave; KeyError, TypeError or ValueError for anything else."""
    scale = value["scale"]
    if scale is not None and scale != "series":
        scale = Scale(np.array(scale["mean"], float), np.array(scale["std"], float))
    return Config(
        str(value["architecture"]), int(value["horizon"]), int(value["lookback"]), tuple(value["channels"]),
        int(value["season"]), scale, value["interval"], value["options"], tuple(value["quantiles"]),
        tuple(value["known"]), tuple(value["past"]),
    )  # fmt: skip


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
        return from_json(value)
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


def write_weights(weights: Mapping[str, np.ndarray], spread: np.ndarray | None, folder: Path) -> None:
    """model.safetensors: the weights, and beside them the levels around a forecast."""
    from safetensors.numpy import save_file

    every = {**weights, **({} if spread is None else {"spread": spread})}
    arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in every.items()}
    save_file(arrays, folder / "model.safetensors", {"format": "pt"})


class Forecaster:
    """A model that is ready to answer."""

    labels: Sequence[str] = ()

    def __init__(self, config: Config, run: Callable[[Inputs], Outputs]) -> None:
        self.config, self.run = config, run

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """Forecasts in the units of each row's history."""
        answers: list[Answer] = []
        for start in range(0, len(rows), BATCH):
            chunk = [rows[at].x for at in range(start, min(start + BATCH, len(rows)))]
            outputs, scales = self.run(self.inputs(chunk)), list(map(self._scale, chunk))
            every = {name: rounded(_restored(output, scales)).tolist() for name, output in outputs.items()}
            for at in range(len(chunk)):
                found: dict[str, Any] = {name: values[at] for name, values in every.items()}
                if "quantiles" in found:
                    found["quantiles"] = dict(zip(map(str, self.config.quantiles), found["quantiles"], strict=True))
                answers.append({"prediction": found})
        return answers

    def inputs(self, histories: Sequence[History]) -> Inputs:
        """The last steps of histories as the model reads them; see `gathered`."""
        return gathered([self._checked(history) for history in histories], self.config)

    def _checked(self, history: History) -> History:
        num_steps, num_channels = history.values.shape
        if num_channels != len(self.config.channels):
            raise DataError(
                f"Expected a history with {len(self.config.channels)} channels ({', '.join(self.config.channels)}), "
                f"got {num_channels}."
            )
        if (self.config.known or self.config.past) and history.known is None:
            beside = ", ".join((*self.config.known, *self.config.past))
            raise DataError(f"Expected a table with {beside} beside the series; numbers alone came. Hand in a table.")
        ahead = 0 if history.known is None else len(history.known) - num_steps
        if self.config.known and ahead < self.config.horizon:
            raise DataError(
                f"Expected {', '.join(self.config.known)} for the {self.config.horizon} steps from "
                f"{str(history.start).replace('T', ' ')}; the table has {max(ahead, 0)}. Add lines with them, "
                "the value to forecast left empty."
            )
        scale = self._scale(history)
        return history if scale is None else replace(history, values=scale.apply(history.values))

    def _scale(self, history: History) -> Scale | None:
        """What the history is standardised by here; None where it was already, or need not be."""
        if self.config.scale is None or history.scale is not None:
            return None
        return Scale.of(history.values) if self.config.scale == "series" else self.config.scale


def gathered(histories: Sequence[History], config: Config) -> Inputs:
    """`history` (batch, look-back, channels), `known` (batch, look-back + horizon, columns), `past` (batch, look-back,
    columns), the last two where the model reads such.

    The columns beside the series are in their own units. Where a history is too short, its first step is repeated.
    """
    found = {"history": np.stack([_last(one.values, config.lookback) for one in histories])}
    if config.known:
        ends = [len(one.values) + config.horizon for one in histories]
        known = [one.known[:end] for one, end in zip(histories, ends, strict=True) if one.known is not None]
        found["known"] = np.stack([_last(one, config.lookback + config.horizon) for one in known])
    if config.past:
        found["past"] = np.stack([_last(one.past, config.lookback) for one in histories if one.past is not None])
    return found


def linear_run(weights: Mapping[str, np.ndarray]) -> Run:
    """A linear map as something to run, shared by all channels, from the tensors that `linear_weights` gives."""
    weights = {name.removeprefix("network."): value.astype(np.float64) for name, value in weights.items()}

    def run(inputs: Inputs) -> np.ndarray:
        history, ahead = inputs["history"], np.zeros(1)
        if "effect.weight" in weights:
            effect = inputs["known"] @ weights["effect.weight"].T  # (batch, look-back + horizon, channels)
            history, ahead = history - effect[:, : history.shape[1]], effect[:, history.shape[1] :]
        level = history.mean(axis=1, keepdims=True)
        mean = level + np.einsum("hl,blc->bhc", weights["weight"], history - level, optimize=True)
        if "past" in weights:
            beside = inputs["past"] - inputs["past"].mean(axis=1, keepdims=True)
            mean = mean + np.einsum("phl,blp->bh", weights["past"], beside, optimize=True)[:, :, None]
        return np.asarray((mean + ahead)[:, None])

    return run


def linear_weights(weight: np.ndarray, past: np.ndarray, effect: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The tensors of a linear map, by the names that its network has.

    Args:
        weight: (horizon, look-back).
        past: (past, horizon, look-back), of the columns known up to now.
        effect: (known, channels), what one more of a column known ahead adds.
    """
    found = {"weight": weight, "past": past} if len(past) else {"weight": weight}
    if effect is not None and len(effect):
        found = {f"network.{name}": value for name, value in found.items()} | {"effect.weight": effect.T}
    return {name: value.astype(np.float32) for name, value in found.items()}


def finished(run: Run, config: Config, spread: np.ndarray | None) -> Callable[[Inputs], Outputs]:
    """A model's outputs by name, with the levels that `spread` (levels, horizon, channels) makes around them."""

    def answer(inputs: Inputs) -> Outputs:
        outputs = run(inputs)
        every = None if spread is None else quantiles.around(outputs, spread)
        return dict(zip(config.outputs, config.picked(outputs[:, 0], every), strict=True))

    return answer


def calibrated(unseen: Iterable[tuple[Run, Windows]], config: Config) -> np.ndarray | None:
    """The spread around forecasts; None where no level is asked for.

    Args:
        unseen: something to run, and windows that it was not fitted on.
    """
    if not config.levels:
        return None
    errors = [_errors(run, windows, config) for run, windows in unseen if len(windows)]
    return quantiles.conformal(np.concatenate(errors), config.levels)


def _errors(run: Run, windows: Windows, config: Config) -> np.ndarray:
    """What came minus what was answered, (windows, 1 or levels, horizon, channels)."""
    which = evenly(len(windows), MOST_ERRORS).tolist()
    errors = []
    for start in range(0, len(which), BATCH):
        rows = [windows[at] for at in which[start : start + BATCH]]
        outputs = run(gathered([row.x for row in rows], config))
        own = outputs[:, 1:] if outputs.shape[1] > 1 else outputs
        errors.append(np.stack([row.y for row in rows])[:, None] - own)
    return np.concatenate(errors)


def _restored(outputs: np.ndarray, scales: Sequence[Scale | None]) -> np.ndarray:
    """What each history of a batch was standardised by, undone."""
    if not any(scales):
        return outputs
    pairs = zip(outputs, scales, strict=True)
    return np.stack([values if scale is None else scale.undo(values) for values, scale in pairs])


def _last(values: np.ndarray, num_steps: int) -> np.ndarray:
    """The last steps; where there are too few, the first one is repeated before them."""
    values = values[-num_steps:]
    missing = num_steps - len(values)
    return np.pad(values, ((missing, 0), (0, 0)), mode="edge") if missing else values
