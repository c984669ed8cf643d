"""time stamps: read, and laid on a regular grid of seconds, business days or months."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from modelcommons.formats.tables import Table

DAY = 86_400  # seconds
Unit = Literal["second", "business day", "month"]
Part = Literal["hour", "weekday", "month"]  # of the calendar, as columns known ahead
SIZES: dict[Part, int] = {"hour": 24, "weekday": 7, "month": 12}

# (unit, count) -> steps after which a calendar repeats: candidates for the season, the shortest first
SEASONS: dict[tuple[str, int], int] = {
    ("second", 60): 1440, ("second", 300): 288, ("second", 600): 144, ("second", 900): 96, ("second", 1800): 48,
    ("second", 3600): 24, ("second", DAY): 7, ("second", 7 * DAY): 52, ("business day", 1): 5, ("month", 1): 12,
    ("month", 3): 4,
}  # fmt: skip
NAMES = {(unit, count): name for unit, count, name in (
    ("second", 60, "minute"), ("second", 3600, "hour"), ("second", DAY, "day"), ("second", 7 * DAY, "week"),
    ("business day", 1, "business day"), ("month", 1, "month"), ("month", 3, "quarter"), ("month", 12, "year"),
)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Frequency:
    """One step of a regular series."""

    unit: Unit
    count: int

    def __str__(self) -> str:
        return NAMES.get((self.unit, self.count), f"{self.count} {self.unit}s")

    @property
    def season(self) -> int:
        """Steps after which the calendar repeats; 0 where it says nothing (yearly data)."""
        return SEASONS.get((self.unit, self.count), 0)

    @property
    def resolution(self) -> str:
        """The unit that time stamps are written in: `Y`, `M`, `D`, `m` or `s`."""
        match self.unit:
            case "month":
                return "Y" if self.count % 12 == 0 else "M"
            case "business day":
                return "D"
            case _:
                return "D" if self.count % DAY == 0 else "m" if self.count % 60 == 0 else "s"

    def steps(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Steps from the first of `times` (sorted) to each, and which of them lie on the grid; both shape (times,)."""
        units = _units(times, self.unit)
        return (units - units[0]) // self.count, (units - units[0]) % self.count == 0

    def times(self, start: np.datetime64, num_steps: int) -> np.ndarray:
        """`num_steps` time stamps from `start` on, datetime64[s]."""
        ahead = np.arange(num_steps) * self.count
        match self.unit:
            case "second":
                return np.asarray(start + ahead.astype("timedelta64[s]"))
            case "business day":
                return np.busday_offset(start.astype("datetime64[D]"), ahead, roll="forward").astype("datetime64[s]")
            case _:
                month = start.astype("datetime64[M]")
                rest = start - month.astype("datetime64[s]")
                return np.asarray((month + ahead).astype("datetime64[s]") + rest)


def find_frequency(times: np.ndarray) -> Frequency:
    """The step that most neighbours in `times` (sorted, distinct datetime64[s], at least two) are apart."""
    seconds = _most_common(np.diff(_units(times, "second")))
    days = times.astype("datetime64[D]")
    if seconds == DAY and len(times) > 10 and bool(np.is_busday(days).all()):
        return Frequency("business day", 1)
    months = np.diff(_units(times, "month"))
    if seconds >= 28 * DAY and bool((months > 0).all()) and _same_day(days):
        return Frequency("month", _most_common(months))
    return Frequency("second", seconds)


def read_times(table: Table, column: str) -> np.ndarray:
    """A column as datetime64[s], NaT where it is empty or cannot be read: ISO 8601, years (1700), 195803, 19580329,
    or seconds or milliseconds since 1970.
    """
    match table.kinds[column]:
        case "time":
            return table.times(column)
        case "integer" | "number":
            return _from_numbers(table.numbers(column).values)
        case _:
            return np.array([_from_text(value) for value in table.column(column).to_pylist()], "datetime64[s]")


def columns(times: np.ndarray, parts: Sequence[Part]) -> tuple[tuple[str, ...], np.ndarray]:
    """What the calendar says of each time stamp: names (`weekday 1`: Monday), and 0 or 1, shape (times, columns)."""
    days, seconds = times.astype("datetime64[D]"), times.astype("datetime64[s]").astype(np.int64)
    found: dict[Part, np.ndarray] = {
        "hour": seconds // 3600 % 24,
        "weekday": (days.astype(np.int64) + 3) % 7,  # 1970 began on a Thursday
        "month": times.astype("datetime64[M]").astype(np.int64) % 12,
    }
    names = tuple(f"{part} {at + (part != 'hour')}" for part in parts for at in range(SIZES[part]))
    ones = [found[part][:, None] == np.arange(SIZES[part]) for part in parts]
    return names, np.concatenate([np.empty((len(times), 0)), *ones], axis=1).astype(np.float64)


def _units(times: np.ndarray, unit: Unit) -> np.ndarray:
    """Whole units since 1970, int64."""
    match unit:
        case "second":
            return times.astype("datetime64[s]").astype(np.int64)
        case "business day":
            return np.busday_count(np.datetime64("1970-01-01"), times.astype("datetime64[D]")).astype(np.int64)
        case _:
            return times.astype("datetime64[M]").astype(np.int64)


def _same_day(days: np.ndarray) -> bool:
    """Whether all are the same day of the month, or all the last one."""
    months = days.astype("datetime64[M]")
    of_month = (days - months.astype("datetime64[D]")).astype(np.int64)
    from_end = ((months + 1).astype("datetime64[D]") - days).astype(np.int64)
    return bool((of_month == of_month[0]).all() or (from_end == 1).all())


def _most_common(values: np.ndarray) -> int:
    distinct, counts = np.unique(values, return_counts=True)
    return int(distinct[np.argmax(counts)])


def _from_numbers(values: np.ndarray) -> np.ndarray:
    """Digits tell what a number means: 4 a year, 6 year and month, 8 a date, 10 seconds, 13 milliseconds."""
    whole = np.where(np.isfinite(values) & (values == np.round(values)), values, 0).astype(np.int64)
    times = np.full(len(whole), "NaT", "datetime64[s]")
    for at, value in enumerate(whole.tolist()):
        text = str(value)
        match len(text):
            case 4 | 6 | 8:
                times[at] = _from_text("-".join(filter(None, (text[:4], text[4:6], text[6:]))))
            case 10:
                times[at] = np.datetime64(value, "s")
            case 13:
                times[at] = np.datetime64(value // 1000, "s")
    return times


def _from_text(value: object) -> np.datetime64:
    try:
        return np.datetime64(str(value).strip().replace("/", "-"), "s")
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(str(value).strip())
    except ValueError:
        return np.datetime64("NaT", "s")
    # a time with an offset is compared in UTC, as datetime64 is
    return np.datetime64(int(moment.timestamp()), "s") if moment.tzinfo else np.datetime64(moment, "s")
