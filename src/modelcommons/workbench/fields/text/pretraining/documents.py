"""documents: texts as sentences in order, from tables and from plain text files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import DataError
from modelcommons.formats import tables
from modelcommons.formats.tables import Table
from modelcommons.workbench.fields.text.ngrams import WORD
from modelcommons.workbench.fields.text.rows import Roles, find_roles
from modelcommons.workbench.task import BadRow, Column, Source

PLAIN = ".txt"
SENTENCES = "sentences"  # role, and the usual name of the column
BLANK_LINES = re.compile(r"\n\s*\n")
# where a sentence ends: a mark of its end, what closes with it, and a blank before what may begin the next one
END = re.compile(
    r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)[.!?…]+[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[^\Wa-z_])|[。！？]+[”’」』）]*\s*"
)


class Options(BaseModel):
    """`data.options` of fill-mask."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: int = Field(
        96, ge=8, le=4096, description="Words and marks of a row at most: sentences that follow each other, one or two "
        "stretches of them."
    )  # fmt: skip
    next_sentence: bool | Literal["auto"] = Field(
        "auto", description="Whether rows are pairs, half of the second stretches from another document; `auto`: where "
        "there are documents of several sentences."
    )  # fmt: skip
    mask: float = Field(0.15, gt=0, lt=1, description="Share of the words that are asked for.")
    whole_words: bool = Field(
        True, description="While training, all pieces of a word are masked together; false: each by itself."
    )


@dataclass(frozen=True, slots=True)
class Document:
    """A text as its sentences, none longer than a row."""

    name: str
    sentences: tuple[str, ...]
    group: str | None = None
    sizes: np.ndarray = field(init=False, repr=False, compare=False)  # words and marks of each sentence

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", np.array([count(each) for each in self.sentences], np.int64))


@dataclass(frozen=True, slots=True)
class Found:
    """The documents of a source by split, and what was wrong with it."""

    parts: dict[str, list[Document]]
    columns: tuple[Column, ...] = ()
    bad: tuple[BadRow, ...] = ()
    num_bad: int = 0
    num_read: int = 0


def read(source: Source, columns: Mapping[str, str], options: Options) -> Found:
    """All documents of a source.

    Raises:
        DataError: no column of texts or sentences is found, or none holds a word.
    """
    found = _plain(source, options) if _is_plain(source) else _tabular(source, columns, options)
    if not any(found.parts.values()):
        raise DataError("Expected documents with words, all are empty. Name another column: data.columns.text.")
    return found


def count(text: str) -> int:
    """Words and marks."""
    return sum(1 for _ in WORD.finditer(text))


def sentences(text: str) -> Iterator[str]:
    """A text's sentences by a simple rule; a blank line ends one too."""
    for paragraph in BLANK_LINES.split(text):
        start = 0
        for end in END.finditer(paragraph):
            yield paragraph[start : end.end()]
            start = end.end()
        yield paragraph[start:]


def _fitting(found: Iterator[str], most: int) -> tuple[str, ...]:
    """Sentences with single blanks; one of more than so many words is cut, and one without a word left out."""
    made = []
    for sentence in found:
        text = " ".join(sentence.split())
        starts = [match.start() for match in WORD.finditer(text)][::most]
        ends = [*starts[1:], len(text)][: len(starts)]
        made += [text[a:b].strip() for a, b in zip(starts, ends, strict=True)]
    return tuple(made)


# --- plain text -----------------------------------------------------------------------------------------------------


def _is_plain(source: Source) -> bool:
    return all(file.path.lower().endswith(PLAIN) for file in source.files)


def _plain(source: Source, options: Options) -> Found:
    """Each file is a document."""
    parts: dict[str, list[Document]] = {}
    bad: list[BadRow] = []
    for file in source.files:
        try:
            text = (source.folder / file.path).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            bad.append(BadRow(file.path, "expected UTF-8 text"))
            continue
        made = _fitting(sentences(text), options.words)
        if made:
            parts.setdefault(file.split or "all", []).append(Document(file.path, made))
        else:
            bad.append(BadRow(file.path, "no words"))
    return Found(parts, (), tuple(bad[:5]), len(bad), len(source.files))


# --- tables ---------------------------------------------------------------------------------------------------------


def _tabular(source: Source, columns: Mapping[str, str], options: Options) -> Found:
    """Each row is a document: its sentences where a column has them (in paragraphs or not), else its text."""
    parts = tables.read_source(source)
    first = next(iter(parts.values()))
    roles, column, ready = _roles(first, columns)
    for split, table in parts.items():
        parts[split] = table.refuse(table.missing(column), f"no text in column '{column}'")
    documents: dict[str, list[Document]] = {}
    empty: list[BadRow] = []
    for split, table in parts.items():
        documents[split] = []
        for at, id in enumerate(table.ids(roles.id)):
            values = table.row(at, [name for name in (column, roles.group) if name])
            value = values[column]
            made = _fitting(_flat(value) if ready else sentences(str(value)), options.words)
            if made:
                group = values.get(roles.group or "")
                documents[split].append(Document(id, made, None if group is None else str(group)))
            else:
                empty.append(BadRow(table.where(at), f"no words in column '{column}'"))
    bad = [BadRow(line.where, line.reason) for table in parts.values() for line in table.bad] + empty
    return Found(
        documents,
        tuple(_columns(parts, {roles.group: "group", roles.id: "id", column: SENTENCES if ready else "text"})),
        tuple(bad[:5]),
        sum(table.num_bad for table in parts.values()) + len(empty),
        sum(table.num_read for table in parts.values()),
    )


def _roles(table: Table, columns: Mapping[str, str]) -> tuple[Roles, str, bool]:
    """The roles, the column that is read, and whether it holds sentences already."""
    usual = SENTENCES if table.kinds.get(SENTENCES) == "json" and "text" not in columns else None
    column = columns.get(SENTENCES, usual)
    if column is None:
        roles = find_roles(table, columns, labelled=False)
        return roles, roles.text, False
    if table.kinds.get(column, "json") != "json":
        raise DataError(
            f"data.columns.sentences: expected lists of sentences in '{column}', its values are of kind "
            f"{table.kinds[column]}. Name a column of texts as data.columns.text."
        )
    return find_roles(table, {**columns, "text": column, SENTENCES: column}, labelled=False), column, True


def _flat(value: Any) -> Iterator[str]:
    """Sentences of lists in lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Sequence):
        for each in value:
            yield from _flat(each)


def _columns(parts: Mapping[str, Table], named: Mapping[str | None, str]) -> Iterator[Column]:
    first = next(iter(parts.values()))
    for name in first.columns:
        missing = sum(int(table.missing(name).sum()) for table in parts.values())
        example = "" if not len(first) else str(first.row(0, [name])[name])[:40]
        yield Column(name, first.kinds[name], named.get(name, "unused"), missing, None, example)
