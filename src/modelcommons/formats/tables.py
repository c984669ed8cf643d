"""tables: CSV, TSV, JSON Lines and Parquet read into columns that need not fit into memory.

A text file becomes string columns and a *kind* for each; a large file (text or Parquet) is written once as an Arrow
file in the cache and memory-mapped, so that ten million rows cost little memory. Every line that cannot be read is
counted with its place and reason, and reading goes on.

    table = read([Path("train.csv")])
    table.kinds                     # {"text": "text", "label": "integer"}
    table.row(3)                    # {"text": "...", "label": 1}
    table.where(3)                  # "train.csv:5"
    rows = table.rows(lambda values, id: Row(id, values["text"], values["label"]))
"""

from __future__ import annotations

import bisect
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from modelcommons.errors import DataError
from modelcommons.formats.columns import (
    LINE,
    MISSING,
    NUMBER,
    SHOWN,
    BadLine,
    Columns,
    blank_missing,
    is_text,
    read_columns,
)

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg")
NO_CLASS = ("nan", "inf", "-inf", "+inf", "infinity", "-infinity")  # what a failed calculation leaves, in any case
AT_ONCE = 65_536  # rows that are looked at together
FEW = 32  # rows that are better looked at one by one

Made = TypeVar("Made")


class File(Protocol):
    """One data file of a source."""

    @property
    def path(self) -> str: ...
    @property
    def split(self) -> str | None: ...


class Source(Protocol):
    """A folder and the data files in it; the workbench's `Source` is one."""

    @property
    def folder(self) -> Path: ...
    @property
    def files(self) -> Sequence[File]: ...


def is_file(text: str) -> bool:
    """Whether what a person typed names a file that is here; a long text is no name."""
    try:
        return "\n" not in text and Path(text).is_file()
    except (OSError, ValueError):
        return False


def files_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of these endings in a folder and those below it, in order; what is hidden is passed over.

    Raises:
        DataError: there is none.
    """
    seen = (path for path in folder.rglob("*") if not any(part[0] == "." for part in path.relative_to(folder).parts))
    found = sorted(path for path in seen if path.suffix.lower() in suffixes)
    if not found:
        raise DataError(f"Expected files that end in {', '.join(suffixes)} in {folder}, found none. Name another.")
    return found


def read_text(path: Path) -> str:
    """A text file, whole.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"Expected a text file in UTF-8 at {path}, got none that can be read ({error!s:.80})."
        ) from None


def read_source(source: Source) -> dict[str, Table]:
    """All files of a source, one table per split: `all` where the files name none, else `train`, `validation`, `test`.

    Tables beside the data (items, users) are the caller's to read.

    Raises:
        DataError: see `read`; or there is no file of a kind that can be read.
    """
    parts: dict[str, list[str]] = {}
    for file in source.files:
        if file.split != "beside":
            parts.setdefault(file.split or "all", []).append(file.path)
    return {split: _read_some(source.folder, paths) for split, paths in parts.items()}


def _read_some(folder: Path, paths: Sequence[str]) -> Table:
    tables = [path for path in paths if path.lower().endswith(SUFFIXES)]
    if tables:
        return read([folder / path for path in tables], tables)
    for kind, suffixes in (("image", IMAGE_SUFFIXES), ("audio", AUDIO_SUFFIXES)):
        if found := [path for path in paths if path.lower().endswith(suffixes)]:
            return loose(folder, found, kind)
    raise DataError(
        f"Expected files that end in {', '.join(SUFFIXES)}, or pictures or recordings, in {folder}; found none."
    )


def read(paths: Sequence[Path], names: Sequence[str] | None = None) -> Table:
    """One table from files with the same columns, in the order given.

    Args:
        names: what the files' rows are called after; the files' own names when not given.

    Raises:
        DataError: a file is empty, is not UTF-8, has no usable header, or other columns than the first.
        FormatError: a file is cut off.
    """
    files = [read_columns(path, name) for path, name in zip(paths, names or [p.name for p in paths], strict=True)]
    for file in files[1:]:
        if list(file.kinds) != list(files[0].kinds):
            raise DataError(
                f"{file.name} has the columns {', '.join(file.kinds)}, expected those of {files[0].name}: "
                f"{', '.join(files[0].kinds)}. Name the files one by one, or make their headers equal."
            )
        if file.labels != files[0].labels:
            raise DataError(f"{file.name} names its classes otherwise than {files[0].name}. Write both the same way.")
    return Table(files)


def loose(folder: Path, paths: Sequence[str], kind: str = "image") -> Table:
    """Files in folders named by their class as a table of `image` (or `audio`) and `label`; bytes are read row by row.

    Args:
        paths: relative to `folder`, forward slashes; `train/cat/1.png` is of class `cat`.
        kind: what the files hold, and the name of their column: `image` or `audio`.
    """
    import pyarrow as pa

    labels = [path.split("/")[-2] if "/" in path else None for path in paths]
    data = pa.table({kind: pa.array(paths, pa.string()), "label": pa.array(labels, pa.string())})
    return Table([Columns(folder.name, data, {kind: kind, "label": "text"}, folder=folder)])


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column as numbers: NaN where a cell is empty; what is not a finite number is NaN too, and listed as bad."""

    values: np.ndarray  # (rows,) float64
    bad: np.ndarray  # (rows,) bool: a word, NaN written out, or infinite
    first: tuple[BadLine, ...]  # the first five of them


class Table:
    """Columns of one or more files, and the place every row came from. Rows are made when they are asked for.

    Kinds: text, integer, number, time (ISO 8601), category (integers with names), boolean, image, audio, bytes, json.
    """

    def __init__(
        self,
        files: Sequence[Columns],
        index: np.ndarray | None = None,
        bad: Sequence[BadLine] = (),
        num_refused: int = 0,
    ) -> None:
        import pyarrow as pa

        self._files = tuple(files)
        self._starts = list(
            itertools.accumulate((len(file.data) for file in files), initial=0)
        )  # first row of each file
        self._data = pa.concat_tables([file.data for file in files], promote_options="permissive")
        self._cells: dict[str, _Cells] = {}  # of the columns that were looked into row by row
        self._folder = files[0].folder
        self._index = index  # the rows that are left, int64; None: all
        self.kinds = _merged_kinds(files)
        self.columns = tuple(self.kinds)
        self.labels: dict[str, tuple[str, ...]] = {}  # column -> names of its integer classes
        for file in files:
            self.labels.update(file.labels)
        self.bad = (*(line for file in files for line in file.bad), *bad)[:SHOWN]  # the first five
        self._refused = (tuple(bad), num_refused)
        self.num_bad = num_refused + sum(file.num_bad for file in files)

    def __len__(self) -> int:
        return len(self._data) if self._index is None else len(self._index)

    @property
    def num_read(self) -> int:
        """Rows good and bad."""
        return len(self) + self.num_bad

    def row(self, index: int, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """The values of one row by column; None where a cell is empty. A category is its name, an image its bytes."""
        at = index if self._index is None else int(self._index[index])
        return {name: self._value(name, at) for name in columns or self.columns}

    def where(self, index: int) -> str:
        """The place of a row in its file: `train.csv:17` (line), `test.parquet:0` (row, from 0), `cat/1.png`."""
        return self._place(index if self._index is None else int(self._index[index]))

    def column(self, name: str) -> pa.ChunkedArray:
        """One column as Arrow: int64, float64 or string for text files, the file's own type for Parquet."""
        import pyarrow as pa

        column = self._data.column(name)
        return _typed(column if self._index is None else column.take(pa.array(self._index)), self.kinds[name])

    def numbers(self, name: str) -> Numbers:
        """A column as float64, whatever its kind, with the cells that are no finite numbers."""
        values, bad = np.empty(len(self)), np.empty(len(self), bool)
        for here, array in self._blocks(name):
            values[here], bad[here] = _finite(array)
        first = tuple(
            BadLine(self.where(i), f"{name} is {self.row(i, [name])[name]!r}, expected a finite number")
            for i in np.flatnonzero(bad)[:SHOWN].tolist()
        )
        return Numbers(values, bad, first)

    def _blocks(self, name: str) -> Iterator[tuple[slice, pa.ChunkedArray]]:
        """A column in pieces, so that what is made of it on the way stays small."""
        import pyarrow as pa

        column = self._data.column(name)
        for start in range(0, len(self), AT_ONCE):
            here = slice(start, min(start + AT_ONCE, len(self)))
            if self._index is None:
                yield here, _typed(column.slice(start, here.stop - start), self.kinds[name])
            else:  # in order; `take` of the whole column would copy all of it first
                rows = self._index[here]
                piece = column.slice(rows[0], rows[-1] - rows[0] + 1)
                yield here, _typed(piece.take(pa.array(rows - rows[0])), self.kinds[name])

    def times(self, name: str) -> np.ndarray:
        """A column of kind `time` as datetime64[s], NaT where it is empty."""
        import pyarrow as pa

        return np.asarray(self.column(name).cast(pa.timestamp("s"), safe=False).to_numpy()).astype("datetime64[s]")

    def moments(self, name: str) -> np.ndarray:
        """A column of times or numbers as what sorts: datetime64[s] or float64.

        Raises:
            DataError: it is neither.
        """
        if self.kinds[name] == "time":
            return self.times(name)
        if self.kinds[name] not in ("integer", "number"):
            raise DataError(f"Expected times or numbers in column '{name}', its values are of kind {self.kinds[name]}.")
        return self.numbers(name).values

    def missing(self, name: str) -> np.ndarray:
        """Which rows have nothing in this column, shape (rows,), bool."""
        return np.asarray(self.column(name).is_null().to_numpy())

    def classes(self, name: str) -> tuple[str, ...]:
        """The names of a column's classes: as the file gives them, else its distinct values (numbers in order).

        NaN and infinity are no classes, in whatever letters they are written.
        """
        if name in self.labels:
            return self.labels[name]
        every = self.column(name).unique().to_pylist()
        values = [value for value in every if value is not None and str(value).strip().lower() not in NO_CLASS]
        return tuple(str(value) for value in sorted(values, key=lambda v: (isinstance(v, str), v)))

    def codes(self, name: str, classes: Sequence[str] | None = None) -> np.ndarray:
        """Each row's class as an index into `classes` (default `classes(name)`); -1 where empty or unknown. int64."""
        import pyarrow as pa
        import pyarrow.compute as pc

        own = self.classes(name)
        wanted = {label: code for code, label in enumerate(classes if classes is not None else own)}
        if name in self.labels:
            known = None
        else:
            values = [value for value in self.column(name).unique().to_pylist() if value is not None]
            by_name = {str(value): value for value in values}
            kind = _typed(self._data.column(name).slice(0, 0), self.kinds[name]).type
            known = pa.array([by_name[n] for n in own], kind)
        lookup = np.array([*(wanted.get(label, -1) for label in own), -1], np.int64)
        codes = np.empty(len(self), np.int64)
        for here, array in self._blocks(name):
            found = array.cast(pa.int64()) if known is None else pc.index_in(array, value_set=known)
            some = pc.fill_null(found, -1).to_numpy()
            codes[here] = lookup[np.where((some < 0) | (some >= len(own)), len(own), some)]
        return codes

    def refuse(self, which: np.ndarray, reason: str | Callable[[int], str]) -> Table:
        """The same table without the rows where `which` (rows,) is true; they are counted as bad.

        Args:
            reason: one clause (`no label`), or a function from a row's index to one.
        """
        out = np.flatnonzero(which)
        if not len(out):
            return self
        left = np.flatnonzero(~which) if self._index is None else self._index[~which]
        before, num_before = self._refused
        why = reason if callable(reason) else lambda _: reason
        bad = (*before, *(BadLine(self.where(i), why(i)) for i in out[:SHOWN].tolist()))
        return Table(self._files, left, bad[:SHOWN], num_before + len(out))

    def rows(
        self, make: Callable[[dict[str, Any], str], Made], columns: Sequence[str] | None = None, id: str | None = None
    ) -> TableRows[Made]:
        """The rows as a sequence of whatever `make(values, id)` makes of them, one at a time, when they are asked for.

        Args:
            columns: those that `make` looks at; fewer are faster.
            id: the column that holds row ids; the row's place (`where`) when there is none.
        """
        return TableRows(self, make, columns, id, None)

    def ids(self, column: str | None = None, indices: np.ndarray | None = None) -> Iterator[str]:
        """Row ids in order, or those at `indices`: from a column, else each row's place."""
        at = np.arange(len(self)) if indices is None else indices
        for start in range(0, len(at), AT_ONCE):
            some = at[start : start + AT_ONCE]
            some = some if self._index is None else self._index[some]
            if column is None:
                yield from self._places(some)
            else:
                yield from map(str, self._column(column).picked(some))

    def _places(self, at: np.ndarray) -> Iterator[str]:
        """`where` of the rows at `at` (rows of all files, refused ones too)."""
        numbers = np.searchsorted(self._starts, at, side="right") - 1
        lines = self._column(LINE).picked(at) if LINE in self._data.column_names else itertools.repeat(None)
        for row, number, line in zip(at.tolist(), numbers.tolist(), lines, strict=False):
            yield self._place(row) if line is None else f"{self._files[number].name}:{line}"

    def _place(self, row: int) -> str:
        number = bisect.bisect_right(self._starts, row) - 1
        file = self._files[number]
        if file.folder is not None:
            return str(self._column(self._data.column_names[0])[row])
        line = self._column(LINE)[row] if LINE in self._data.column_names else None
        return f"{file.name}:{row - self._starts[number] if line is None else line}"

    def _column(self, name: str) -> _Cells:
        if name not in self._cells:
            self._cells[name] = _Cells(self._data.column(name))
        return self._cells[name]

    def _value(self, name: str, at: int) -> Any:
        value = self._column(name)[at]
        if value is None:
            return None
        match self.kinds[name]:
            case "integer" | "number" as kind if isinstance(value, str):
                return _number(value, kind)
            case "category":
                return self.labels[name][value] if 0 <= value < len(self.labels[name]) else None
            case "image" | "audio" | "bytes" if isinstance(value, dict):
                return value["bytes"]
            case "image" | "audio" if isinstance(value, str) and self._folder is not None:
                return (self._folder / value).read_bytes()
            case "json" if isinstance(value, str):
                return json.loads(value)
            case _:
                return value


class TableRows(Generic[Made]):
    """A sequence over a table that makes each row when it is asked for; fulfils the workbench's `Rows`."""

    def __init__(
        self,
        table: Table,
        make: Callable[[dict[str, Any], str], Made],
        columns: Sequence[str] | None,
        id: str | None,
        indices: np.ndarray | None,
    ) -> None:
        self.table, self._make, self._columns, self._id = table, make, columns, id
        self.indices = indices  # rows of the table, int64; None: all

    def __len__(self) -> int:
        return len(self.table) if self.indices is None else len(self.indices)

    def __getitem__(self, index: int) -> Made:
        at = range(len(self))[index]  # also: IndexError ends a loop, -1 is the last
        at = at if self.indices is None else int(self.indices[at])
        id = self.table.where(at) if self._id is None else str(self.table.row(at, [self._id])[self._id])
        return self._make(self.table.row(at, self._columns), id)

    def __iter__(self) -> Iterator[Made]:
        return (self[index] for index in range(len(self)))

    def ids(self) -> Iterator[str]:
        return self.table.ids(self._id, self.indices)

    def moments(self, name: str) -> np.ndarray:
        """See `Table.moments`, of these rows."""
        found = self.table.moments(name)
        return found if self.indices is None else found[self.indices]

    def take(self, indices: np.ndarray) -> TableRows[Made]:
        at = np.asarray(indices, np.int64)
        return TableRows(
            self.table, self._make, self._columns, self._id, at if self.indices is None else self.indices[at]
        )


class _Cells:
    """A column's cells by row. Arrow would go through all chunks before the right one: over all rows, their square."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._chunks = column.chunks
        self._starts = list(itertools.accumulate(map(len, self._chunks), initial=0))

    def __getitem__(self, row: int) -> Any:
        number = bisect.bisect_right(self._starts, row) - 1
        return self._chunks[number][row - self._starts[number]].as_py()

    def picked(self, at: np.ndarray) -> list[Any]:
        """The cells of the rows `at` (int64), any order; `take` of all chunks would first copy them into one."""
        if len(at) < FEW:
            return [self[row] for row in at.tolist()]
        starts = np.array(self._starts)
        chunk_of = np.searchsorted(starts, at, side="right") - 1
        order = np.argsort(chunk_of, kind="stable")
        found: list[Any] = []
        for number, size in zip(*np.unique(chunk_of, return_counts=True), strict=True):
            some = at[order[len(found) : len(found) + size]] - starts[number]
            found += self._chunks[int(number)].take(some).to_pylist()
        back = np.empty(len(at), np.int64)
        back[order] = np.arange(len(at))
        return [found[i] for i in back.tolist()]


def _typed(array: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    """Cells of a text file as what they mean."""
    import pyarrow as pa

    if kind in ("integer", "number") and is_text(array.type):
        return blank_missing(array).cast(pa.int64() if kind == "integer" else pa.float64())
    return array


def _finite(array: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Cells as float64, NaN where they are empty or no finite numbers; and which of them are no finite numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_text(array.type):
        array = blank_missing(array)
        empty = array.is_null().to_numpy()
        array = pc.if_else(pc.match_substring_regex(array, NUMBER), array, pa.scalar(None, array.type))
    else:
        empty = array.is_null().to_numpy()
    values = array.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
    bad = ~np.isfinite(values) & ~empty
    return np.where(bad, np.nan, values), bad


def _merged_kinds(files: Sequence[Columns]) -> dict[str, str]:
    """One kind per column: integers among numbers are numbers, whatever else differs is text."""
    kinds = dict(files[0].kinds)
    for file in files[1:]:
        for name, kind in file.kinds.items():
            if kind != kinds[name]:
                kinds[name] = "number" if {kind, kinds[name]} == {"integer", "number"} else "text"
    return kinds


def _number(text: str, kind: str) -> int | float | None:
    text = text.strip()
    if text in MISSING:
        return None
    return int(text) if kind == "integer" else float(text)
