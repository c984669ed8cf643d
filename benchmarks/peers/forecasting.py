"""forecasting: the same windows by `statsforecast` (each series by itself) and `darts` (one linear map for all).

    python benchmarks/peers/forecasting.py AutoETS FOLDER '{"horizon": 12, "season": 1, "lookback": 24}'

FOLDER holds series.npz: `values` one series after the other, `starts`, the ends of training `ends`, and `where`, the
(series, origin) of each window; forecasts.npy is written beside it, (windows, horizon).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from spent import now, peak

Forecast = Callable[[np.ndarray], np.ndarray]  # (windows, 2) -> (windows, horizon)


def main(model: str, folder: Path, options: dict[str, Any]) -> None:
    found = np.load(folder / "series.npz")
    series, ends = np.split(found["values"], found["starts"][1:-1]), found["ends"].tolist()
    fit = darts if model == "LinearRegressionModel" else local
    warm = np.sin(np.arange(300.0)) + 10  # what is compiled or imported at the first call is not counted
    fit(model, [warm], [200], {**options, "lookback": 24})(np.array([[0, 200], [0, 201]]))
    before, begun = peak(), now()
    forecast = fit(model, series, ends, options)
    fitted = now()
    made = forecast(found["where"])
    ended = now()
    np.save(folder / "forecasts.npy", made)
    told = {"fit": (fitted - begun).tolist(), "windows": (ended - fitted).tolist()}
    print(json.dumps({**told, "peak_mib": peak(), "before_mib": before}))


def local(name: str, series: list[np.ndarray], ends: list[int], options: dict[str, Any]) -> Forecast:
    """Fitted once on the training steps of each series; a window's history is put through what was fitted."""
    from statsforecast import models

    made, horizon = getattr(models, name), options["horizon"]
    fitted = [made(season_length=options["season"]).fit(one[:end]) for one, end in zip(series, ends, strict=True)]

    def forecast(where: np.ndarray) -> np.ndarray:
        answers = []
        for at, origin in where.tolist():
            model, history = fitted[at], series[at][:origin]
            seen = model.forecast(history, horizon) if name == "SeasonalNaive" else model.forward(history, horizon)
            answers.append(seen["mean"])
        return np.array(answers)

    return forecast


def darts(name: str, series: list[np.ndarray], ends: list[int], options: dict[str, Any]) -> Forecast:
    """One map over all training series; windows through `historical_forecasts`, which has a quick way for it."""
    from darts import TimeSeries
    from darts.models import LinearRegressionModel

    horizon = options["horizon"]
    whole = [TimeSeries.from_times_and_values(pandas.RangeIndex(len(one)), one) for one in series]
    model = LinearRegressionModel(lags=options["lookback"], output_chunk_length=horizon)
    model.fit([one[:end] for one, end in zip(whole, ends, strict=True)])

    def forecast(where: np.ndarray) -> np.ndarray:
        found = np.empty((len(where), horizon))
        for at in np.unique(where[:, 0]).tolist():
            mine = np.flatnonzero(where[:, 0] == at)
            origins = where[mine, 1]
            stride = int(np.diff(origins).min(initial=len(whole[at])))
            made = model.historical_forecasts(
                whole[at][: origins.max() + horizon], start=int(origins.min()), forecast_horizon=horizon, stride=stride,
                retrain=False, last_points_only=False, verbose=False, show_warnings=False,
            )  # fmt: skip
            by_origin = {int(one.start_time()): one.values()[:, 0] for one in made}
            found[mine] = [by_origin[origin] for origin in origins.tolist()]
        return found

    return forecast


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))
