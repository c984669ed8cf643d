"""rows: forecasting windows over series, split in time; a window costs two numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import DataError, RecipeError
from modelcommons.workbench.fields.series.calendar import Frequency
from modelcommons.workbench.task import Parts, Row, Split


class Options(BaseModel):
    """`data.options` of a forecasting recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon: int = Field(12, ge=1, description="How many steps ahead are forecast.")
    targets: tuple[str, ...] = Field((), description="Value columns to forecast; all numeric columns when empty.")
    season: int | Literal["auto"] = Field(
        "auto", description="Steps after which the series repeats; `auto`: from calendar and autocorrelation."
    )
    standardize: bool | Literal["auto"] = Field(
        "auto",
        description="Score values with mean 0 and deviation 1 on the training steps; `auto`: with several channels.",
    )
    interval: float | None = Field(
        0.8, gt=0, lt=1, description="Share of values that the prediction interval should hold; null: no interval."
    )
    stride: int = Field(1, ge=1, description="Steps between the windows of validation and test.")
    gaps: Literal["interpolate", "refuse"] = Field(
        "interpolate", description="Missing steps: interpolated (never scored), or refused."
    )


# --- values ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and standard deviation of each channel over the training steps; shapes (channels,)."""

    mean: np.ndarray
    std: np.ndarray

    def apply(self, values: np.ndarray) -> np.ndarray:
        return np.asarray((values - self.mean) / self.std)

    def undo(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values * self.std + self.mean)


@dataclass(frozen=True, slots=True)
class Series:
    """One regular series: a value for every step, NaN where there was none when it was read."""

    name: str
    times: np.ndarray  # (time,) datetime64[s]
    values: np.ndarray  # (time, channels) float64
    known: np.ndarray  # (time,) bool: all channels were there
    bounds: tuple[int, int, int] | None = None  # official ends of train, validation, test, in steps


@dataclass(frozen=True, slots=True)
class Panel:
    """Series that share channels and frequency, and what was learned from their training steps."""

    series: tuple[Series, ...]
    channels: tuple[str, ...]
    frequency: Frequency
    horizon: int
    season: int = 1  # steps
    scale: Scale | None = None  # values are standardised by it; None: original units
    naive: tuple[np.ndarray, ...] = ()  # per series (channels,): mean |step of one season|, the unit of MASE


@dataclass(frozen=True, slots=True)
class History:
    """What a model sees: everything up to the origin."""

    values: np.ndarray  # (time, channels) float64, a view
    start: np.datetime64  # the first step to forecast; NaT when nobody said
    naive: np.ndarray | None = None  # (channels,)
    scale: Scale | None = None  # values are standardised by it; None: original units


class Windows:
    """Forecasting windows as `Rows`: only (series, origin) is stored for each, shape (rows, 2) int64."""

    def __init__(self, panel: Panel, where: np.ndarray) -> None:
        self.panel, self.where = panel, where

    def __len__(self) -> int:
        return len(self.where)

    def __getitem__(self, index: int) -> Row:
        at, origin = self.where[range(len(self))[index]].tolist()  # IndexError ends a loop
        panel, series = self.panel, self.panel.series[at]
        naive = panel.naive[at] if panel.naive else None
        history = History(series.values[:origin], series.times[origin], naive, panel.scale)
        return Row(self._id(at, origin), history, series.values[origin : origin + panel.horizon], series.name)

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    def ids(self) -> Iterable[str]:
        return (self._id(at, origin) for at, origin in self.where.tolist())

    def take(self, indices: np.ndarray) -> Windows:
        return Windows(self.panel, self.where[indices])

    def _id(self, at: int, origin: int) -> str:
        """`ETTh1.csv@2017-10-20 00:00`: the first step that is forecast."""
        series = self.panel.series[at]
        moment = np.datetime_as_string(series.times[origin], self.panel.frequency.resolution)  # type: ignore[call-overload]
        return f"{series.name}@{str(moment).replace('T', ' ')}"


def evenly(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` indices, evenly spaced from first to last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def blocks(windows: Windows) -> list[np.ndarray]:
    """The steps that the windows of each series touch, from the first one read to the last target: (time, channels)."""
    found = []
    for at in np.unique(windows.where[:, 0]).tolist():
        last = int(windows.where[windows.where[:, 0] == at, 1].max())
        found.append(windows.panel.series[at].values[: last + windows.panel.horizon])
    return found


# --- split in time --------------------------------------------------------------------------------------------------


def windows(panel: Panel, starts: list[int], ends: list[int], stride: int = 1, known: bool = False) -> Windows:
    """All windows whose targets lie in steps [start, end) of their series; `known`: without filled targets."""
    found = []
    for at, (series, start, end) in enumerate(zip(panel.series, starts, ends, strict=True)):
        origins = np.arange(max(start, 1), end - panel.horizon + 1, stride)
        if known:
            unknown = np.concatenate([[0], np.cumsum(~series.known)])
            origins = origins[unknown[origins + panel.horizon] == unknown[origins]]
        found.append(np.stack([np.full_like(origins, at), origins], axis=1))
    return Windows(panel, np.concatenate(found))


def split(panel: Panel, how: Split, options: Options) -> Parts:
    """Train, validation and test by time. Look-backs may reach into the part before; targets never leave their part.

    Raises:
        RecipeError: another split than by time was asked for.
        DataError: a part has no room for one horizon.
    """
    if how.by not in ("auto", "time"):
        raise RecipeError(f"data.split.by: expected 'time' (or 'auto') for time series, got '{how.by}'. Leave it out.")
    bounds = [_bounds(series, how, panel.horizon) for series in panel.series]
    panel = _learn(replace(panel, series=tuple(map(fill, panel.series, bounds))), bounds, options)
    ends = [[bound[part] for bound in bounds] for part in range(3)]
    train = windows(panel, [panel.season] * len(bounds), ends[0])
    validation = windows(panel, ends[0], ends[1], options.stride, known=True)
    test = windows(panel, ends[1], ends[2], options.stride, known=True)
    for name, part in (("training", train), ("validation", validation), ("test", test)):
        if not len(part):
            raise DataError(
                f"Expected at least one window of {panel.horizon} steps in the {name} part; there is none "
                "without gaps. Give more data, or a smaller data.options.horizon."
            )
    return Parts(train, validation, test, _how(panel, bounds, how))


def _bounds(series: Series, how: Split, horizon: int) -> tuple[int, int, int]:
    """Ends of train, validation and test in steps of the series."""
    num_steps = len(series.times)
    if how.sizes is not None:
        ends = np.cumsum(how.sizes).tolist()
        if ends[2] > num_steps:
            raise DataError(f"data.split.sizes add up to {ends[2]:,} steps; {series.name} has {num_steps:,}.")
        return ends[0], ends[1], ends[2]
    start, middle, end = series.bounds or (num_steps, num_steps, num_steps)
    if middle == end:
        middle = end - max(round(end * how.test), horizon)
        start = min(start, middle)
    if start == middle:
        start = middle - max(round(middle * how.validation), horizon)
    if start < 2 * horizon:
        raise DataError(
            f"Expected at least {2 * horizon} training steps to forecast {horizon}; {series.name} leaves "
            f"{max(start, 0)} of its {num_steps:,}. Give more data, or a smaller data.options.horizon."
        )
    return start, middle, end


def fill(series: Series, bounds: tuple[int, int, int]) -> Series:
    """Missing steps on a straight line between neighbours of the same or an earlier part: no value leaks backwards."""
    if bool(series.known.all()):
        return series
    values, steps = series.values.copy(), np.arange(len(series.values))
    for start, end in zip((0, *bounds), (*bounds, len(steps)), strict=True):
        for channel in values.T:
            there = steps[:end][~np.isnan(channel[:end])]
            if len(there):
                channel[start:end] = np.interp(steps[start:end], there, channel[there])
    return replace(series, values=np.nan_to_num(values))


def _learn(panel: Panel, bounds: list[tuple[int, int, int]], options: Options) -> Panel:
    """Season, scale and the unit of MASE, from training steps alone."""
    train = [series.values[:end] for series, (end, _, _) in zip(panel.series, bounds, strict=True)]
    season = options.season if options.season != "auto" else find_season(train, panel.frequency)
    scale = None
    if options.standardize is True or (options.standardize == "auto" and len(panel.channels) > 1):
        steps = np.concatenate(train)
        std = steps.std(axis=0)
        scale = Scale(steps.mean(axis=0), np.where(std > 0, std, 1.0))
        panel = replace(panel, series=tuple(replace(s, values=scale.apply(s.values)) for s in panel.series))
        train = [scale.apply(values) for values in train]
    return replace(panel, season=season, scale=scale, naive=tuple(_naive(values, season) for values in train))


def find_season(train: list[np.ndarray], frequency: Frequency) -> int:
    """The calendar's season where the steps from value to value repeat with it, else the strongest repetition, else 1.

    Source: the 90 % test for seasonality of the M4 competition, on first differences, so that a random walk has none.
    """
    longest = max(train, key=len)
    limit = min(len(longest) // 3, 400)
    if limit < 2:
        return 1
    correlation = _autocorrelation(np.diff(longest, axis=0), max(limit, frequency.season))  # [lag]
    needed = 1.645 * np.sqrt((1 + 2 * np.concatenate([[0], np.cumsum(correlation[1:-1] ** 2)])) / len(longest))
    found = np.flatnonzero(correlation[1:] > needed) + 1
    if frequency.season in found:
        return frequency.season
    peaks = [
        lag for lag in found.tolist() if 1 < lag < limit and correlation[lag] >= correlation[lag - 1 : lag + 2].max()
    ]
    return max(peaks, key=lambda lag: correlation[lag], default=1)


def _autocorrelation(values: np.ndarray, limit: int) -> np.ndarray:
    """Autocorrelation at lags 0..limit, averaged over channels; shape (limit + 1,)."""
    centred = values - values.mean(axis=0)
    variance = np.maximum((centred**2).sum(axis=0), 1e-12)
    lags = range(min(limit, len(values) - 1) + 1)
    return np.array([((centred[lag:] * centred[: len(centred) - lag]).sum(axis=0) / variance).mean() for lag in lags])


def _naive(values: np.ndarray, season: int) -> np.ndarray:
    """Mean absolute error of the seasonal naive forecast inside the training steps, (channels,); never 0."""
    season = season if season < len(values) else 1
    error = np.abs(values[season:] - values[:-season]).mean(axis=0)
    return np.where(error > 0, error, 1.0)


def _how(panel: Panel, bounds: list[tuple[int, int, int]], how: Split) -> str:
    (a, b, c), more = bounds[0], f" in each of {len(bounds)} series" if len(bounds) > 1 else ""
    scaled = ", standardised on the training steps" if panel.scale else ", original units"
    given = "as given" if how.sizes or panel.series[0].bounds else "by time"
    return f"{a:,} + {b - a:,} + {c - b:,} steps {given}{more}; season {panel.season}{scaled}"
