"""questions: rows of a question, the text that may answer it, and the answers known; from tables or SQuAD's JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from modelcommons.errors import DataError
from modelcommons.formats import tables
from modelcommons.workbench.engine.split import divide
from modelcommons.workbench.fields.text.listed import Listed
from modelcommons.workbench.fields.text.spans import squad
from modelcommons.workbench.fields.text.spans.rules import Rules, rules_of
from modelcommons.workbench.task import BadRow, Column, Parts, Reading, Row, Source, SourceFile, Split

NAMES = {  # role -> usual names of its column
    "question": ("question", "query"),
    "context": ("context", "passage", "paragraph", "document", "text"),
    "answers": ("answers", "answer"),
    "id": ("id", "qid"),
    "group": ("group", "title", "article"),
    "language": ("language", "lang"),
}
NEEDED = ("question", "context", "answers")
SHOWN = 5


class Options(BaseModel):
    """`data.options` of question-answering."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: Rules | Literal["auto"] = Field(
        "auto", description="Whose script says how right an answer is: `squad`, or `cmrc` for Chinese; `auto`: `cmrc` "
        "where most letters of the context are Chinese."
    )  # fmt: skip
    language: str | None = Field(None, description="Only rows with this in the column of the role `language`.")
    official: bool = Field(
        True, description="Keep the parts that the files name; false: pool all rows and divide them by `split`."
    )
    max_length: Annotated[int, Field(ge=24, le=4096)] | Literal["auto"] = Field(
        "auto", description="Tokens read at once, question and context; `auto`: 512, or as many as an open model reads."
    )
    stride: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto", description="Tokens that neighbouring windows of a long context share; `auto`: a quarter of a window."
    )
    max_answer: Annotated[int, Field(ge=1, le=512)] | Literal["auto"] = Field(
        "auto", description="Tokens of the longest answer; `auto`: enough for 99 of 100 training answers, 100 at most."
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """What a model sees."""

    question: str
    context: str


@dataclass(frozen=True, slots=True)
class Known:
    """The answers known, none where the context has none, and the rules by which others are compared with them."""

    texts: tuple[str, ...]
    starts: tuple[int, ...]  # characters in the context
    rules: Rules


def read(source: Source, columns: Mapping[str, str], options: Options) -> Reading:
    """All questions of a source.

    Raises:
        DataError: there is no column of questions, contexts or answers, or no row of the language asked for.
        FormatError: a file is cut off.
    """
    found, bad, num_bad = _records(source)
    if not found:
        raise DataError(f"Expected questions in {source.name}, found none. Give files with at least one row.")
    roles = _roles(_names(found), columns, NEEDED)
    if options.language is not None:
        found = _of_language(found, roles, options.language)
    parts: dict[str, list[Row]] = {}
    texts: dict[str, str] = {}  # each context once
    ids = _ids(found, roles)
    for part, where, values in found:
        try:
            row = _row(values, roles, where if ids is None else str(values[ids]), options, texts)
        except ValueError as error:
            bad.append(BadRow(where, str(error)))
            num_bad += 1
            continue
        parts.setdefault(part if options.official else "all", []).append(row)
    if not parts:
        shown = f" ({bad[0].where}: {bad[0].reason})" if bad else ""
        raise DataError(f"Expected questions with context and answers, none can be used{shown}. Mend the rows.")
    return Reading(
        parts={part: Listed(rows) for part, rows in parts.items()},
        columns=tuple(_columns(found, roles)),
        bad=tuple(bad[:SHOWN]),
        num_bad=num_bad,
        num_read=sum(map(len, parts.values())) + num_bad,
        notes=tuple(_notes(parts, found, roles, options)),
    )


def split(reading: Reading, how: Split) -> Parts:
    """Official parts kept; what is missing is made of whole groups, so that no context is divided."""
    parts: Any = reading.parts
    return Parts(*divide(parts, how, auto="group"))


def passage(context: str) -> str:
    """A short name of a context: questions about one are not independent."""
    return hashlib.sha256(context.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def read_input(value: Any) -> list[Row]:
    """Rows from `{"question": ..., "context": ...}` (as JSON too), a list of such, or the path of a table or of
    SQuAD's JSON.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(value, Path) or (isinstance(value, str) and tables.is_file(value)):
        path = Path(value)
        found, _, _ = _records(Source(path.name, path.parent, (SourceFile(path.name, 0, ""),), ""))
        roles = _roles(_names(found), {}, NEEDED[:2])
        return [_asked(values[roles["question"]], values[roles["context"]], where) for _, where, values in found]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise DataError(f"{_EXPECTED}, got {value!r:.80}.") from None
    rows = []
    for one in value if isinstance(value, (list, tuple)) else [value]:
        if not isinstance(one, dict) or not {"question", "context"} <= set(one):
            raise DataError(f"{_EXPECTED}, got {one!r:.80}.")
        rows.append(_asked(one["question"], one["context"], "input"))
    return rows


_EXPECTED = 'Expected {"question": "...", "context": "..."}, a list of such, or a file'


def _asked(question: Any, context: Any, id: str) -> Row:
    if not all(isinstance(text, str) and text.strip() for text in (question, context)):
        raise DataError(f"{id}: expected a question and a context as texts, got {question!r:.40} and {context!r:.40}.")
    return Row(id, Asked(question, context))


# --- records --------------------------------------------------------------------------------------------------------

Record = tuple[str, str, dict[str, Any]]  # part, place in the file, columns


def _records(source: Source) -> tuple[list[Record], list[BadRow], int]:
    """All rows, whatever the files' format; the first lines that cannot be read, and how many there are."""
    found: list[Record] = []
    bad: list[BadRow] = []
    num_bad = 0
    for file in source.files:
        if file.split == "beside":
            continue
        path, part = source.folder / file.path, file.split or "all"
        if path.suffix.lower() == ".json":
            found += [(part, where, values) for where, values in squad.read(path, file.path)]
            continue
        table = tables.read([path], [file.path])
        found += [(part, table.where(at), table.row(at)) for at in range(len(table))]
        bad += [BadRow(line.where, line.reason) for line in table.bad]
        num_bad += table.num_bad
    return found, bad, num_bad


def _names(found: Sequence[Record]) -> list[str]:
    """The columns that all files have."""
    first = list(found[0][2]) if found else []
    return [name for name in first if all(name in values for _, _, values in found)]


def _roles(names: Sequence[str], columns: Mapping[str, str], needed: Sequence[str]) -> dict[str, str]:
    """Role -> column, as the recipe says or by its usual names.

    Raises:
        DataError: a column is not there, or cannot be found.
    """
    lower = {name.lower(): name for name in reversed(names)}
    roles = {}
    for role, usual in NAMES.items():
        name = columns.get(role) or next((lower[each] for each in usual if each in lower), None)
        if name is not None and name not in names:
            raise DataError(f"data.columns.{role}: there is no column '{name}'. The columns are {', '.join(names)}.")
        if name is None and role in needed:
            raise DataError(
                f"Expected a column called {' or '.join(usual)}, found none among {', '.join(names) or 'no columns'}. "
                f"Name it in the recipe: data.columns.{role}."
            )
        if name is not None:
            roles[role] = name
    return roles


def _of_language(found: Sequence[Record], roles: Mapping[str, str], language: str) -> list[Record]:
    if "language" not in roles:
        raise DataError("data.options.language: no column says a row's language. Name it: data.columns.language.")
    kept = [record for record in found if str(record[2][roles["language"]]) == language]
    if not kept:
        known = ", ".join(sorted({str(values[roles["language"]]) for _, _, values in found}))
        raise DataError(f"data.options.language: no row has '{language}'. Expected one of {known}.")
    return kept


def _ids(found: Sequence[Record], roles: Mapping[str, str]) -> str | None:
    """The column of ids, where every row has its own; else rows are called after their places."""
    ids = [values[roles["id"]] for _, _, values in found] if "id" in roles else []
    return roles["id"] if ids and None not in ids and len(set(map(str, ids))) == len(ids) else None


def _row(values: Mapping[str, Any], roles: Mapping[str, str], id: str, options: Options, texts: dict[str, str]) -> Row:
    """Raises: ValueError: what is wrong with the row, as one clause."""
    question, context = values[roles["question"]], values[roles["context"]]
    for role, text in (("question", question), ("context", context)):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"no {role}")
    pairs = answers(values[roles["answers"]], context)
    rules = rules_of(context) if options.rules == "auto" else options.rules
    known = Known(tuple(text for text, _ in pairs), tuple(start for _, start in pairs), rules)
    group = values[roles["group"]] if "group" in roles else None
    return Row(id, Asked(question, texts.setdefault(context, context)), known, str(group or passage(context)))


def answers(cell: Any, context: str) -> list[tuple[str, int]]:
    """Answers and where they begin, from `{"text": [...], "answer_start": [...]}`, a list of single such, JSON of
    either, or a text that is looked for in the context. Nothing: the question has no answer.

    Raises:
        ValueError: it is none of these, or the context has something else there.
    """
    if isinstance(cell, str) and cell.lstrip()[:2] in ('{"', "[{", "[]"):
        cell = json.loads(cell)
    if cell is None or cell == "" or cell == []:
        return []
    if isinstance(cell, str):
        start = context.find(cell)
        if start < 0:
            raise ValueError(f"the answer {cell!r:.40} does not stand in the context")
        return [(cell, start)]
    try:
        if isinstance(cell, dict):
            found = list(zip(cell["text"], cell["answer_start"], strict=True))
        else:
            found = [(one["text"], one["answer_start"]) for one in cell]
    except (KeyError, TypeError) as error:
        raise ValueError(f"answers {cell!r:.40}, expected `text` and `answer_start`") from error
    for text, start in found:
        if not isinstance(text, str) or not isinstance(start, int) or not text:
            raise ValueError(f"answer {text!r:.40} at {start!r:.20}, expected a text and a number of characters")
        if start < 0 or context[start : start + len(text)] != text:
            there = context[max(0, start) : max(0, start) + len(text)]
            raise ValueError(f"the context has {there!r:.40} at character {start}, expected the answer {text!r:.40}")
    return found


# --- what a person should know --------------------------------------------------------------------------------------


def _columns(found: Sequence[Record], roles: Mapping[str, str]) -> Iterator[Column]:
    role_of = {name: role for role, name in roles.items()}
    for name in _names(found):
        cells = [values[name] for _, _, values in found]
        plain = all(isinstance(cell, str) for cell in cells if cell is not None)
        example = str(next((cell for cell in cells if cell is not None), ""))[:40]
        missing = sum(cell is None for cell in cells)
        yield Column(name, "text" if plain else "json", role_of.get(name, "unused"), missing, None, example)


def _notes(
    parts: Mapping[str, Sequence[Row]], found: Sequence[Record], roles: Mapping[str, str], options: Options
) -> Iterator[str]:
    every = [row for rows in parts.values() for row in rows]
    contexts, groups = {row.x.context for row in every}, {row.group for row in every}
    without = sum(not row.y.texts for row in every)
    asked = f"{len(every):,} questions, {without:,} without an answer"
    yield f"{asked}, about {len(contexts):,} contexts of {len(groups):,} groups"
    if "language" in roles and options.language is None:
        languages = sorted({str(values[roles["language"]]) for _, _, values in found})
        if len(languages) > 1:
            yield f"{len(languages)} languages: {', '.join(languages)}"
    trained = {row.group for row in parts.get("train", ())}
    tested = {row.group for row in parts.get("test", ())}
    if shared := trained & tested:
        yield (
            f"{len(shared):,} of the {len(tested):,} groups in the official test stand in train too; "
            "`data.options.official: false` divides whole groups"
        )
