"""time-series-forecasting: the steps to come of one or many series, from the steps that were."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from pydantic import BaseModel

from modelcommons.errors import DataError, UsageError
from modelcommons.formats.tables import is_file
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.series import linear, pretrained
from modelcommons.workbench.fields.series.covariates import bare
from modelcommons.workbench.fields.series.explain import Explainer
from modelcommons.workbench.fields.series.figures import figures
from modelcommons.workbench.fields.series.fitting import ARCHITECTURES, fit
from modelcommons.workbench.fields.series.forecaster import (
    Config,
    Forecaster,
    Inputs,
    Outputs,
    calibrated,
    finished,
    linear_run,
    linear_weights,
    read_config,
    read_weights,
)
from modelcommons.workbench.fields.series.metrics import METRICS, agrees, block, changed, losses, rounded, scores
from modelcommons.workbench.fields.series.networks import loaded, run_of
from modelcommons.workbench.fields.series.reading import read, read_history
from modelcommons.workbench.fields.series.rows import History, Options, Windows, split
from modelcommons.workbench.task import Job, Json, Model, Parts, Reading, Row, Rows, Source, Split, Tiny

LINEAR = ("linear", "seasonal-naive")  # answered by one matrix, without torch
CALIBRATION = 512  # windows at most, for static quantisation


class Forecasting:
    """Direct forecasts of a whole horizon, every channel by itself, scored on overlapping windows in time order."""

    name = "time-series-forecasting"
    field = "series"
    summary = "the next steps of one or many series: mean and prediction interval for a whole horizon"
    roles: Mapping[str, str] = {
        "time": "time stamps: ISO 8601, years, 195803, 19580329, seconds since 1970",
        "series": "ids, where one table holds many series one below the other",
    }
    options: type[BaseModel] = Options
    architectures: Mapping[str, type[BaseModel]] = ARCHITECTURES
    metrics = METRICS
    open_models = ("time-series-forecasting",)
    quantization: Literal["dynamic", "static"] = "dynamic"
    slices: Mapping[str, str] = {
        "hour": "hour of the first step forecast, in blocks of six",
        "weekday": "weekday of the first step forecast",
        "month": "month of the first step forecast",
        "year": "year of the first step forecast",
        "series": "series id or file",
        "volatility": "whether the steps just before are larger than is usual for the series",
        "regime": "whether the level moves by more than one deviation of as many steps before",
    }
    always = ("regime",)

    # --- data ---

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        return read(source, columns, cast(Options, options))

    def split(self, reading: Reading, how: Split, options: BaseModel) -> Parts:
        panel = cast(Windows, next(iter(reading.parts.values()))).panel
        return split(panel, how, cast(Options, options))

    def read_input(self, value: Any, options: BaseModel) -> list[Row]:
        """Histories: a table's path, numbers separated by commas, a list or an array (time,) or (time, channels)."""
        if isinstance(value, Path) or (isinstance(value, str) and is_file(value)):
            return read_history(Path(value), cast(Options, options))
        numbers = value.strip("[] ").replace(",", " ").split() if isinstance(value, str) else value
        try:
            values = np.asarray(numbers, np.float64)
        except (TypeError, ValueError):
            raise UsageError(
                f"Expected a file that is here, or numbers as a history, got {str(value)[:80]!r}."
            ) from None
        if values.ndim not in (1, 2) or not values.size or not bool(np.isfinite(values).all()):
            raise DataError(
                f"Expected finite numbers of shape (time,) or (time, channels) as a history, got shape {values.shape}."
            )
        return [Row("input", History(values.reshape(len(values), -1), np.datetime64("NaT", "s")))]

    def target(self, row: Row) -> Json:
        """The values that came, and the in-sample error of the seasonal naive, the unit of MASE."""
        history = cast(History, row.x)
        scale = history.naive if history.naive is not None else np.ones(row.y.shape[1])
        return {"values": rounded(row.y).tolist(), "scale": rounded(scale).tolist()}

    def slice(self, row: Row, name: str) -> str:
        if name == "regime":
            return _regime(row)
        if name == "volatility":
            return _volatility(row)
        start = row.x.start.astype("datetime64[s]").item()
        match name:
            case "hour":
                return f"{start.hour // 6 * 6:02}-{start.hour // 6 * 6 + 5:02}"
            case "weekday":
                return f"{start.isoweekday()} {start:%A}"
            case "month":
                return f"{start.month:02}"
            case "year":
                return str(start.year)
            case _:
                return row.group or ""

    # --- models ---

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        return fit(cast(Windows, train), cast(Windows, validation), job)

    def load(self, folder: Path, variant: str = "") -> Model:
        config = read_config(folder)
        if variant:
            return Forecaster(config, _onnx_run(folder / variant, config))
        weights, spread = _unpacked(folder, config)
        run = linear_run(weights) if config.architecture in LINEAR else run_of(_network(folder, config, weights))
        return Forecaster(config, finished(run, config, spread))

    def files(self, folder: Path, variant: str = "") -> list[str]:
        if variant:
            return ["config.json", variant]
        beside = [pretrained.INTERVAL] if (folder / pretrained.INTERVAL).is_file() else []
        return ["config.json", "model.safetensors", *beside]

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """The last season again, with intervals from its errors in the training windows."""
        windows, season = cast(Windows, train), cast(Windows, train).panel.season
        weight = linear.seasonal_naive(season, windows.panel.horizon)
        config = Config.of(bare(windows).panel, "seasonal-naive", season, cast(Options, options), {})
        run = linear_run(linear_weights(weight[:, 0], weight[:0]))
        return f"seasonal naive ({season})", Forecaster(
            config, finished(run, config, calibrated([(run, windows)], config))
        )

    # --- scores ---

    scores = staticmethod(scores)
    losses = staticmethod(losses)
    block = staticmethod(block)
    changed = staticmethod(changed)
    agrees = staticmethod(agrees)
    figures = staticmethod(figures)

    # --- more ---

    def explainer(self, folder: Path) -> Explainer:
        return Explainer(cast(Forecaster, self.load(folder)))

    def export(self, folder: Path, out: Path) -> None:
        """ONNX: `history` (batch, look-back, channels) -> `forecast` (batch, horizon, channels).

        Where the model has such also `known` (batch, look-back + horizon, columns) and `past` (batch, look-back,
        columns) -> `low`, `high` and `quantiles` (batch, quantiles, horizon, channels).
        """
        import torch

        from modelcommons.workbench.engine.quantize import export
        from modelcommons.workbench.fields.series.models import Finished

        config = read_config(folder)
        weights, spread = _unpacked(folder, config)
        around = None if spread is None else torch.from_numpy(spread)
        network = Finished(_network(folder, config, weights), config, around)
        random = np.random.default_rng(0)
        sizes = {"history": (config.lookback, len(config.channels))}
        if config.known:
            sizes["known"] = (config.lookback + config.horizon, len(config.known))
        if config.past:
            sizes["past"] = (config.lookback, len(config.past))
        example = {
            name: torch.from_numpy(random.standard_normal((2, *size), np.float32)) for name, size in sizes.items()
        }
        export(network.eval(), example, ["forecast", *config.outputs[1:]], {name: {0: "batch"} for name in sizes}, out)

    def calibration(self, folder: Path, rows: Rows) -> Iterator[dict[str, np.ndarray]]:
        model = cast(Forecaster, self.load(folder))
        every = max(1, len(rows) // CALIBRATION)
        for at in range(0, len(rows), every):
            yield {name: value.astype(np.float32) for name, value in model.inputs([rows[at].x]).items()}

    def tiny(self, folder: Path) -> Tiny:
        """A daily sine of one week on a slope, with noise of variance 0.01: nothing can forecast better than that."""
        rng = np.random.default_rng(7)
        step = np.arange(420)
        values = 10 + 0.01 * step + np.sin(2 * np.pi * step / 7) + 0.1 * rng.standard_normal(len(step))
        days = np.datetime64("2024-01-01") + step
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{day},{value:.4f}" for day, value in zip(days.tolist(), values.tolist(), strict=True)]
        (folder / "sine.csv").write_text("date,value\n" + "\n".join(lines) + "\n")
        options = {"horizon": 7, "quantiles": [0.1, 0.9]}
        recipe = {"model": {"new": "linear"}, "data": {"options": options}, "tune": {"epochs": 3}}
        return Tiny(
            source=folder, recipe=recipe, metric="mse", at_least=0.0125, wrong_file="date,value\n2024-01-01,red\n",
            example=list(itertools.islice(values.tolist(), 100)),
        )  # fmt: skip


def _regime(row: Row) -> str:
    """A change of regime: the mean of what came lies more than one deviation from that of as many steps before it."""
    past = row.x.values[-len(row.y) :]  # (horizon, channels)
    moved = np.abs(row.y.mean(axis=0) - past.mean(axis=0)) / np.maximum(past.std(axis=0), 1e-12)
    return "level moves" if float(moved.mean()) > 1 else "level stays"


def _volatility(row: Row) -> str:
    """The mean size of as many steps as the horizon has, beside that of all steps before the origin."""
    size = np.abs(np.diff(row.x.values, axis=0))  # (steps, channels)
    if not len(size):
        return "calm"
    recent = size[-len(row.y) :].mean(axis=0) / np.maximum(size.mean(axis=0), 1e-12)
    return "volatile" if float(recent.mean()) > 1 else "calm"


def _unpacked(folder: Path, config: Config) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Weights by name (of an open model none: the library reads them), and the levels around a forecast."""
    if config.architecture in pretrained.CLASSES:
        return {}, pretrained.read_spread(folder)
    weights = read_weights(folder)
    return weights, weights.pop("spread", None)


def _network(folder: Path, config: Config, weights: Mapping[str, np.ndarray]) -> Any:
    """The network with its weights, for evaluation."""
    if config.architecture in pretrained.CLASSES:
        return pretrained.plain(pretrained.load(folder)[0]).eval()
    return loaded(config, weights)


def _onnx_run(path: Path, config: Config) -> Callable[[Inputs], Outputs]:
    from modelcommons.workbench.engine.quantize import session

    model = session(path, 1)

    def run(inputs: Inputs) -> Outputs:
        found = model.run({name: value.astype(np.float32) for name, value in inputs.items()})
        return dict(zip(config.outputs, found, strict=True))

    return run


TASK = Forecasting()
