"""passages: texts as rows for a language model: each row is a stretch of a text, with all that stands before it."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelcommons.errors import DataError
from modelcommons.formats import tables
from modelcommons.workbench.engine.split import divide
from modelcommons.workbench.fields.text.rows import Roles, find_roles
from modelcommons.workbench.task import BadRow, Column, Parts, Reading, Row, Source, Split

LONGEST_CONTEXT = 8192  # tokens
BLANK = re.compile(r"\s")


class Options(BaseModel):
    """`data.options` of text-generation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    join: str | None = Field(
        None,
        description='What stands between the rows where they are parts of one text, such as "\\n\\n"; by default each '
        "row is a text of its own.",
    )
    passage: Annotated[int, Field(ge=16, le=65_536)] = Field(
        512, description="Characters of a test row, up to the last blank in them; what stands before is read too."
    )
    context: Annotated[int, Field(ge=8, le=LONGEST_CONTEXT)] | Literal["auto"] = Field(
        "auto", description="Tokens that are read at once; `auto`: 256, and of an open model as many as it reads, 512 "
        "at most."
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Text:
    """A whole text, of which passages are stretches."""

    name: str
    text: str
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """What a model reads: the text up to `end`; the part from `start` is what it is scored on."""

    text: str
    start: int
    end: int

    @property
    def asked(self) -> str:
        return self.text[self.start : self.end]

    def past(self, most: int) -> str:
        """At most so many characters before the passage."""
        return self.text[max(0, self.start - most) : self.start]


class Prompt(BaseModel):
    """What a person hands in: the beginning of a text, and how its continuation is drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(description="The beginning.")
    max_tokens: int = Field(200, ge=1, le=100_000, description="Tokens that are written at most.")
    temperature: float = Field(0.8, ge=0, le=10, description="Below 1 likelier, above 1 wilder; 0: the likeliest.")
    top_k: int = Field(0, ge=0, description="Only so many of the likeliest tokens are drawn from; 0: all.")
    top_p: float = Field(0.95, gt=0, le=1, description="Only the likeliest tokens that together have this share.")
    seed: int = Field(0, ge=0, description="The same seed, the same text.")
    stop: tuple[str, ...] = Field((), description="Writing ends before any of these.")


class Passages:
    """Stretches of texts as `Rows`: only (text, start, end) is stored for each, shape (rows, 3) int64."""

    def __init__(self, texts: Sequence[Text], where: np.ndarray) -> None:
        self.texts, self.where = texts, where

    def __len__(self) -> int:
        return len(self.where)

    def __getitem__(self, index: int) -> Row:
        at, start, end = self.where[range(len(self))[index]].tolist()  # IndexError ends a loop
        text = self.texts[at]
        passage = Passage(text.text, start, end)
        return Row(f"{text.name}@{start}", passage, passage.asked, text.group)

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    def ids(self) -> Iterable[str]:
        return (f"{self.texts[at].name}@{start}" for at, start in self.where[:, :2].tolist())

    def groups(self) -> list[str]:
        """What stays together when rows are divided: the text, or its group."""
        return [self.texts[at].group or self.texts[at].name for at in self.where[:, 0].tolist()]

    def take(self, indices: np.ndarray) -> Passages:
        return Passages(self.texts, self.where[indices])

    def stretches(self) -> Iterator[tuple[str, bool]]:
        """Passages that follow each other joined again, and whether the stretch is the beginning of its text."""
        order = np.lexsort((self.where[:, 1], self.where[:, 0]))
        open_at: tuple[int, int, int] | None = None
        for at, start, end in self.where[order].tolist():
            if open_at is not None and (open_at[0], open_at[2]) == (at, start):
                open_at = (at, open_at[1], end)
                continue
            if open_at is not None:
                yield self._stretch(*open_at)
            open_at = (at, start, end)
        if open_at is not None:
            yield self._stretch(*open_at)

    def _stretch(self, at: int, start: int, end: int) -> tuple[str, bool]:
        return self.texts[at].text[start:end], start == 0


def read(source: Source, columns: Mapping[str, str], options: Options) -> Reading:
    """All texts of a source, cut into passages.

    Raises:
        DataError: no column of texts is found, or none holds a character.
    """
    parts = tables.read_source(source)
    roles = find_roles(next(iter(parts.values())), columns, labelled=False)
    for split, table in parts.items():
        parts[split] = table.refuse(table.missing(roles.text), f"no text in column '{roles.text}'")
    made = {split: _passages(split, table, roles, options) for split, table in parts.items()}
    if not any(map(len, made.values())):
        raise DataError(f"Expected texts in column '{roles.text}', all are empty. Name another: data.columns.text.")
    return Reading(
        parts=made,
        columns=tuple(_columns(parts, roles)),
        bad=tuple(BadRow(line.where, line.reason) for table in parts.values() for line in table.bad)[:5],
        num_bad=sum(table.num_bad for table in parts.values()),
        num_read=sum(table.num_read for table in parts.values()),
        notes=tuple(
            f"{split}: {sum(len(text.text) for text in rows.texts):,} characters in {len(rows.texts):,} "
            f"text{'s' * (len(rows.texts) != 1)}, {len(rows):,} passages"
            for split, rows in made.items()
        ),
    )


def split(reading: Reading, how: Split, options: Options) -> Parts:
    """Whole texts by the hash of their name or group; where the rows are one text, its end is the test."""
    parts: Any = reading.parts
    one = options.join is not None
    return Parts(*divide(parts, how, auto="time" if one else "group", groups=None if one else Passages.groups))


def cut(text: str, most: int) -> list[int]:
    """Where passages of at most `most` characters end: before a blank, so that no word is torn; where there is none,
    after `most` characters."""
    blanks, ends, start = [found.start() for found in BLANK.finditer(text)], [], 0
    while len(text) - start > most:
        last = bisect_right(blanks, start + most) - 1
        start = blanks[last] if last >= 0 and blanks[last] > start else start + most
        ends.append(start)
    return [*ends, len(text)] if text else []


def read_input(value: Any) -> list[Row]:
    """Prompts from a text, `{"text": ..., "temperature": ...}` (as JSON too), a list of such, or a .txt file's path.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(value, (list, tuple)):
        return [row for one in value for row in read_input(one)]
    if isinstance(value, Path) or (isinstance(value, str) and value.lower().endswith(".txt") and tables.is_file(value)):
        value = tables.read_text(Path(value))
    if isinstance(value, str):
        value = _settings(value) or {"text": value}
    try:
        return [Row("input", Prompt.model_validate(value))]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "input"
        known = ", ".join(Prompt.model_fields)
        raise DataError(f"{where}: {first['msg']}, got {first['input']!r:.60}. Give a text, or {known}.") from None


def _settings(text: str) -> dict[str, Any] | None:
    """The JSON object that the text is, where it is one with a `text`; any other text is the beginning itself."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if "text" in found else None


def _passages(split: str, table: tables.Table, roles: Roles, options: Options) -> Passages:
    texts = list(_texts(table, roles))
    if options.join is not None:
        texts = [Text(split, options.join.join(text.text for text in texts))]
    where = [
        (at, start, end)
        for at, text in enumerate(texts)
        for ends in (cut(text.text, options.passage),)
        for start, end in zip([0, *ends], ends, strict=False)
    ]
    return Passages(texts, np.array(where, np.int64).reshape(-1, 3))


def _texts(table: tables.Table, roles: Roles) -> Iterator[Text]:
    wanted = [name for name in (roles.text, roles.group) if name is not None]
    yield from table.rows(
        lambda values, id: Text(id, str(values[roles.text]), _name(values.get(roles.group or ""))), wanted, roles.id
    )


def _name(value: Any) -> str | None:
    return None if value is None else str(value)


def _columns(parts: Mapping[str, tables.Table], roles: Roles) -> Iterator[Column]:
    named = {roles.group: "group", roles.id: "id", roles.text: "text"}
    first = next(iter(parts.values()))
    for name in first.columns:
        missing = sum(int(table.missing(name).sum()) for table in parts.values())
        example = "" if not len(first) else str(first.row(0, [name])[name])[:40]
        yield Column(name, first.kinds[name], named.get(name, "unused"), missing, None, example)
