"""reading: tables with a time column become regular series; a line that cannot be used is counted, with its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from modelcommons.errors import DataError
from modelcommons.formats import tables
from modelcommons.formats.tables import Table
from modelcommons.workbench.fields.series import calendar
from modelcommons.workbench.fields.series.calendar import Frequency, find_frequency, read_times
from modelcommons.workbench.fields.series.rows import History, Options, Panel, Series, Windows, fill, windows
from modelcommons.workbench.task import BadRow, Column, Reading, Row, Source, SourceFile

TIME_NAMES = ("time", "date", "datetime", "timestamp", "ds", "year", "month", "day", "period")
SERIES_NAMES = ("series", "unique_id", "series_id", "item_id")
PARTS = ("train", "validation", "test")
MOST_GAPS = 3  # missing steps for each one that is there; with more it is not one regular series
SHOWN = 5  # bad rows kept


@dataclass(frozen=True, slots=True)
class _Roles:
    """Which column is what."""

    time: str
    series: str | None
    values: tuple[str, ...]
    known: tuple[str, ...] = ()
    past: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """Every column of numbers, in the order in which they stand in `_Piece.values`."""
        return (*self.values, *self.known, *self.past)


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one file holds of one series, in the order of the file."""

    name: str
    times: np.ndarray  # (lines,) datetime64[s]
    values: np.ndarray  # (lines, numbers), NaN where a cell is empty
    lines: np.ndarray  # (lines,) rows of `table`
    table: Table
    part: int  # index into PARTS; -1 where the file says nothing


@dataclass(frozen=True, slots=True)
class _Lines:
    """All lines of one series in time order; `places` leads back to the file."""

    name: str
    times: np.ndarray
    values: np.ndarray
    parts: np.ndarray
    places: Sequence[tuple[Table, int]]

    @classmethod
    def of(cls, name: str, pieces: Sequence[_Piece]) -> _Lines:
        times = np.concatenate([piece.times for piece in pieces])
        values = np.concatenate([piece.values for piece in pieces])
        parts = np.concatenate([np.full(len(piece.times), piece.part) for piece in pieces])
        places = [(piece.table, at) for piece in pieces for at in piece.lines.tolist()]
        order = np.argsort(times, kind="stable")
        return cls(name, times[order], values[order], parts[order], [places[at] for at in order.tolist()])

    def where(self, at: int) -> str:
        table, line = self.places[at]
        return table.where(line)

    @property
    def is_sorted(self) -> bool:
        """Whether the file had them in time order."""
        return all(a[1] < b[1] for a, b in zip(self.places, self.places[1:], strict=False) if a[0] is b[0])

    def take(self, which: np.ndarray) -> _Lines:
        places = [self.places[at] for at in which.tolist()]
        return _Lines(self.name, self.times[which], self.values[which], self.parts[which], places)


def read(source: Source, columns: Mapping[str, str], options: Options) -> Reading:
    """Series from CSV, JSON Lines or Parquet: one file a series, or long, with a column of series ids.

    Raises:
        DataError: no table, no time column, no numbers, an irregular frequency.
    """
    files = [file for file in source.files if Path(file.path).suffix in tables.SUFFIXES]
    if not files:
        raise DataError(
            f"Expected {', '.join(tables.SUFFIXES)} files with a time column in {source.name}; found none of them."
        )
    found = [tables.read([source.folder / file.path]) for file in files]
    report, roles = found[0], _roles(found[0], columns, options)
    usable = [_usable(table, roles) for table in found]
    by_name: dict[str, list[_Piece]] = {}
    for file, table in zip(files, usable, strict=True):
        for piece in _pieces(file, table, roles):
            by_name.setdefault(piece.name, []).append(piece)
    every = [_Lines.of(name, pieces) for name, pieces in _kept(by_name, options.leave_out).items()]
    frequency = _frequency(every)
    doubles = [_doubles(lines) for lines in every]
    bad = [BadRow(line.where, line.reason) for table in usable for line in table.bad] + [
        d for some in doubles for d in some
    ]
    series = tuple(_series(lines, frequency, roles, options) for lines in every)
    told = calendar.columns(np.array([], "datetime64[s]"), options.calendar)[0]
    panel = Panel(series, roles.values, frequency, options.horizon, (*roles.known, *told), roles.past)
    return Reading(
        parts=_parts(panel),
        columns=_report(report, roles),
        bad=tuple(bad[:SHOWN]),
        num_bad=sum(table.num_bad for table in usable) + sum(map(len, doubles)),
        num_read=sum(table.num_read for table in usable),
        notes=(
            f"one step is one {frequency}",
            *(note for lines, one in zip(every, series, strict=True) for note in _notes(lines, one)),
        ),
    )


def read_history(path: Path, options: Options) -> list[Row]:
    """One row for each series of a table, all of it known: what comes next is asked for."""
    file = SourceFile(path.name, path.stat().st_size, "")
    reading = read(Source(path.name, path.parent, (file,), ""), {}, options)
    if reading.num_bad:
        raise DataError(f"{reading.bad[0].where}: {reading.bad[0].reason}. Mend the file, or leave the line out.")
    panel = cast(Windows, next(iter(reading.parts.values()))).panel
    rows = []
    for series in panel.series:
        end = len(series.times)
        start = panel.frequency.times(series.times[-1], 2)[1]
        filled = fill(series, (end, end, end), panel)
        history = History(filled.values, start, known=filled.known, past=filled.past)
        rows.append(Row(series.name, history, None, series.name))
    return rows


# --- columns --------------------------------------------------------------------------------------------------------


def _roles(table: Table, columns: Mapping[str, str], options: Options) -> _Roles:
    """The columns as the recipe names them, else found by name and type."""
    named = {"target": options.targets, "known": options.known, "past": options.past}
    for role, name in (*columns.items(), *((role, name) for role, names in named.items() for name in names)):
        if name not in table.columns:
            raise DataError(f"There is no column '{name}' for {role}; the columns are {', '.join(table.columns)}.")
    time = columns.get("time") or _find_time(table)
    series = columns.get("series") or _find_series(table, time)
    values = options.targets or tuple(
        name
        for name in table.columns
        if name not in (time, series, *options.known, *options.past) and _is_numeric(table, name)
    )
    if not values:
        raise DataError(
            f"Expected at least one column of numbers beside '{time}'; the columns are {', '.join(table.columns)}. "
            "Write numbers as 1234.5, or name the columns that have them: data.options.targets."
        )
    if both := sorted({*values} & {*options.known}):
        raise DataError(
            f"Expected '{both[0]}' to be forecast or known ahead, it is named as both. Leave it out of one."
        )
    return _Roles(time, series, values, options.known, options.past)


def _find_time(table: Table) -> str:
    for name in table.columns:
        if table.kinds[name] == "time" or name.strip().lower() in TIME_NAMES:
            return name
    first = table.columns[0]
    if table.kinds[first] != "number" and not bool(np.isnat(read_times(table, first)).any()):
        return first
    raise DataError(
        f"Expected a time column; none of {', '.join(table.columns)} is named or looks like one. "
        "Name it: data.columns: {time: NAME}."
    )


def _find_series(table: Table, time: str) -> str | None:
    """A column of series ids: by name, or the only column of words where time stamps repeat."""
    for name in table.columns:
        if name.strip().lower() in SERIES_NAMES:
            return name
    words = [name for name in table.columns if name != time and not _is_numeric(table, name)]
    if len(words) == 1 and len(np.unique(read_times(table, time))) < len(table) / 2:
        return words[0]
    return None


def _is_numeric(table: Table, name: str) -> bool:
    """Numbers, but for a few bad cells; a column of words is none."""
    if table.kinds[name] in ("integer", "number"):
        return True
    return table.kinds[name] == "text" and bool((~table.numbers(name).bad).mean() > 0.5)


def _report(table: Table, roles: _Roles) -> tuple[Column, ...]:
    role = (
        dict.fromkeys(roles.past, "past")
        | dict.fromkeys(roles.known, "known")
        | dict.fromkeys(roles.values, "target")
        | {roles.time: "time"}
        | ({roles.series: "series"} if roles.series else {})
    )
    return tuple(
        Column(
            name=name,
            kind={"time": "time", **dict.fromkeys(("target", "known", "past"), "number")}.get(
                role.get(name, ""), table.kinds[name]
            ),
            role=role.get(name, "unused"),
            missing=int(table.missing(name).sum()),
            example=str(table.row(0, [name])[name]) if len(table) else "",
        )
        for name in table.columns
    )


# --- lines ----------------------------------------------------------------------------------------------------------


def _usable(table: Table, roles: _Roles) -> Table:
    """The table without lines whose time or number cannot be read."""
    lacking = [name for name in (roles.time, roles.series, *roles.numbers) if name and name not in table.columns]
    if lacking:
        raise DataError(
            f"A file has no column '{lacking[0]}', which others have; its columns: {', '.join(table.columns)}."
        )
    for name in dict.fromkeys(roles.numbers):
        table = table.refuse(table.numbers(name).bad, _no_number(table, name))
    return table.refuse(np.isnat(read_times(table, roles.time)), f"{roles.time} is not a time that can be read")


def _no_number(table: Table, name: str) -> Callable[[int], str]:
    return lambda at: f"{name} is '{table.row(at, [name])[name]}', expected a finite number"


def _pieces(file: SourceFile, table: Table, roles: _Roles) -> list[_Piece]:
    """The lines of one file by series."""
    times = read_times(table, roles.time)
    values = np.stack([table.numbers(name).values for name in roles.numbers], axis=1)
    part = PARTS.index(file.split) if file.split in PARTS else -1
    own = "" if part >= 0 else file.path  # files of an official split hold parts of the same series
    if roles.series is None:
        return [_Piece(own or "series", times, values, np.arange(len(times)), table, part)]
    ids = np.array([str(value) for value in table.column(roles.series).to_pylist()])
    by_id = {id: np.flatnonzero(ids == id) for id in dict.fromkeys(ids.tolist())}
    return [
        _Piece(f"{own}/{id}".strip("/"), times[mine], values[mine], mine, table, part) for id, mine in by_id.items()
    ]


def _kept(by_name: dict[str, list[_Piece]], leave_out: Sequence[str]) -> dict[str, list[_Piece]]:
    """Without the series whose id, or file, is to be left out."""
    left = {name for name in by_name for id in leave_out if f"/{name}".endswith(f"/{id}")}
    for id in leave_out:
        if not any(f"/{name}".endswith(f"/{id}") for name in left):
            raise DataError(f"There is no series '{id}' to leave out; the first are {', '.join([*by_name][:SHOWN])}.")
    return {name: pieces for name, pieces in by_name.items() if name not in left}


def _doubles(lines: _Lines) -> list[BadRow]:
    """Lines whose time stamp came before; the first one stands."""
    again = np.flatnonzero(lines.times[1:] == lines.times[:-1]) + 1
    return [
        BadRow(lines.where(at), f"time stamp {_text(lines.times[at])} came before, expected it once")
        for at in again.tolist()
    ]


# --- series ---------------------------------------------------------------------------------------------------------


def _frequency(every: Sequence[_Lines]) -> Frequency:
    """The step of the longest series; the others are laid on the same."""
    times = np.unique(max((lines.times for lines in every), key=len, default=np.array([], "datetime64[s]")))
    if len(times) < 3:
        raise DataError(f"Expected at least 3 time steps; {len(times)} can be used. Check the time column.")
    return find_frequency(times)


def _series(lines: _Lines, frequency: Frequency, roles: _Roles, options: Options) -> Series:
    """The values on the grid of `frequency`. Where columns are known ahead, it ends with the last value to forecast."""
    lines = lines.take(np.flatnonzero(np.concatenate([[True], lines.times[1:] != lines.times[:-1]])))
    steps, on_grid = frequency.steps(lines.times)
    if not bool(on_grid.all()):
        at = int(np.argmin(on_grid))
        raise DataError(
            f"Expected one time step ({frequency}) all along {lines.name}; {_text(lines.times[at])} at "
            f"{lines.where(at)} lies between two steps ({int((~on_grid).sum()):,} lines do). "
            "Resample the series to a regular step."
        )
    channels, there = len(roles.values), ~np.isnan(lines.values[:, : len(roles.values)])
    last = int(np.flatnonzero(there.any(axis=1)).max(initial=0)) if roles.known else -1
    num_steps, num_known = int(steps[last]) + 1, int(there.all(axis=1).sum())
    if num_steps > num_known * (1 + MOST_GAPS) or (options.gaps == "refuse" and num_steps > num_known):
        raise DataError(
            f"Expected a value for each {frequency} of {lines.name}; {num_steps - num_known:,} of {num_steps:,} are "
            "missing. Fill them, or (where they are few) allow data.options.gaps: interpolate."
        )
    times = frequency.times(lines.times[0], max(num_steps + options.horizon, int(steps[-1]) + 1))
    every = np.full((len(times), lines.values.shape[1]), np.nan)
    every[steps] = lines.values
    values, told = every[:num_steps, :channels], calendar.columns(times, options.calendar)[1]
    return Series(
        name=lines.name,
        times=times[:num_steps],
        values=values,
        observed=np.asarray(~np.isnan(values).any(axis=1)),
        known=np.concatenate([every[:, channels : channels + len(roles.known)], told], axis=1),
        past=every[:num_steps, channels + len(roles.known) :],
        bounds=_official(lines, np.minimum(steps, num_steps - 1)),
    )


def _official(lines: _Lines, steps: np.ndarray) -> tuple[int, int, int] | None:
    """Ends of train, validation and test where the files say so."""
    parts = lines.parts
    if parts.max() < 0:
        return None
    if parts.min() < 0 or bool((np.diff(parts) < 0).any()):
        raise DataError(
            f"{lines.name}: expected the training steps to end before those of validation and test begin; they overlap."
        )
    ends = [int(steps[parts <= part][-1]) + 1 if bool((parts <= part).any()) else 0 for part in range(3)]
    return ends[0], ends[1], ends[2]


def _notes(lines: _Lines, series: Series) -> list[str]:
    missing = int((~series.observed).sum())
    notes = [] if lines.is_sorted else [f"{lines.name}: lines were not in time order and were sorted"]
    if missing:
        steps = f"{missing:,} of {len(series.observed):,} steps missing"
        notes.append(f"{lines.name}: {steps}, interpolated; windows that ask for them are not scored")
    return notes


def _parts(panel: Panel) -> dict[str, Windows]:
    """Windows as they were read: in one, or by official part."""
    bounds = [series.bounds for series in panel.series if series.bounds]
    if len(bounds) < len(panel.series):
        return {"all": windows(panel, [1] * len(panel.series), [len(series.times) for series in panel.series])}
    starts, found = [1] * len(bounds), {}
    for part, name in enumerate(PARTS):
        ends = [bound[part] for bound in bounds]
        found[name] = windows(panel, starts, ends)
        starts = ends
    return {name: part for name, part in found.items() if len(part)}


def _text(time: np.datetime64) -> str:
    return str(time).replace("T", " ")
