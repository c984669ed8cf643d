"""rows of texts with labels: CSV, TSV, JSON Lines and Parquet, read without holding them in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import DataError
from modelcommons.formats import tables
from modelcommons.formats.tables import Table
from modelcommons.workbench.task import BadRow, Column, Reading, Row, Source

TEXT_NAMES = ("text", "sentence", "content", "message", "review", "document", "question", "title", "body", "comment")
LABEL_NAMES = ("label", "labels", "class", "category", "target", "intent", "sentiment", "topic", "genre", "y")
ID_NAMES = ("id", "row_id", "uid")
LABEL_KINDS = ("text", "boolean", "integer")  # beside categories, which bring their names
MOST_CLASSES = 10_000
LOOKED_AT = 1000  # rows, to find the column whose texts are longest


class Options(BaseModel):
    """`data.options` of a text task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_length: Annotated[int, Field(ge=4, le=8192)] | Literal["auto"] = Field(
        "auto", description="Tokens of a text that are read; `auto`: enough for 99 of 100 training texts, 256 at most."
    )


@dataclass(frozen=True, slots=True)
class Roles:
    """Which column is what."""

    text: str
    label: str | None
    id: str | None
    group: str | None
    time: str | None


def read(source: Source, columns: Mapping[str, str], options: Options) -> Reading:
    """All texts of a source.

    Raises:
        DataError: no column of texts or labels is found, or there is one class only.
    """
    parts = tables.read_source(source)
    roles = find_roles(next(iter(parts.values())), columns)
    assert roles.label is not None
    labels = _labels(parts, roles.label)
    for split, table in parts.items():
        table = table.refuse(table.missing(roles.text), f"no text in column '{roles.text}'")
        if roles.time is not None:
            table = table.refuse(np.isnan(table.moments(roles.time)), f"no time in column '{roles.time}'")
        parts[split] = table.refuse(table.codes(roles.label, labels) < 0, f"no label in column '{roles.label}'")
    return Reading(
        parts={split: _rows(table, roles) for split, table in parts.items()},
        columns=tuple(_columns(parts, roles, labels)),
        bad=tuple(BadRow(line.where, line.reason) for table in parts.values() for line in table.bad)[:5],
        num_bad=sum(table.num_bad for table in parts.values()),
        num_read=sum(table.num_read for table in parts.values()),
    )


def find_roles(table: Table, columns: Mapping[str, str], labelled: bool = True) -> Roles:
    """The columns as the recipe names them; those not named are found by name and kind.

    Raises:
        DataError: a column is not there, or cannot be found.
    """
    for role, name in columns.items():
        if name not in table.columns:
            known = ", ".join(table.columns)
            raise DataError(f"data.columns.{role}: there is no column '{name}'. The columns are {known}.")
    label = columns.get("label") or (_label(table) if labelled else None)
    text = columns.get("text") or _named(table, TEXT_NAMES, ("text",)) or _longest(table, label)
    for role, found in (("text", text), ("label", label)):
        if found is None and (labelled or role == "text"):
            raise DataError(
                f"Expected a column of {role}s, found none among {', '.join(table.columns)}. "
                f"Name it in the recipe: data.columns.{role}."
            )
    assert text is not None
    return Roles(text, label, columns.get("id") or _unique(table), columns.get("group"), columns.get("time"))


def _label(table: Table) -> str | None:
    """A column of named classes, else of names, else of numbers."""
    return _named(table, LABEL_NAMES, ("category",)) or _named(table, ("label_name", *LABEL_NAMES), LABEL_KINDS)


def _named(table: Table, names: Sequence[str], kinds: Sequence[str]) -> str | None:
    """The first column of a usual name and a fitting kind."""
    lower = {name.lower(): name for name in table.columns}
    return next((lower[name] for name in names if name in lower and table.kinds[lower[name]] in kinds), None)


def _longest(table: Table, label: str | None) -> str | None:
    """The text column, besides the label, with the longest texts."""
    texts = [name for name in table.columns if table.kinds[name] == "text" and name != label]
    some = range(min(len(table), LOOKED_AT))

    def size(name: str) -> int:
        return sum(len(table.row(index, [name])[name] or "") for index in some)

    return max(texts, key=size, default=None)


def _unique(table: Table) -> str | None:
    """A column of row ids, if one has a usual name and no value twice."""
    name = _named(table, ID_NAMES, ("text", "integer"))
    if name is None or table.missing(name).any():
        return None
    ids = table.column(name)
    return name if len(ids.unique()) == len(ids) else None


def _labels(parts: Mapping[str, Table], column: str) -> tuple[str, ...]:
    """The classes of all parts, those of the first part first."""
    labels = tuple(dict.fromkeys(label for table in parts.values() for label in table.classes(column)))
    if len(labels) < 2:
        raise DataError(
            f"Expected at least two classes in '{column}', found {len(labels)}: {', '.join(labels)}. "
            "Give texts of another class too, or name another column: data.columns.label."
        )
    if len(labels) > MOST_CLASSES:
        raise DataError(
            f"'{column}' has {len(labels):,} different values, expected at most {MOST_CLASSES:,} classes. "
            "Name another column in the recipe: data.columns.label."
        )
    return labels


def _rows(table: Table, roles: Roles) -> tables.TableRows[Row]:
    def make(values: dict[str, Any], id: str) -> Row:
        group = values[roles.group] if roles.group else None
        label = values[roles.label] if roles.label else None
        return Row(id, values[roles.text], None if label is None else str(label), None if group is None else str(group))

    wanted = [name for name in (roles.text, roles.label, roles.group) if name is not None]
    return table.rows(make, wanted, roles.id)


def _columns(parts: Mapping[str, Table], roles: Roles, labels: Sequence[str]) -> Iterator[Column]:
    named = {roles.time: "time", roles.group: "group", roles.id: "id", roles.label: "label", roles.text: "text"}
    first = next(iter(parts.values()))
    for name in first.columns:
        role = named.get(name, "unused")
        missing = sum(int(table.missing(name).sum()) for table in parts.values())
        example = "" if not len(first) else str(first.row(0, [name])[name])[:40]
        yield Column(name, first.kinds[name], role, missing, len(labels) if role == "label" else None, example)


def read_input(value: Any) -> list[Row]:
    """Rows from a text, `{"text": ...}`, a list of such, or the path of a .txt file (one text) or a table with texts.

    Raises:
        DataError: it is none of these, or looks like the name of a file that is not here.
    """
    if isinstance(value, (list, tuple)):
        return [row for one in value for row in read_input(one)]
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        return [Row("input", value["text"])]
    if isinstance(value, Path) or (isinstance(value, str) and tables.is_file(value)):
        path = Path(value)
        if path.suffix.lower() in tables.SUFFIXES:
            table = tables.read([path])
            return list(_rows(table, find_roles(table, {}, labelled=False)))
        return [Row(path.name, tables.read_text(path))]
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"Expected a text, a list of texts or a file, got {value!r:.80}.")
    if not any(char.isspace() for char in value) and value.lower().endswith((*tables.SUFFIXES, ".txt")):
        raise DataError(f"There is no file {value}. Name one that is here, or a text.")
    return [Row("input", value)]
