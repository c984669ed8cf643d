"""pairs: rows of a source text and the targets known for it, from tables; one source, one row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import DataError
from modelcommons.formats import tables
from modelcommons.formats.tables import Table
from modelcommons.workbench.engine.split import divide
from modelcommons.workbench.fields.text.listed import Listed
from modelcommons.workbench.task import BadRow, Column, Parts, Reading, Row, Source, Split

SOURCE_NAMES = ("source", "src", "input", "text", "document", "article", "question")
TARGET_NAMES = ("target", "targets", "tgt", "output", "references", "reference", "summary", "answer", "label")
PAIR_NAME = "translation"  # the Hub's column of {"en": ..., "zh": ...}
LONGEST = 4096  # tokens


class Options(BaseModel):
    """`data.options` of tasks that turn a text into another."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    languages: tuple[str, str] | None = Field(
        None, description="From and to, where one column holds both texts as {en: ..., zh: ...}: [en, zh]."
    )
    prefix: str = Field("", description="Stands before every source, such as T5's `translate English to German: `.")
    max_length: Annotated[int, Field(ge=4, le=LONGEST)] | Literal["auto"] = Field(
        "auto", description="Tokens of a source and of a target; `auto`: as many as the longest of training have, 256 "
        "at most."
    )  # fmt: skip
    beam: Annotated[int, Field(ge=1, le=64)] = Field(
        5, description="Beginnings of a target kept while it is searched for; 1: the likeliest token after token."
    )
    length_penalty: Annotated[float, Field(ge=0, le=5)] = Field(
        1.0,
        description="0: the likeliest target, which tends to be short; the larger, the longer (alpha of Wu et al.).",
    )
    known: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="A source at least so like one of training (cosine of n-grams of characters) is answered by "
        "that one's target. The model then holds the training pairs (`memory.parquet`): whoever has it has them."
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Known:
    """The targets known for a source, the first first, and how they are cut into words for scoring."""

    texts: tuple[str, ...]
    tokenize: str  # of sacreBLEU


@dataclass(frozen=True, slots=True)
class Roles:
    """Which column is what; `source` and `target` are one column where this holds both by language."""

    source: str
    target: str
    languages: tuple[str, str] | None  # keys in that column
    id: str | None
    group: str | None


def read(source: Source, columns: Mapping[str, str], options: Options, tokenize: str) -> Reading:
    """All pairs of a source; those of one text are one row with several targets.

    Args:
        tokenize: of sacreBLEU; `auto` is decided by the script of the targets.

    Raises:
        DataError: a column is not there or cannot be found, or no row has both texts.
    """
    parts = tables.read_source(source)
    roles = find_roles(next(iter(parts.values())), columns, options.languages)
    found: dict[str, list[tuple[str, str, tuple[str, ...], str | None]]] = {}
    for split, table in parts.items():
        sources, targets = _texts(table, roles)
        bad = np.array([not (text and known) for text, known in zip(sources, targets, strict=True)], bool)
        parts[split] = table.refuse(bad, f"no text in '{roles.source}' or in '{roles.target}'")
        groups = table.column(roles.group).to_pylist() if roles.group else [None] * len(table)
        found[split] = [
            (id, text, known, None if group is None else str(group))
            for id, text, known, group in zip(table.ids(roles.id), sources, targets, groups, strict=True)
            if text and known
        ]
    if not any(found.values()):
        raise DataError(
            f"Expected texts in '{roles.source}' and '{roles.target}', no row has both. Name other columns: "
            "data.columns.source, data.columns.target."
        )
    cut = _tokenize(found) if tokenize == "auto" else tokenize
    made = {split: Listed(list(_united(rows, cut))) for split, rows in found.items()}
    return Reading(
        parts=made,
        columns=tuple(_columns(parts, roles)),
        bad=tuple(BadRow(line.where, line.reason) for table in parts.values() for line in table.bad)[:5],
        num_bad=sum(table.num_bad for table in parts.values()),
        num_read=sum(table.num_read for table in parts.values()),
        notes=tuple(
            f"{split}: {len(rows):,} pairs of {len(made[split]):,} different sources" for split, rows in found.items()
        ),
    )


def split(reading: Reading, how: Split) -> Parts:
    """Official parts kept; what is missing is divided by the hash of the id."""
    parts: Any = reading.parts
    return Parts(*divide(parts, how))


def read_input(value: Any) -> list[Row]:
    """Rows from a text, `{"text": ...}`, a list of such, a .txt file (a text each line) or a table with sources.

    Raises:
        DataError: it is none of these, or there is no text in it.
    """
    if isinstance(value, (list, tuple)):
        return [row for one in value for row in read_input(one)]
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        value = value["text"]
    elif isinstance(value, Path) or (isinstance(value, str) and tables.is_file(value)):
        path = Path(value)
        if path.suffix.lower() in tables.SUFFIXES:
            table = tables.read([path])
            name = _usual(table, SOURCE_NAMES)
            if name is None:
                raise DataError(f"{path.name}: expected a column called {' or '.join(SOURCE_NAMES)}, found none.")
            return [Row(id, str(text)) for id, text in zip(table.ids(), table.column(name).to_pylist(), strict=True)]
        lines = tables.read_text(path).splitlines()
        return [Row(f"{path.name}:{at}", line) for at, line in enumerate(lines, 1) if line.strip()]
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"Expected a text, a list of texts or a file, got {value!r:.80}.")
    return [Row("input", value)]


# --- columns --------------------------------------------------------------------------------------------------------


def find_roles(table: Table, columns: Mapping[str, str], languages: tuple[str, str] | None) -> Roles:
    """The columns as the recipe names them; those not named are found by their usual names.

    Raises:
        DataError: a column is not there, or cannot be found.
    """
    for role, asked in columns.items():
        if asked not in table.columns:
            raise DataError(
                f"data.columns.{role}: there is no column '{asked}'. The columns are {', '.join(table.columns)}."
            )
    rest = (columns.get("id"), columns.get("group"))
    pair = columns.get("pair") or (PAIR_NAME if table.kinds.get(PAIR_NAME) == "json" else None)
    if pair is not None and "source" not in columns:
        if languages is None:
            raise DataError(f"Column '{pair}' holds texts by language. Say which: data.options.languages: [from, to].")
        return Roles(pair, pair, languages, *rest)
    found = []
    for role, usual in (("source", SOURCE_NAMES), ("target", TARGET_NAMES)):
        name = columns.get(role) or _usual(table, usual)
        if name is None:
            raise DataError(
                f"Expected a column called {' or '.join(usual)}, found none among {', '.join(table.columns)}. "
                f"Name it in the recipe: data.columns.{role}."
            )
        found.append(name)
    return Roles(found[0], found[1], None, *rest)


def _usual(table: Table, names: Sequence[str]) -> str | None:
    lower = {name.lower(): name for name in reversed(table.columns)}
    return next((lower[name] for name in names if name in lower), None)


def _texts(table: Table, roles: Roles) -> tuple[list[str], list[tuple[str, ...]]]:
    """Sources and targets of all rows; empty where there is none."""
    if roles.languages is not None:
        cells = [table.row(at, [roles.source])[roles.source] for at in range(len(table))]
        by_language = [cell if isinstance(cell, Mapping) else {} for cell in cells]
        sources, targets = ([cell.get(name) for cell in by_language] for name in roles.languages)
    else:
        sources, targets = (_cells(table, name) for name in (roles.source, roles.target))
    return [_clean(text) for text in sources], [_cleaned(cell) for cell in targets]


def _cells(table: Table, name: str) -> list[Any]:
    if table.kinds[name] in ("json", "category"):
        return [table.row(at, [name])[name] for at in range(len(table))]
    return list(table.column(name).to_pylist())


def _clean(text: Any) -> str:
    return "" if text is None else str(text).strip()


def _cleaned(cell: Any) -> tuple[str, ...]:
    """A target, or a list of them."""
    return tuple(text for text in map(_clean, cell if isinstance(cell, list) else [cell]) if text)


def _united(rows: Iterable[tuple[str, str, tuple[str, ...], str | None]], tokenize: str) -> Iterator[Row]:
    """One row for each source, called and grouped as its first one is, with all targets in order, each once."""
    by_source: dict[str, tuple[str, str | None, dict[str, None]]] = {}
    for id, text, known, group in rows:
        by_source.setdefault(text, (id, group, {}))[2].update(dict.fromkeys(known))
    for text, (id, group, targets) in by_source.items():
        yield Row(id, text, Known(tuple(targets), tokenize), group)


def _tokenize(found: Mapping[str, Sequence[tuple[str, str, tuple[str, ...], str | None]]]) -> str:
    """`zh` where most letters of the targets are Chinese characters, else `13a`: what sacreBLEU advises."""
    letters = [char for rows in found.values() for _, _, known, _ in rows for text in known for char in text]
    chinese = sum("\u4e00" <= char <= "\u9fff" for char in letters)
    return "zh" if 2 * chinese > sum(map(str.isalpha, letters)) else "13a"


def _columns(parts: Mapping[str, Table], roles: Roles) -> Iterator[Column]:
    named = {roles.group: "group", roles.id: "id", roles.target: "target", roles.source: "source"}
    if roles.languages is not None:
        named[roles.source] = "pair"
    first = next(iter(parts.values()))
    for name in first.columns:
        missing = sum(int(table.missing(name).sum()) for table in parts.values())
        example = "" if not len(first) else str(first.row(0, [name])[name])[:40]
        yield Column(name, first.kinds[name], named.get(name, "unused"), missing, None, example)
