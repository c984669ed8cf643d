"""linear forecasts and the last season beside `statsforecast` and `darts`: seconds, memory, MASE on the same windows.

    python benchmarks/forecasting_peers.py
    python benchmarks/forecasting_peers.py --sets ett --rounds 3

All are fitted on the same training steps, once, standardised by them, and forecast the same test windows, without
intervals, on one thread. Each measurement is a process of its own, ours and the others take turns; a first fit, with
what it imports, is not counted. Ours also chooses its ridge, says its error on validation windows, and ends with a
model folder that was written and read (`folder`: that alone, once more), the others' in memory. It has no exponential
smoothing: AutoETS and AutoTheta stand beside it for their MASE.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure import heading, peak_mib
from measure.peers import now, ours, peer, ratios, words

from modelcommons.workbench.engine.progress import Silent
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.fields.series.forecaster import read_config, read_weights, write_config, write_weights
from modelcommons.workbench.fields.series.forecasting import TASK
from modelcommons.workbench.fields.series.rows import Windows
from modelcommons.workbench.sources import find
from modelcommons.workbench.task import Choice, Job, Parts, Split


@dataclass(frozen=True)
class Set:
    """Series, how they are cut into windows, and who forecasts them."""

    file: str
    columns: dict[str, str]
    options: dict[str, Any]
    lookback: int  # steps
    others: tuple[str, ...]
    sizes: tuple[int, int, int] | None = None  # steps of train, validation and test


SETS = {
    "exchange-rates": Set(
        "finance_series/exchange_rates_monthly.csv", {"time": "Date", "series": "Country"},
        {"horizon": 12, "season": 1, "leave_out": ["Venezuela"]}, 24,
        ("SeasonalNaive", "AutoETS", "AutoTheta", "LinearRegressionModel"),
    ),
    "ett": Set(
        "ett_small/ETTh1.csv", {"time": "date"}, {"horizon": 96, "season": 24, "stride": 24}, 336,
        ("SeasonalNaive", "LinearRegressionModel"), (8640, 2880, 2880),
    ),
}  # fmt: skip
AGAINST = {"linear": "LinearRegressionModel", "seasonal-naive": "SeasonalNaive"}


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data"))
    wanted.add_argument("--sets", nargs="+", choices=SETS, default=tuple(SETS))
    wanted.add_argument("--rounds", type=int, default=5)
    wanted.add_argument("--run", nargs=3, metavar=("MODEL", "SET", "FOLDER"), help="ours alone: one line of JSON")
    given = wanted.parse_args()
    if given.run:
        return run_one(given.run[0], SETS[given.run[1]], given.data, Path(given.run[2]))
    heading()
    for name in given.sets:
        with tempfile.TemporaryDirectory() as folder:
            compare(name, given.data, Path(folder), given.rounds)


def parts_of(chosen: Set, data: Path) -> Parts:
    options = TASK.options.model_validate({"standardize": True, "interval": None, **chosen.options})
    reading = TASK.rows(find(str(data / chosen.file), None, None), chosen.columns, options)
    return TASK.split(reading, Split(sizes=chosen.sizes), options)


def compare(name: str, data: Path, folder: Path, rounds: int) -> None:
    """Everybody in turns; median seconds with the least and the most, and ratios."""
    chosen, parts = SETS[name], parts_of(SETS[name], data)
    test: Any = parts.test
    scale = write_series(parts, folder)
    shape = {"horizon": chosen.options["horizon"], "season": chosen.options["season"], "lookback": chosen.lookback}
    asked = json.dumps(shape)
    taken: dict[str, list[dict[str, Any]]] = {}
    mase: dict[str, float] = {}
    for _ in range(rounds):
        for model in (*AGAINST, *chosen.others):
            if model in AGAINST:
                run = ours("forecasting_peers", "--data", str(data), "--run", model, name, str(folder), threads=1)
            else:
                run = peer("forecasting", model, str(folder), asked, threads=1)
            taken.setdefault(model, []).append(run)
            mase[model] = error(np.load(folder / "forecasts.npy"), folder, scale)
    series = test.panel.series
    steps = sum(len(one.values) for one in series)
    print(
        f"{name}: {len(series) * len(test.panel.channels)} series, {steps:,} steps, {len(scale):,} windows, {asked}, "
        f"{rounds} rounds"
    )
    for model, runs in taken.items():
        told = words([part for part in ("fit", "folder", "windows") if part in runs[0]], runs)
        print(f"  {model:24}{told} · MASE {mase[model]:.4f}")
    for own, other in AGAINST.items():
        for part in ("fit", "windows"):
            print(f"    {own} beside {other}, {ratios(part, taken[own], taken[other])}")
    print(flush=True)


def write_series(parts: Parts, folder: Path) -> np.ndarray:
    """Writes series.npz, a channel as a series; returns the unit of MASE of each window."""
    train, test = parts.train, parts.test
    assert isinstance(train, Windows) and isinstance(test, Windows)
    panel, width = test.panel, len(test.panel.channels)
    values = [channel for series in panel.series for channel in series.values.T]
    last = {at: train.where[train.where[:, 0] == at, 1].max() for at in np.unique(train.where[:, 0]).tolist()}
    ends = [int(last[at]) + panel.horizon for at in range(len(panel.series)) for _ in range(width)]
    where = np.array([(at * width + channel, origin) for at, origin in test.where.tolist() for channel in range(width)])
    starts = np.cumsum([0, *map(len, values)])
    np.savez(folder / "series.npz", values=np.concatenate(values), starts=starts, ends=ends, where=where)
    return np.asarray(np.concatenate(panel.naive)[where[:, 0]])


def error(forecasts: np.ndarray, folder: Path, scale: np.ndarray) -> float:
    """MASE, the mean over all windows."""
    found = np.load(folder / "series.npz")
    series = np.split(found["values"], found["starts"][1:-1])
    pairs = zip(found["where"].tolist(), forecasts, scale.tolist(), strict=True)
    return float(
        np.mean([np.abs(made - series[at][origin:][: len(made)]).mean() / unit for (at, origin), made, unit in pairs])
    )


def run_one(model: str, chosen: Set, data: Path, folder: Path) -> None:
    """Ours: fitted, loaded, and all test windows forecast, in this process."""
    parts = parts_of(chosen, data)
    options = {"lookback": chosen.lookback} if model == "linear" else {}
    out = folder / model
    out.mkdir(exist_ok=True)
    job = Job(
        choice=Choice(None, model, options), training=Training(), seed=0, folder=out, checkpoints=folder / "none",
        options=TASK.options.model_validate({"standardize": True, "interval": None, **chosen.options}),
        progress=Silent(),
    )  # fmt: skip
    before = peak_mib()
    TASK.fit(parts.train, parts.validation, job)  # what is imported at the first call is not counted, as of the others
    TASK.load(out).predict(parts.test)  # type: ignore[arg-type]
    parts = parts_of(chosen, data)
    begun = now()
    TASK.fit(parts.train, parts.validation, job)
    forecaster = TASK.load(out)
    fitted = now()
    answers = forecaster.predict(parts.test)  # type: ignore[arg-type]
    ended = now()
    weights, config = read_weights(out), read_config(out)
    kept = now()
    write_weights(weights, None, out)
    write_config(config, out)
    TASK.load(out)
    read = now()
    means = np.array([answer["prediction"]["mean"] for answer in answers])  # (windows, horizon, channels)
    np.save(folder / "forecasts.npy", means.swapaxes(1, 2).reshape(-1, means.shape[1]))
    told = {"fit": (fitted - begun).tolist(), "windows": (ended - fitted).tolist(), "folder": (read - kept).tolist()}
    print(json.dumps({**told, "peak_mib": peak_mib(), "before_mib": before}))


if __name__ == "__main__":
    main()
