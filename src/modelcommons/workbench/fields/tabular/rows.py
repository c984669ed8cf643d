"""rows: tables whose columns are numbers and categories, and one that is to be foretold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import DataError
from modelcommons.formats import tables
from modelcommons.formats.tables import Table
from modelcommons.workbench.engine.split import divide
from modelcommons.workbench.task import BadRow, Column, Parts, Reading, Row, Source, Split, column_of

LABEL_NAMES = ("label", "class", "target", "diagnosis", "outcome", "species", "category", "y")
TARGET_NAMES = ("target", "progression", "y", "outcome", "price", "value", "label")
ID_NAMES = ("id", "row_id", "uid", "patient_id")
NUMBERS = ("integer", "number", "boolean")
MOST_CLASSES = 1_000
Cells = np.ndarray | Sequence[str | None]  # float64 with NaN where a cell is empty; or words


class Options(BaseModel):
    """`data.options` of tabular classification."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ignore: tuple[str, ...] = Field((), description="Columns that the model must not see.")


class RegressionOptions(Options):
    """`data.options` of tabular regression."""

    interval: float = Field(0.9, gt=0, lt=1, description="Share of the values that prediction intervals are to hold.")


class Records:
    """Rows over columns in memory: `x` is a dictionary of a row's cells, `y` a label or a number."""

    def __init__(
        self, columns: Mapping[str, Cells], y: Sequence[Any], ids: Sequence[str], groups: Sequence[str] | None,
        times: np.ndarray | None,
    ) -> None:  # fmt: skip
        self.columns, self.y, self.groups, self.times = columns, y, groups, times
        self._ids = ids

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> Row:
        at = range(len(self))[index]
        x = {name: _cell(cells[at]) for name, cells in self.columns.items()}
        return Row(self._ids[at], x, self.y[at], None if self.groups is None else self.groups[at])

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    def ids(self) -> Iterator[str]:
        return iter(self._ids)

    def take(self, indices: np.ndarray) -> Records:
        at = np.asarray(indices, np.int64).tolist()

        def some(cells: Any) -> Any:
            return cells[at] if isinstance(cells, np.ndarray) else [cells[index] for index in at]

        return Records(
            {name: some(cells) for name, cells in self.columns.items()}, some(self.y), some(self._ids),
            None if self.groups is None else some(self.groups), None if self.times is None else some(self.times),
        )  # fmt: skip


def _cell(value: Any) -> float | str | None:
    if isinstance(value, float):
        return None if np.isnan(value) else float(value)
    return None if value is None else str(value)


def columns_of(rows: Sequence[Row], names: Sequence[str]) -> dict[str, list[Any]]:
    """The cells of some rows, column by column; None where a row has none."""
    return {name: [row.x.get(name) for row in rows] for name in names}


def content(row: Row) -> bytes:
    """What makes two rows duplicates; bytes, so that measurements are not searched for telephone numbers."""
    return json.dumps(row.x, sort_keys=True, ensure_ascii=False).encode()


def split(reading: Reading, how: Split) -> Parts:
    timed = column_of("time", reading.columns) is not None
    parts = cast(Mapping[str, Records], reading.parts)
    return Parts(*divide(parts, how, times=moments if timed else None))


def moments(rows: Records) -> np.ndarray:
    """When each row came about, (rows,)."""
    assert rows.times is not None
    return rows.times


def read(
    source: Source, columns: Mapping[str, str], options: Options, role: str, names: Sequence[str],
    answers: Callable[[dict[str, Table], str], tuple[dict[str, Table], dict[str, Sequence[Any]]]],
) -> Reading:  # fmt: skip
    """All rows of a source.

    Args:
        role: of the column that is to be foretold: label or target; `names` are usual ones.
        answers: from tables and that column, the tables without the rows that have no answer, and the answers.

    Raises:
        DataError: that column is not found, or nothing is left to foretell it from.
    """
    parts = tables.read_source(source)
    first = next(iter(parts.values()))
    for wanted, name in [*columns.items(), *(("ignore", name) for name in options.ignore)]:
        if name not in first.columns:
            where = "data.options.ignore" if wanted == "ignore" else f"data.columns.{wanted}"
            raise DataError(f"{where}: there is no column '{name}'. The columns are {', '.join(first.columns)}.")
    answer = columns.get(role) or _named(first, names)
    if answer is None:
        raise DataError(
            f"Expected a column that is the {role}, found none among {', '.join(first.columns)}. "
            f"Name it in the recipe: data.columns.{role}."
        )
    id = columns.get("id") or _unique(parts)
    roles = {
        answer: role,
        **({id: "id"} if id else {}),
        **{columns[key]: key for key in ("group", "time") if key in columns},
    }
    parts, found = answers(parts, answer)
    seen = [name for name in first.columns if name not in roles and name not in options.ignore]
    kinds = {name: "number" if first.kinds[name] in NUMBERS else "category" for name in seen if _usable(first, name)}
    if not kinds:
        raise DataError(f"Expected columns of numbers or categories beside '{answer}', found none. Give some.")
    parts, found = _without_bad(parts, found, kinds)
    made = {
        part: Records(
            {name: _cells(table, name, kind) for name, kind in kinds.items()}, found[part], list(table.ids(id)),
            list(table.ids(columns["group"])) if "group" in columns else None,
            table.moments(columns["time"]) if "time" in columns else None,
        )
        for part, table in parts.items()
    }  # fmt: skip
    example = first.row(0) if len(first) else {}
    shown = tuple(
        Column(name, first.kinds[name], roles.get(name, kinds.get(name, "unused")),
               sum(int(table.missing(name).sum()) for table in parts.values()), example=str(example.get(name, ""))[:40])
        for name in first.columns
    )  # fmt: skip
    return Reading(
        parts=made,
        columns=shown,
        bad=tuple(BadRow(line.where, line.reason) for table in parts.values() for line in table.bad)[:5],
        num_bad=sum(table.num_bad for table in parts.values()),
        num_read=sum(table.num_read for table in parts.values()),
    )


def _named(table: Table, names: Sequence[str]) -> str | None:
    lower = {name.lower(): name for name in table.columns}
    return next((lower[name] for name in names if name in lower), None)


def _unique(parts: Mapping[str, Table]) -> str | None:
    """A column of row ids: of a usual name, and no value twice in all parts."""
    name = _named(next(iter(parts.values())), ID_NAMES)
    if name is None:
        return None
    values = [value for table in parts.values() for value in table.column(name).to_pylist()]
    return name if None not in values and len(set(map(str, values))) == len(values) else None


def _usable(table: Table, name: str) -> bool:
    """Numbers and words; a column of pictures, lists or times says nothing here."""
    return table.kinds[name] in (*NUMBERS, "text", "category")


def _without_bad(
    parts: Mapping[str, Table], found: Mapping[str, Sequence[Any]], kinds: Mapping[str, str]
) -> tuple[dict[str, Table], dict[str, Sequence[Any]]]:
    """Without the rows in which a number is none (a word, infinite); empty cells stay, as missing."""
    left: dict[str, Table] = {}
    answers: dict[str, Sequence[Any]] = {}
    for part, table in parts.items():
        bad = np.zeros(len(table), bool)
        reasons: dict[int, str] = {}
        for name in (name for name, kind in kinds.items() if kind == "number" and table.kinds[name] != "boolean"):
            numbers = table.numbers(name)
            for index in np.flatnonzero(numbers.bad).tolist():
                reasons.setdefault(index, f"{name} is {table.row(index, [name])[name]!r}, expected a finite number")
            bad |= numbers.bad
        left[part] = table.refuse(bad, lambda index, reasons=reasons: reasons[index])  # type: ignore[misc]
        answers[part] = [answer for answer, out in zip(found[part], bad.tolist(), strict=True) if not out]
    return left, answers


def _cells(table: Table, name: str, kind: str) -> Cells:
    if kind == "category":
        return [None if value is None else str(value) for value in _words(table, name)]
    if table.kinds[name] == "boolean":
        return np.array([np.nan if value is None else float(value) for value in table.column(name).to_pylist()])
    return table.numbers(name).values


def _words(table: Table, name: str) -> list[Any]:
    """A column's values; of a category its names."""
    values: list[Any] = table.column(name).to_pylist()
    if name not in table.labels:
        return values
    names = table.labels[name]
    return [names[value] if value is not None and 0 <= value < len(names) else None for value in values]


def labels(parts: dict[str, Table], column: str) -> tuple[dict[str, Table], dict[str, Sequence[Any]]]:
    """Rows with a class, and the classes' names.

    Raises:
        DataError: there is one class only, or so many that it is none.
    """
    classes = tuple(dict.fromkeys(label for table in parts.values() for label in table.classes(column)))
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise DataError(
            f"Expected 2 to {MOST_CLASSES:,} classes in '{column}', found {len(classes):,}. "
            "Name another column, data.columns.label, or take the task tabular-regression for numbers."
        )
    kept: dict[str, Table] = {}
    for part, table in parts.items():
        kept[part] = table.refuse(table.codes(column, classes) < 0, f"no label in column '{column}'")
    return kept, {
        part: [classes[code] for code in table.codes(column, classes).tolist()] for part, table in kept.items()
    }


def targets(parts: dict[str, Table], column: str) -> tuple[dict[str, Table], dict[str, Sequence[Any]]]:
    """Rows with a finite number to foretell, and the numbers.

    Raises:
        DataError: there are none.
    """
    kept = {
        part: table.refuse(np.isnan(table.numbers(column).values), f"no finite number in column '{column}'")
        for part, table in parts.items()
    }
    if not any(len(table) for table in kept.values()):
        raise DataError(f"Expected numbers in '{column}', found none. Name the column: data.columns.target.")
    return kept, {part: table.numbers(column).values.tolist() for part, table in kept.items()}


def read_input(value: Any) -> list[Row]:
    """Rows from `{"column": cell}`, a list of such, JSON of either, or the path of a table.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(value, (list, tuple)):
        return [row for one in value for row in read_input(one)]
    if isinstance(value, dict):
        return [Row("input", {str(name): cell for name, cell in value.items()})]
    if isinstance(value, Path) or (isinstance(value, str) and tables.is_file(value)):
        table = tables.read([Path(value)])
        return [Row(table.where(at), table.row(at)) for at in range(len(table))]
    try:
        parsed = json.loads(value)
    except (TypeError, ValueError):
        parsed = None
    if not isinstance(parsed, (dict, list)):
        raise DataError(f'Expected a row such as {{"age": 61, "sex": "f"}}, or a table\'s path, got {value!r:.80}.')
    return read_input(parsed)
