"""columns: one CSV, TSV, JSON Lines or Parquet file as Arrow columns; a large one is written once and memory-mapped.

The columns of a text file are strings; what they mean is their *kind*, found over all rows while reading.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcommons.errors import DataError, FormatError
from modelcommons.formats.cache import cache_folder, replacing
from modelcommons.formats.lines import lines

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1  # of the files written to the cache; a change of what is written there needs a new number
IN_MEMORY = 48 * 2**20  # a file of fewer bytes is read without the cache
BATCH_ROWS = 16_384
BATCH_CHARACTERS = 16 * 2**20
MOST_COLUMNS = 4_096
SHOWN = 5  # bad lines kept
LINE = "\0line"  # the hidden column of line numbers; a name from a file cannot hold a NUL
MISSING = ("", "NA", "N/A", "null", "NULL")  # no number, but no mistake either
NUMBER = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"

# first bytes -> kind of a binary column
MAGIC = (
    (b"\x89PNG", "image"), (b"\xff\xd8\xff", "image"), (b"GIF8", "image"), (b"BM", "image"), (b"II*\0", "image"),
    (b"MM\0*", "image"), (b"RIFF", "audio"), (b"fLaC", "audio"), (b"OggS", "audio"), (b"ID3", "audio"),
)  # fmt: skip

JSON_SUFFIXES = (".jsonl", ".ndjson")
JSON_TYPES = {str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}
KEPT_SECONDS = 30 * 86_400

Record = Sequence[str | None]
Records = Iterator[tuple[int, Record | str]]  # (line, cells), or (line, why it cannot be read)


@dataclass(frozen=True, slots=True)
class BadLine:
    """One row that cannot be used: `news.csv:17`, and one clause that says what was expected and what came."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Columns:
    """One file. `data` holds its columns and, for text files, `LINE`."""

    name: str
    data: pa.Table
    kinds: dict[str, str]
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)  # column -> names of its integer classes
    bad: tuple[BadLine, ...] = ()  # the first five
    num_bad: int = 0
    folder: Path | None = None  # where the files lie that an image column of paths names


def read_columns(path: Path, name: str) -> Columns:
    """One file by its suffix. `name` is what its rows are called after: `news.csv` -> `news.csv:17`.

    Raises:
        DataError: it is empty, has no rows, no usable header, or is not UTF-8.
        FormatError: it is not Parquet, or cut off.
    """
    if path.stat().st_size == 0:
        raise DataError(
            f"{name} is empty. Expected {'objects' if path.suffix.lower() in JSON_SUFFIXES else 'a header'} and rows."
        )
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path, name)
    return _read_text(path, name)


# --- text -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Findings:
    """What is known of a text file once all its batches were made."""

    kinds: dict[str, str]
    bad: list[tuple[int, str]] = field(default_factory=list)  # line, reason
    num_bad: int = 0


Convert = Callable[[_Findings], "tuple[pa.Schema, Iterator[pa.RecordBatch]]"]


def _read_text(path: Path, name: str) -> Columns:
    def convert(found: _Findings) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        found.kinds, records = (_open_json if path.suffix.lower() in JSON_SUFFIXES else _open_csv)(path, name)
        header = list(found.kinds)
        return _text_schema(header), _batches(header, records, found)

    data, found = _stored(path, convert)
    kinds = {column: "text" if kind in ("unknown", "string") else kind for column, kind in found.kinds.items()}
    bad = tuple(BadLine(f"{name}:{line}", reason) for line, reason in found.bad)
    if not len(data):
        came = f"; none of its {found.num_bad} lines could be read ({bad[0].where}: {bad[0].reason})" if bad else ""
        wanted = "one JSON object a line" if path.suffix.lower() in JSON_SUFFIXES else "a header and at least one row"
        raise DataError(f"{name} has no rows{came}. Expected {wanted}.")
    return Columns(name, data, kinds, {}, bad, found.num_bad)


def _text_schema(header: list[str]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([*((name, pa.string()) for name in header), (LINE, pa.int64())])


def _batches(header: list[str], records: Records, found: _Findings) -> Iterator[pa.RecordBatch]:
    """Good records as batches of string columns; kinds and bad lines are gathered in `found` on the way."""
    rows: list[Record] = []
    at: list[int] = []
    size = 0
    for line, record in records:
        if isinstance(record, str):
            found.num_bad += 1
            found.bad.extend([(line, record)] if len(found.bad) < SHOWN else [])
            continue
        rows.append(record)
        at.append(line)
        size += sum(map(len, filter(None, record)))
        if len(rows) == BATCH_ROWS or size > BATCH_CHARACTERS:
            yield _batch(header, rows, at, found.kinds)
            rows, at, size = [], [], 0
    if rows:
        yield _batch(header, rows, at, found.kinds)


def _batch(header: list[str], rows: list[Record], at: list[int], kinds: dict[str, str]) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = [pa.array([cell or None for cell in cells], pa.string()) for cells in zip(*rows, strict=True)]
    for name, array in zip(header, arrays, strict=True):
        kinds[name] = _kind(array, kinds[name])
    return pa.record_batch([*arrays, pa.array(at, pa.int64())], schema=_text_schema(header))


def _kind(array: pa.Array, before: str) -> str:
    """The narrowest kind that holds these cells and those seen before (`unknown`: none; `string`: no numbers)."""
    if before in ("text", "json") or array.null_count == len(array):
        return before
    cells = blank_missing(array)
    if before in ("unknown", "integer", "number") and not _is_code(cells):
        if before != "number" and _casts(cells, "int64"):
            return "integer"
        if _casts(cells, "double"):
            return "number"
    return "time" if before in ("unknown", "string", "time") and _casts(cells, "timestamp[us]") else "text"


def _casts(cells: pa.Array, kind: str) -> bool:
    import pyarrow as pa

    try:
        cells.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _is_code(cells: pa.Array) -> bool:
    """Whether a cell is a code rather than a number: a leading zero (`0812`) would be lost."""
    import pyarrow.compute as pc

    return bool(pc.any(pc.match_substring_regex(cells, r"^[-+]?0\d")).as_py())


def blank_missing(array: pa.Array) -> pa.Array:
    """Cells without the space around them; null where they say that there is no value (`MISSING`)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(array)
    return pc.if_else(pc.is_in(trimmed, value_set=pa.array(MISSING)), pa.scalar(None, pa.string()), trimmed)


# --- CSV ------------------------------------------------------------------------------------------------------------


class _Feed:
    """Lines for `csv.reader` that can be given back: a quote that is never closed must cost one line, not the rest."""

    def __init__(self, source: Iterator[str]) -> None:
        self._source = source
        self._again: list[str] = []  # lines given back, the next one last
        self.number = 0  # of the line handed out last
        self.taken: list[str] = []  # lines of the record that is being read

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else next(self._source)
        self.number += 1
        self.taken.append(line)
        return line

    def give_back(self) -> None:
        """All lines of this record but its first."""
        self._again.extend(reversed(self.taken[1:]))
        self.number -= len(self.taken) - 1


def _open_csv(path: Path, name: str) -> tuple[dict[str, str], Records]:
    source = lines(path)
    first = next(source)
    separator = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    records = _records(_Feed(itertools.chain([first], source)), separator)
    _, header = next(records, (0, "it is blank"))
    if isinstance(header, str):
        raise DataError(f"{name}:1 is no header: {header}. Expected the names of the columns.")
    names = [(cell or "").strip() or f"column_{number}" for number, cell in enumerate(header, 1)]
    twice = next((cell for cell in names if names.count(cell) > 1), None)
    if twice is not None:
        raise DataError(f"{name}:1 names the column '{twice}' twice. Give every column a name of its own.")
    if all(re.match(NUMBER, cell) for cell in names):
        raise DataError(f"{name}:1 holds numbers, expected the names of the columns. Add a header line.")
    return dict.fromkeys(names, "unknown"), records


def _records(feed: _Feed, separator: str) -> Records:
    """The header, then every record; one that cannot be read or has another width than the header comes as a reason."""
    width = 0
    reader = csv.reader(feed, delimiter=separator, strict=True)
    while True:
        feed.taken.clear()
        reason = ""
        cells: list[str] = []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = _csv_reason(str(error), len(feed.taken))
        width = width or len(cells)
        if not reason and not cells:  # a blank line
            continue
        if not reason and len(cells) != width:
            reason = f"{_counted(len(cells), 'field')}, expected {width}"
        line = feed.number - len(feed.taken) + 1
        if reason:
            feed.give_back()
            reader = csv.reader(feed, delimiter=separator, strict=True)
        yield line, reason or cells


def _csv_reason(error: str, num_lines: int) -> str:
    if "field larger" in error:
        return f"a field is longer than {csv.field_size_limit():,} characters, or its quote is never closed"
    if "unexpected end" in error or num_lines > 1:
        return "a quote is opened and not closed"
    if "expected after" in error:
        return "text follows a closing quote"
    return error


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# --- JSON Lines -----------------------------------------------------------------------------------------------------


def _open_json(path: Path, name: str) -> tuple[dict[str, str], Records]:
    types: dict[str, set[str]] = {}
    for _, value in _objects(path):
        if isinstance(value, dict):
            for key, cell in value.items():
                types.setdefault(key, set()).add(JSON_TYPES.get(type(cell), "json"))
    if len(types) > MOST_COLUMNS:
        raise DataError(f"{name} has {len(types):,} different keys, expected at most {MOST_COLUMNS:,}.")
    kinds = {key: _json_kind(found - {"null"}) for key, found in types.items()}
    return kinds, _json_records(path, kinds)


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Each line's object, or why it is none."""
    for number, line in enumerate(lines(path), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            yield number, f"invalid JSON ({error.msg} at character {error.pos + 1})"
        except ValueError:
            yield number, "JSON with a number that is too long"
        except RecursionError:
            yield number, "JSON is nested too deeply"
        else:
            yield number, value if isinstance(value, dict) else f"{type(value).__name__}, expected a JSON object"


def _json_kind(types: set[str]) -> str:
    """What is known of a column before its cells are looked at; see `_kind`."""
    if "json" in types:
        return "json"
    return {frozenset(["string"]): "string", frozenset(["number"]): "unknown"}.get(frozenset(types), "text")


def _json_records(path: Path, kinds: Mapping[str, str]) -> Records:
    for number, value in _objects(path):
        yield number, value if isinstance(value, str) else [_cell(value.get(key), kind) for key, kind in kinds.items()]


def _cell(value: Any, kind: str) -> str | None:
    if value is None:
        return None
    return value if isinstance(value, str) and kind != "json" else json.dumps(value, ensure_ascii=False)


# --- Parquet --------------------------------------------------------------------------------------------------------


def _read_parquet(path: Path, name: str) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        schema = _plain(file.schema_arrow)

        def convert(found: _Findings) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
            return schema, (batch.cast(schema) for batch in file.iter_batches(BATCH_ROWS))

        data, _ = _stored(path, convert)
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{name} is no whole Parquet file ({_first(error)}). Get it again.") from None
    if not len(data):
        raise DataError(f"{name} has no rows.")
    labels = _label_names(schema)
    kinds = {column.name: "category" if column.name in labels else _arrow_kind(data, column.name) for column in schema}
    return Columns(name, data, kinds, labels)


def _plain(schema: pa.Schema) -> pa.Schema:
    """The schema without dictionary encoding, which differs from batch to batch."""
    import pyarrow as pa

    for number, column in enumerate(schema):
        if pa.types.is_dictionary(column.type):
            schema = schema.set(number, column.with_type(column.type.value_type))
    return schema


def _arrow_kind(data: pa.Table, name: str) -> str:
    import pyarrow as pa

    kind = data.schema.field(name).type
    if is_text(kind):
        return "text"
    for test, word in (
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_integer, "integer"),
        (pa.types.is_floating, "number"),
        (pa.types.is_decimal, "number"),
        (pa.types.is_temporal, "time"),
    ):
        if test(kind):
            return word
    if pa.types.is_struct(kind) and {column.name for column in kind} >= {"bytes", "path"}:
        return _content_kind(data.column(name), lambda value: value["bytes"])
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _content_kind(data.column(name), lambda value: value)
    return "json"


def is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _content_kind(column: pa.ChunkedArray, raw: Callable[[Any], bytes | None]) -> str:
    """What the first bytes of the first cells that have any say."""
    cells = (column[number].as_py() for number in range(min(len(column), 100)))
    first = next((found for cell in cells if cell is not None and (found := raw(cell))), b"")
    return next((kind for magic, kind in MAGIC if first.startswith(magic)), "bytes")


def _label_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Class names in the schema: `datasets` features, or a plain list for the column `label`."""
    import pyarrow as pa

    metadata = schema.metadata or {}
    found: dict[str, tuple[str, ...]] = {}
    try:
        plain = json.loads(metadata.get(b"dataset_info", b"{}")).get("label_names")
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    except (ValueError, AttributeError):
        return {}
    if plain:
        found["label"] = tuple(map(str, plain))
    for name, feature in features.items():
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names"):
            found[name] = tuple(map(str, feature["names"]))
    return {
        name: names
        for name, names in found.items()
        if name in schema.names and pa.types.is_integer(schema.field(name).type)
    }


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")


# --- the cache ------------------------------------------------------------------------------------------------------


def _stored(path: Path, convert: Convert) -> tuple[pa.Table, _Findings]:
    """What `convert` makes of a file: in memory if that is small, else from an Arrow file in the cache."""
    import pyarrow as pa

    found = _Findings({})
    if path.stat().st_size < IN_MEMORY:
        schema, batches = convert(found)
        return pa.Table.from_batches(batches, schema), found
    target = cache_folder("tables") / f"{_key(path)}.arrow"
    about = target.with_suffix(".json")
    if not about.is_file():
        _forget(target.parent)
        schema, batches = convert(found)
        with replacing(target) as part, pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        with replacing(about) as part:
            part.write_text(json.dumps(asdict(found)), encoding="utf-8")
    about.touch()
    table = pa.ipc.open_file(pa.memory_map(str(target))).read_all()
    return table, _Findings(**json.loads(about.read_text(encoding="utf-8")))


def _key(path: Path) -> str:
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{content[:32]}-{path.suffix[1:]}-{VERSION}"


def _forget(folder: Path) -> None:
    """Removes converted files that nobody has read for a month: they are large, and their data may be private."""
    for about in folder.glob("*.json"):
        if time.time() - about.stat().st_mtime > KEPT_SECONDS:
            about.unlink(missing_ok=True)
            about.with_suffix(".arrow").unlink(missing_ok=True)
