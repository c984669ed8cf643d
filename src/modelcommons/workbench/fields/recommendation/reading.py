"""reading: a table of events, and beside it tables of items and users, as `Events`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelcommons.errors import DataError
from modelcommons.formats import tables
from modelcommons.formats.tables import Table
from modelcommons.workbench.fields.recommendation.events import (
    Events,
    Features,
    History,
    Options,
    Questions,
    ids_in_order,
)
from modelcommons.workbench.task import BadRow, Column, Reading, Row, Source

NAMES = {
    "user": ("user_id", "user", "userid", "uid", "customer_id", "session_id", "account", "person", "reader"),
    "item": ("item_id", "item", "itemid", "iid", "movie_id", "movieid", "product_id", "asin", "article_id", "book"),
    "time": ("timestamp", "time", "date", "datetime", "created_at", "unixreviewtime"),
    "rating": ("rating", "score", "stars", "overall"),
}  # fmt: skip
TITLES = ("title", "name")
MOST_VALUES = 200  # of a column of items or users that is taken for a feature
DECADE = 10  # numbers between 1800 and 2200 are years, and a year is known by its decade
LATEST = 1e11  # seconds since 1970, in the year 5138
OFFICIAL = {"train": 0, "validation": 1, "test": 2, "all": 0}


@dataclass(frozen=True, slots=True)
class Roles:
    """Which column is what."""

    user: str
    item: str
    time: str | None
    rating: str | None


def read(source: Source, columns: Mapping[str, str], options: Options) -> Reading:
    """All events of a source.

    Of several events of one user with one item the last is kept, in train rather than in test.

    Raises:
        DataError: no column of users or items is found, or nothing can be used.
    """
    beside = [file.path for file in source.files if file.split == "beside"]
    parts = tables.read_source(source)
    roles = find_roles(next(iter(parts.values())), columns)
    for name, table in parts.items():
        parts[name] = _usable(table, roles)
    user, item = ([str(value) for table in parts.values() for value in table.column(column).to_pylist()]
                  for column in (roles.user, roles.item))  # fmt: skip
    rank = np.concatenate([np.full(len(table), OFFICIAL[name]) for name, table in parts.items()])
    time = _times(parts, roles)
    keep = _rated(parts, roles, options)
    about = {name: tables.read([source.folder / name]) for name in beside}
    items = next((table for table in about.values() if _column(table, "item", columns) is not None), None)
    users = next(
        (table for table in about.values() if table is not items and _column(table, "user", columns) is not None), None
    )
    catalogue = [] if items is None else list(items.ids(_column(items, "item", columns)))
    item_ids, user_ids = ids_in_order([*item, *catalogue]), ids_in_order(user)
    item_code, user_code = ({id: code for code, id in enumerate(ids)} for ids in (item_ids, user_ids))
    codes = np.array([[user_code[a], item_code[b]] for a, b in zip(user, item, strict=True)], np.int64).reshape(-1, 2)
    official = options.official and "test" in parts
    order, num_again = _ordered(codes, rank if official else np.zeros_like(rank), time, keep)
    user_of = codes[order, 0]
    starts = np.searchsorted(user_of, np.arange(len(user_ids) + 1))
    events = Events(
        users=tuple(user_ids), items=tuple(item_ids), titles=_titles(items, columns, item_ids), user=user_of,
        item=codes[order, 1], time=time[order], starts=starts, trained=starts[1:], known=starts[1:],
        item_features=_features(items, _column(items, "item", columns), item_ids),
        user_features=_features(users, _column(users, "user", columns), user_ids),
        official={part: rank[order] == OFFICIAL[part] for part in ("validation", "test") if official and part in parts},
    )  # fmt: skip
    num_low = int((~keep).sum())
    notes = [
        *([f"{num_again:,} events repeat a user's item; the last of each is kept"] if num_again else []),
        *([f"{num_low:,} events rated below {options.least_rating:g} are no choices"] if num_low else []),
        f"{len(events.item):,} events, {len(user_ids):,} users, {len(item_ids):,} items",
    ]
    if not len(events.item):
        raise DataError(f"No event is left ({notes[-2]}). Lower data.options.least_rating.")
    return Reading(
        parts={"all": Questions(events, "train")},
        columns=tuple(_columns(next(iter(parts.values())), roles)),
        bad=tuple(BadRow(line.where, line.reason) for table in parts.values() for line in table.bad)[:5],
        num_bad=sum(table.num_bad for table in parts.values()),
        num_read=sum(table.num_read for table in parts.values()),
        notes=tuple(notes),
    )


def find_roles(table: Table, columns: Mapping[str, str]) -> Roles:
    """The columns as the recipe names them; those not named are found by name.

    Raises:
        DataError: a column is not there, or cannot be found.
    """
    for role, name in columns.items():
        if name not in table.columns:
            raise DataError(
                f"data.columns.{role}: there is no column '{name}'. The columns are {', '.join(table.columns)}."
            )
    found = {role: columns.get(role) or _named(table, NAMES[role]) for role in NAMES}
    for role in ("user", "item"):
        if found[role] is None:
            raise DataError(
                f"Expected a column of {role}s, found none among {', '.join(table.columns)}. "
                f"Name it in the recipe: data.columns.{role}."
            )
    assert found["user"] is not None and found["item"] is not None
    return Roles(found["user"], found["item"], found["time"], found["rating"])


def _named(table: Table, names: Sequence[str]) -> str | None:
    lower = {name.lower(): name for name in table.columns}
    return next((lower[name] for name in names if name in lower), None)


def _column(table: Table | None, role: str, columns: Mapping[str, str]) -> str | None:
    """The column of a table beside the events that names its items or users."""
    if table is None:
        return None
    wanted = columns.get(role)
    return wanted if wanted in table.columns else _named(table, (*NAMES[role], "id"))


def _usable(table: Table, roles: Roles) -> Table:
    """The rows that have user and item, and a time where there is such a column."""
    for column in (roles.user, roles.item):
        table = table.refuse(table.missing(column), f"nothing in column '{column}'")
    if roles.time is not None:
        times = table.moments(roles.time)
        table = table.refuse(
            np.isnat(times) if times.dtype.kind == "M" else np.isnan(times), f"no time in column '{roles.time}'"
        )
    if roles.rating is not None:
        table = table.refuse(np.isnan(table.numbers(roles.rating).values), f"no number in column '{roles.rating}'")
    return table


def _times(parts: Mapping[str, Table], roles: Roles) -> np.ndarray:
    """Seconds since 1970, or any numbers that sort; the order of the rows where no column says.

    Numbers too large for seconds are taken for milli-, micro- or nanoseconds.
    """
    if roles.time is None:
        return np.arange(sum(map(len, parts.values())), dtype=np.float64)
    found = [table.moments(roles.time) for table in parts.values()]
    times = np.concatenate(
        [one.astype("datetime64[s]").astype(np.float64) if one.dtype.kind == "M" else one for one in found]
    )
    finer = max(0, int(np.log10(max(float(np.median(times)), 1.0) / LATEST) // 3) + 1)
    return np.asarray(times / 1000.0**finer)


def _rated(parts: Mapping[str, Table], roles: Roles, options: Options) -> np.ndarray:
    """Which events count as a choice, (events,) bool."""
    if options.least_rating is None:
        return np.ones(sum(map(len, parts.values())), bool)
    if roles.rating is None:
        raise DataError(
            "data.options.least_rating needs a column of ratings, none was found. Name it in the recipe: "
            "data.columns.rating."
        )
    return np.concatenate([table.numbers(roles.rating).values for table in parts.values()]) >= options.least_rating


def _ordered(codes: np.ndarray, rank: np.ndarray, time: np.ndarray, keep: np.ndarray) -> tuple[np.ndarray, int]:
    """Indices of the events kept, by user, part and time; and how many were left out because they repeat another.

    What repeats in another part stays in the earlier part: a test must not ask for what is known.
    """
    left = np.flatnonzero(keep)
    order = left[np.lexsort((time[left], rank[left], codes[left, 0]))]
    by_pair = np.lexsort((time[order], -rank[order], codes[order, 1], codes[order, 0]))  # the one to keep comes last
    pairs = codes[order[by_pair]]
    last = np.append((pairs[1:] != pairs[:-1]).any(axis=1), True) if len(pairs) else np.zeros(0, bool)
    chosen = np.sort(by_pair[last])
    return order[chosen], len(order) - len(chosen)


def _titles(items: Table | None, columns: Mapping[str, str], ids: Sequence[str]) -> tuple[str, ...]:
    title = None if items is None else _named(items, TITLES)
    if items is None or title is None:
        return tuple(ids)
    names = dict(zip(items.ids(_column(items, "item", columns)), items.column(title).to_pylist(), strict=True))
    return tuple(str(names.get(id) or id) for id in ids)


def _features(table: Table | None, id: str | None, ids: Sequence[str]) -> Features | None:
    """Every column of few values, and of lists of few values, as zeros and ones; None where there is none."""
    if table is None or id is None:
        return None
    from scipy.sparse import csr_array

    code = {id: at for at, id in enumerate(ids)}
    rows = [code.get(name, -1) for name in table.ids(id)]
    values: dict[str, int] = {}
    pairs: dict[tuple[int, int], None] = {}
    for column in table.columns:
        if column == id:
            continue
        cells = [_values(cell) for cell in table.column(column).to_pylist()]
        distinct = {value for cell in cells for value in cell}
        if not 1 < len(distinct) <= MOST_VALUES:
            continue
        for value in sorted(distinct):
            values[f"{column}: {value}"] = len(values)
        for row, cell in zip(rows, cells, strict=True):
            pairs.update(((row, values[f"{column}: {value}"]), None) for value in cell if row >= 0)
    if not pairs:
        return None
    at = np.array(list(pairs), np.int64)
    has = csr_array((np.ones(len(at), np.float32), (at[:, 0], at[:, 1])), shape=(len(ids), len(values)))
    has.sort_indices()
    return Features(tuple(values), has)


def _values(cell: Any) -> list[str]:
    """What a cell says: nothing, one value, or several (`Drama|War`, a list)."""
    if isinstance(cell, str) and cell.startswith("["):
        try:
            cell = json.loads(cell)
        except ValueError:
            return [cell]
    if cell is None or cell == "":
        return []
    if isinstance(cell, list):
        return [str(value) for value in cell if value is not None]
    if isinstance(cell, str) and cell.isdecimal() and len(cell) == 4:
        cell = int(cell)
    if isinstance(cell, (int, float)) and not isinstance(cell, bool) and 1800 <= cell <= 2200:
        return [f"{int(cell) // DECADE * DECADE}s"]
    return str(cell).split("|")


def _columns(table: Table, roles: Roles) -> list[Column]:
    named = {roles.user: "user", roles.item: "item", roles.time: "time", roles.rating: "rating"}
    example = table.row(0) if len(table) else {}
    return [
        Column(name, table.kinds[name], named.get(name, "unused"), int(table.missing(name).sum()),
               example=str(example.get(name, ""))[:40])
        for name in table.columns
    ]  # fmt: skip


def read_histories(path: Path) -> list[Row]:
    """One row for each user of a table of events, as a person hands it in.

    Raises:
        DataError: it has no users or items.
    """
    table = tables.read([path])
    roles = find_roles(table, {})
    table = _usable(table, roles)
    order = np.argsort(_times({"all": table}, roles), kind="stable").tolist()
    users, items = (list(map(str, table.column(name).to_pylist())) for name in (roles.user, roles.item))
    found: dict[str, list[str]] = {}
    for at in order:
        found.setdefault(users[at], []).append(items[at])
    return [Row(user, History(tuple(dict.fromkeys(chosen)), titled=True)) for user, chosen in found.items()]
