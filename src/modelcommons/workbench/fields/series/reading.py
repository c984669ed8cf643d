"""reading: tables with a time column become regular series; every line that cannot be used is counted with its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from modelcommons.errors import DataError
from modelcommons.formats import tables
from modelcommons.formats.tables import Table
from modelcommons.workbench.fields.series.calendar import Frequency, find_frequency, read_times
from modelcommons.workbench.fields.series.rows import History, Options, Panel, Series, Windows, fill, windows
from modelcommons.workbench.task import BadRow, Column, Reading, Row, Source, SourceFile

TIME_NAMES = ("time", "date", "datetime", "timestamp", "ds", "year", "month", "day", "period")
SERIES_NAMES = ("series", "unique_id", "series_id", "item_id")
PARTS = ("train", "validation", "test")
MOST_GAPS = 3  # missing steps for each one that is there, in months, weeks, ...: more is not one regular series


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one file holds of one series, in the order of the file."""

    name: str
    times: np.ndarray  # (lines,) datetime64[s]
    values: np.ndarray  # (lines, channels), NaN where a cell is empty
    lines: np.ndarray  # (lines,) rows of `table`
    table: Table
    part: int  # index into PARTS; -1 where the file says nothing

    def where(self, at: int) -> str:
        return self.table.where(int(self.lines[at]))


@dataclass(frozen=True, slots=True)
class _Roles:
    """Which column is what."""

    time: str
    series: str | None
    values: tuple[str, ...]


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
    read_files = [(file, tables.read([source.folder / file.path])) for file in files]
    roles = _roles(read_files[0][1], columns, options)
    pieces: list[_Piece] = []
    bad: list[BadRow] = []
    num_bad = 0
    for file, table in read_files:
        found, table = _pieces(file, table, roles)
        pieces += found
        bad += [BadRow(line.where, line.reason) for line in table.bad]
        num_bad += table.num_bad
    by_name: dict[str, list[_Piece]] = {}
    for piece in pieces:
        by_name.setdefault(piece.name, []).append(piece)
    frequency = _frequency(by_name)
    notes: list[str] = []
    series = []
    for name, mine in by_name.items():
        one, doubles = _series(name, mine, frequency, options, notes)
        series.append(one)
        bad += doubles
        num_bad += len(doubles)
    panel = Panel(tuple(series), roles.values, frequency, options.horizon)
    num_read = sum(table.num_read for _, table in read_files)
    return Reading(
        _parts(panel),
        _report(read_files[0][1], roles),
        tuple(bad[:5]),
        num_bad,
        num_read,
        (f"one step is one {frequency}", *notes),
    )


# --- columns --------------------------------------------------------------------------------------------------------


def _roles(table: Table, columns: Mapping[str, str], options: Options) -> _Roles:
    """The columns as the recipe names them, else found by name and type."""
    for role, name in (*columns.items(), *(("target", name) for name in options.targets)):
        if name not in table.columns:
            raise DataError(f"There is no column '{name}' for {role}; the columns are {', '.join(table.columns)}.")
    time = columns.get("time") or _find_time(table)
    series = columns.get("series") or _find_series(table, time)
    values = options.targets or tuple(
        name for name in table.columns if name not in (time, series) and _is_numeric(table, name)
    )
    if not values:
        raise DataError(
            f"Expected at least one column of numbers beside '{time}'; the columns are {', '.join(table.columns)}."
        )
    return _Roles(time, series, values)


def _find_time(table: Table) -> str:
    for name in table.columns:
        if table.kinds[name] == "time" or name.strip().lower() in TIME_NAMES:
            return name
    first = table.columns[0]
    if bool((~np.isnat(read_times(table, first))).all()) and table.kinds[first] != "number":
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
    repeats = len(np.unique(read_times(table, time))) < len(table) if len(words) == 1 else False
    return words[0] if repeats else None


def _is_numeric(table: Table, name: str) -> bool:
    """Numbers, but for a few bad cells; a column of words is none."""
    return table.kinds[name] in ("integer", "number") or (
        table.kinds[name] == "text" and len(table) > 0 and float(np.isfinite(table.numbers(name).values).mean()) > 0.5
    )


def _report(table: Table, roles: _Roles) -> tuple[Column, ...]:
    role = {roles.time: "time", roles.series: "series", **dict.fromkeys(roles.values, "target")}
    return tuple(
        Column(
            name,
            "time" if name == roles.time else "number" if name in roles.values else table.kinds[name],
            role.get(name, "unused"),
            int(table.missing(name).sum()),
            example=str(table.row(0, [name])[name]) if len(table) else "",
        )
        for name in table.columns
    )


# --- lines to series ------------------------------------------------------------------------------------------------


def _pieces(file: SourceFile, table: Table, roles: _Roles) -> tuple[list[_Piece], Table]:
    """The usable lines of one file by series, and the table without the others."""
    lacking = [name for name in (roles.time, roles.series, *roles.values) if name and name not in table.columns]
    if lacking:
        raise DataError(f"{file.path} has no column '{lacking[0]}', which other files have.")
    for name in roles.values:
        table = table.refuse(table.numbers(name).bad, f"{name} is not a finite number")
    table = table.refuse(np.isnat(read_times(table, roles.time)), f"{roles.time} is not a time that can be read")
    times = read_times(table, roles.time)
    values = np.stack([table.numbers(name).values for name in roles.values], axis=1)
    part = PARTS.index(file.split) if file.split in PARTS else -1
    own = "" if part >= 0 else file.path  # files of an official split hold parts of the same series
    if roles.series is None:
        return [_Piece(own or "series", times, values, np.arange(len(times)), table, part)], table
    ids = np.array([str(value) for value in table.column(roles.series).to_pylist()])
    found = []
    for id in dict.fromkeys(ids.tolist()):
        mine = np.flatnonzero(ids == id)
        found.append(_Piece(f"{own}/{id}".strip("/"), times[mine], values[mine], mine, table, part))
    return found, table


def _frequency(by_name: Mapping[str, list[_Piece]]) -> Frequency:
    """The step of the longest series; the others are laid on the same."""
    longest = max(by_name.values(), key=lambda pieces: sum(len(piece.times) for piece in pieces), default=[])
    times = np.unique(np.concatenate([piece.times for piece in longest])) if longest else np.array([])
    if len(times) < 3:
        raise DataError(f"Expected at least 3 time steps; {len(times)} can be used. Check the time column.")
    return find_frequency(times)


def _series(
    name: str, pieces: list[_Piece], frequency: Frequency, options: Options, notes: list[str]
) -> tuple[Series, list[BadRow]]:
    """Lines in time order on the grid of `frequency`, and those whose time stamp came twice (the first one stands)."""
    times = np.concatenate([piece.times for piece in pieces])
    places = [(piece, at) for piece in pieces for at in range(len(piece.times))]
    order = np.argsort(times, kind="stable")
    times = times[order]
    if not bool((np.diff(order) > 0).all()):
        notes.append(f"{name}: lines were not in time order and were sorted")
    double = np.concatenate([[False], times[1:] == times[:-1]])
    bad = []
    for at in order[double].tolist():
        piece, line = places[at]
        bad.append(BadRow(piece.where(line), f"time stamp {_text(piece.times[line])} came before; expected it once"))
    order, times = order[~double], times[~double]
    steps, on_grid = frequency.steps(times)
    if not bool(on_grid.all()):
        piece, line = places[int(order[np.argmin(on_grid)])]
        raise DataError(
            f"Expected one time step ({frequency}) all along {name}; {_text(piece.times[line])} at {piece.where(line)} "
            f"lies between two steps ({int((~on_grid).sum()):,} lines do). Resample the series to a regular step."
        )
    num_steps = int(steps[-1]) + 1
    values = np.concatenate([piece.values for piece in pieces])[order]
    _check_gaps(name, num_steps, int((~np.isnan(values).any(axis=1)).sum()), frequency, options, notes)
    full = np.full((num_steps, values.shape[1]), np.nan)
    full[steps] = values
    parts = np.concatenate([np.full(len(piece.times), piece.part) for piece in pieces])[order]
    known = ~np.isnan(full).any(axis=1)
    return Series(name, frequency.times(times[0], num_steps), full, known, _official(name, parts, steps)), bad


def _check_gaps(
    name: str, num_steps: int, num_known: int, frequency: Frequency, options: Options, notes: list[str]
) -> None:
    missing = num_steps - num_known
    if not missing:
        return
    if options.gaps == "refuse" or missing > MOST_GAPS * num_known:
        raise DataError(
            f"Expected a value for each {frequency} of {name}; {missing:,} of {num_steps:,} are missing. "
            "Fill them, or allow data.options.gaps: interpolate."
            if missing <= MOST_GAPS * num_known
            else f"Expected a regular series; {name} has values for only {num_known:,} of {num_steps:,} steps "
            f"(one {frequency} each). Check the time column."
        )
    notes.append(
        f"{name}: {missing:,} of {num_steps:,} steps missing, interpolated; windows that ask for them are not scored"
    )


def _official(name: str, parts: np.ndarray, steps: np.ndarray) -> tuple[int, int, int] | None:
    """Ends of train, validation and test where the files say so."""
    if parts.max(initial=-1) < 0:
        return None
    if parts.min() < 0 or bool((np.diff(parts) < 0).any()):
        raise DataError(f"{name}: expected the training file to end before the validation and test files begin.")
    ends = [int(steps[parts <= part][-1]) + 1 if (parts <= part).any() else 0 for part in range(3)]
    return ends[0], ends[1], ends[2]


def _parts(panel: Panel) -> dict[str, Windows]:
    """Windows as they were read: in one, or by official part."""
    if any(series.bounds is None for series in panel.series):
        return {"all": windows(panel, [1] * len(panel.series), [len(series.times) for series in panel.series])}
    bounds = [series.bounds for series in panel.series if series.bounds]
    starts, found = [1] * len(bounds), {}
    for part, name in enumerate(PARTS):
        ends = [bound[part] for bound in bounds]
        made = windows(panel, starts, ends)
        if len(made):
            found[name] = made
        starts = ends
    return found


def _text(time: np.datetime64) -> str:
    return str(time).replace("T", " ")


def read_history(path: Path, options: Options) -> list[Row]:
    """One row for each series of a table, all of it known: what comes next is asked for."""
    file = SourceFile(path.name, path.stat().st_size, "")
    reading = read(Source(path.name, path.parent, (file,), ""), {}, options)
    if reading.num_bad:
        raise DataError(f"{reading.bad[0].where}: {reading.bad[0].reason}. Mend the file, or leave the line out.")
    panel = cast(Windows, next(iter(reading.parts.values()))).panel
    ends = {series.name: len(series.times) for series in panel.series}
    filled = [fill(series, (ends[series.name],) * 3) for series in panel.series]
    return [
        Row(series.name, History(series.values, panel.frequency.times(series.times[-1], 2)[1]), None, series.name)
        for series in filled
    ]
