"""rows: forecasting windows over series, split in time; a window costs two numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from modelcommons.errors import DataError, RecipeError
from modelcommons.workbench.fields.series.calendar import Frequency, Part
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
        description="Score values with mean 0 and deviation 1 on the training steps of their series; `auto`: where "
        "there are several channels or series.",
    )
    interval: float | None = Field(
        0.8, gt=0, lt=1, description="Share of values that the prediction interval should hold; null: no interval."
    )
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (), description="Levels of quantile forecasts beside the mean, such as [0.1, 0.5, 0.9]."
    )
    known: tuple[str, ...] = Field(
        (), description="Number columns known ahead (prices, holidays), read over look-back and horizon."
    )
    past: tuple[str, ...] = Field((), description="Number columns known up to now only, read over the look-back.")
    calendar: tuple[Part, ...] = Field((), description="Parts of the calendar that count as known ahead.")
    leave_out: tuple[str, ...] = Field((), description="Series ids (or files) that are not read.")
    stride: int = Field(1, ge=1, description="Steps between the windows of validation and test.")
    gaps: Literal["interpolate", "refuse"] = Field(
        "interpolate", description="Missing steps: interpolated (never scored), or refused."
    )

    @field_validator("quantiles")
    @classmethod
    def _rising(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        """In order, each once."""
        return tuple(sorted(set(levels)))


WRITTEN = {"Y": -15, "M": -12, "D": -9, "m": -3, "s": None}  # up to where a moment is, in its text to the second


# --- values ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and standard deviation of each channel over the training steps; shapes (channels,)."""

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, steps: np.ndarray) -> Scale:
        """That of `steps` (time, channels); a channel that never moves is left as wide as it is."""
        std = steps.std(axis=0)
        return cls(steps.mean(axis=0), np.where(std > 0, std, 1.0))

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
    observed: np.ndarray  # (time,) bool: all channels were there
    known: np.ndarray  # (time or more, columns known ahead); NaN where nobody said
    past: np.ndarray  # (time, columns known up to now)
    bounds: tuple[int, int, int] | None = None  # official ends of train, validation, test, in steps

    @property
    def num_told(self) -> int:
        """Steps up to the last for which every column known ahead has a value."""
        there = ~np.isnan(self.known)
        return min((int(np.flatnonzero(column).max(initial=-1)) + 1 for column in there.T), default=len(there))


@dataclass(frozen=True, slots=True)
class Panel:
    """Series that share channels and frequency, and what was learned from their training steps."""

    series: tuple[Series, ...]
    channels: tuple[str, ...]
    frequency: Frequency
    horizon: int
    known: tuple[str, ...] = ()  # columns known ahead, those of the calendar among them
    past: tuple[str, ...] = ()  # columns known up to now
    season: int = 1  # steps
    scales: tuple[Scale, ...] = ()  # per series; values are standardised by them; empty: original units
    naive: tuple[np.ndarray, ...] = ()  # per series (channels,): mean |step of one season|, the unit of MASE


@dataclass(frozen=True, slots=True)
class History:
    """What a model sees: everything up to the origin."""

    values: np.ndarray  # (time, channels) float64, a view
    start: np.datetime64  # the first step to forecast; NaT when nobody said
    naive: np.ndarray | None = None  # (channels,)
    scale: Scale | None = None  # values are standardised by it; None: original units
    known: np.ndarray | None = None  # (time + horizon or less, columns known ahead)
    past: np.ndarray | None = None  # (time, columns known up to now)


class Windows:
    """Forecasting windows as `Rows`: only (series, origin) is stored for each, shape (rows, 2) int64."""

    def __init__(self, panel: Panel, where: np.ndarray) -> None:
        self.panel, self.where = panel, where
        self._written = WRITTEN[panel.frequency.resolution]

    def __len__(self) -> int:
        return len(self.where)

    def __getitem__(self, index: int) -> Row:
        at, origin = self.where[index].tolist()  # IndexError ends a loop
        panel, series = self.panel, self.panel.series[at]
        naive = panel.naive[at] if panel.naive else None
        history = History(
            _before(series, origin), series.times[origin], naive, panel.scales[at] if panel.scales else None,
            series.known[: origin + panel.horizon], series.past[:origin],
        )  # fmt: skip
        return Row(self._id(at, origin), history, series.values[origin : origin + panel.horizon], series.name)

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    def ids(self) -> Iterable[str]:
        return (self._id(at, origin) for at, origin in self.where.tolist())

    def take(self, indices: np.ndarray) -> Windows:
        return Windows(self.panel, self.where[indices])

    @cached_property
    def by_series(self) -> Mapping[int, np.ndarray]:
        """The windows of each series that has any: its index -> its part of `where`, in order."""
        where = self.where[np.argsort(self.where[:, 0], kind="stable")]
        first = np.flatnonzero(np.diff(where[:, 0], prepend=-1))
        return dict(zip(where[first, 0].tolist(), np.split(where, first[1:]), strict=True)) if len(where) else {}

    def _id(self, at: int, origin: int) -> str:
        """`ETTh1.csv@2017-10-20 00:00`: the first step that is forecast."""
        series = self.panel.series[at]
        return f"{series.name}@{str(series.times[origin])[: self._written].replace('T', ' ')}"


def _before(series: Series, origin: int) -> np.ndarray:
    """The values before `origin`; a gap just before it holds the last value instead of leading to the next, which is to
    be forecast.
    """
    values = series.values[:origin]
    if series.observed[origin - 1] or not series.observed[:origin].any():
        return values
    last = int(np.flatnonzero(series.observed[:origin])[-1])
    return np.concatenate([values[: last + 1], np.repeat(values[last : last + 1], origin - 1 - last, axis=0)])


def evenly(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` indices, evenly spaced from first to last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def touched(windows: Windows) -> Iterator[tuple[Series, int]]:
    """Each series that the windows are of, and the step after their last target."""
    for at, mine in windows.by_series.items():
        yield windows.panel.series[at], int(mine[:, 1].max()) + windows.panel.horizon


# --- split in time --------------------------------------------------------------------------------------------------


def windows(panel: Panel, starts: list[int], ends: list[int], stride: int = 1, observed: bool = False) -> Windows:
    """All windows whose targets lie in steps [start, end) of their series; `observed`: no filled targets."""
    found = []
    for at, (series, start, end) in enumerate(zip(panel.series, starts, ends, strict=True)):
        origins = np.arange(max(start, 1), end - panel.horizon + 1, stride)
        if observed:
            missing = np.concatenate([[0], np.cumsum(~series.observed)])
            origins = origins[missing[origins + panel.horizon] == missing[origins]]
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
    bounds = _bounds(panel, how)
    panel = _learn(
        replace(panel, series=tuple(fill(one, bound, panel) for one, bound in zip(panel.series, bounds, strict=True))),
        bounds,
        options,
    )
    for series in panel.series:
        if len(series.known) < len(series.times):
            raise DataError(
                f"Expected a value of {', '.join(panel.known)} for each of the {len(series.times):,} steps of "
                f"{series.name}; they end after {len(series.known):,}. Fill them, or name the columns in past."
            )
    ends = [[bound[part] for bound in bounds] for part in range(3)]
    train = windows(panel, [panel.season] * len(bounds), ends[0])
    validation = windows(panel, ends[0], ends[1], options.stride, observed=True)
    test = windows(panel, ends[1], ends[2], options.stride, observed=True)
    for name, part in (("training", train), ("validation", validation), ("test", test)):
        if not len(part):
            raise DataError(
                f"Expected at least one window of {panel.horizon} steps in the {name} part; there is none "
                "without gaps. Give more data, or a smaller data.options.horizon."
            )
    return Parts(train, validation, test, _how(panel, bounds, how))


def _bounds(panel: Panel, how: Split) -> list[tuple[int, int, int]]:
    """Ends of train, validation and test in steps of each series: as the files say, else at one date for all.

    So no series is forecast with what was not yet known of another.
    """
    first = min(series.times[0] for series in panel.series)
    offsets = [int(panel.frequency.steps(np.array([first, one.times[0]]))[0][1]) for one in panel.series]
    last = max(offset + len(series.times) for offset, series in zip(offsets, panel.series, strict=True))
    found = []
    for offset, series in zip(offsets, panel.series, strict=True):
        num_steps = len(series.times)
        if series.bounds and how.sizes is None:
            ends = _divided(series.bounds, how, panel.horizon)
        else:
            if how.sizes is not None and sum(how.sizes) > last:
                raise DataError(f"data.split.sizes add up to {sum(how.sizes):,} steps; there are {last:,}.")
            start, middle, end = _divided((last, last, last), how, panel.horizon)
            ends = min(max(start - offset, 0), num_steps), min(max(middle - offset, 0), num_steps), end - offset
        if ends[0] < 2 * panel.horizon:
            raise DataError(
                f"Expected at least {2 * panel.horizon} training steps to forecast {panel.horizon}; {series.name} "
                f"leaves {max(ends[0], 0)} of its {num_steps:,}. Give more data, or a smaller data.options.horizon."
            )
        found.append((ends[0], ends[1], min(ends[2], num_steps)))
    return found


def _divided(ends: tuple[int, int, int], how: Split, horizon: int) -> tuple[int, int, int]:
    """Ends of train, validation and test, those that nobody gave by their shares."""
    if how.sizes is not None:
        train, validation, test = how.sizes
        return train, train + validation, train + validation + test
    start, middle, end = ends
    if middle == end:
        middle = end - max(round(end * how.test), horizon)
        start = min(start, middle)
    if start == middle:
        start = middle - max(round(middle * how.validation), horizon)
    return start, middle, end


def fill(series: Series, bounds: tuple[int, int, int], panel: Panel) -> Series:
    """Missing steps on a straight line between neighbours of the same or an earlier part: no value leaks backwards.

    Raises:
        DataError: a column known ahead, or up to now, does not begin with the series.
    """
    series = replace(
        series,
        known=_carried(series.known[: series.num_told], panel.known, series.name),
        past=_carried(series.past, panel.past, series.name),
    )
    if bool(series.observed.all()):
        return series
    values, steps = series.values.copy(), np.arange(len(series.values))
    for start, end in zip((0, *bounds), (*bounds, len(steps)), strict=True):
        for channel in values.T:
            there = steps[:end][~np.isnan(channel[:end])]
            if len(there):
                channel[start:end] = np.interp(steps[start:end], there, channel[there])
    return replace(series, values=np.nan_to_num(values))


def _carried(values: np.ndarray, names: Sequence[str], series: str) -> np.ndarray:
    """Columns (time, columns) whose gaps hold the value before them: nothing of a later step is in an earlier one."""
    missing = np.isnan(values)
    if missing[:1].any():
        name = names[int(missing[0].argmax())]
        raise DataError(
            f"Expected a value of '{name}' in the first step of {series}; it is empty. Fill or cut that step."
        )
    last = np.maximum.accumulate(np.where(missing, 0, np.arange(len(values))[:, None]), axis=0)
    return np.take_along_axis(values, last, axis=0) if missing.any() else values


def _learn(panel: Panel, bounds: list[tuple[int, int, int]], options: Options) -> Panel:
    """Season, scale and the unit of MASE, from training steps alone."""
    train = [series.values[:end] for series, (end, _, _) in zip(panel.series, bounds, strict=True)]
    season = options.season if options.season != "auto" else find_season(train, panel.frequency)
    scales: tuple[Scale, ...] = ()
    if options.standardize is True or (options.standardize == "auto" and len(panel.channels) * len(panel.series) > 1):
        scales = tuple(map(Scale.of, train))
        standard = (replace(s, values=scale.apply(s.values)) for s, scale in zip(panel.series, scales, strict=True))
        panel = replace(panel, series=tuple(standard))
        train = [scale.apply(values) for scale, values in zip(scales, train, strict=True)]
    return replace(panel, season=season, scales=scales, naive=tuple(_naive(values, season) for values in train))


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
    a, b, c = (sum(ends) for ends in zip(*bounds, strict=True))
    more = f" of {len(bounds)} series" if len(bounds) > 1 else ""
    scaled = ", standardised on the training steps" if panel.scales else ", original units"
    given = "as given" if how.sizes or panel.series[0].bounds else "by time"
    return f"{a:,} + {b - a:,} + {c - b:,} steps{more} {given}; season {panel.season}{scaled}"
