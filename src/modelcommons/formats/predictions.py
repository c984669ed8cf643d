"""predictions.jsonl.gz: one canonical JSON line per example, gzipped; the lines are the leaves of a Merkle tree.

A line is `{"id", "target"?, "prediction", "margin"?}` (receipts.md, "What is hashed"). Order is the order of the test
rows. The file can be read with a standard library alone: gzip, then one `json.loads` a line.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import orjson

from modelcommons.errors import FormatError
from modelcommons.formats import merkle
from modelcommons.formats.canonical import canonical

if TYPE_CHECKING:
    import pyarrow as pa

Line = dict[str, Any]

LARGEST = 8 * 2**30  # bytes, unpacked
LONGEST = 64 * 2**20  # bytes of one line
BLOCK = 2**20
WORTH_A_PROCESS = 200_000  # lines whose hashing takes longer than another Python to start
MANY = 10_000  # lines from which on columns are quicker than a line at a time

LEVEL = 3  # of gzip: a tenth larger than by level 6, in a third of the time


@dataclass(frozen=True, slots=True)
class Written:
    """What a receipt says of a predictions file."""

    sha256: str  # of the unpacked lines
    merkle_root: str
    count: int


def write(path: Path, lines: Iterable[Line]) -> Written:
    """Writes the file in one step; the same lines give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")  # one name: what a kill leaves is written over by the next run
    digest, leaves = hashlib.sha256(), []
    try:
        with part.open("wb") as file:
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=LEVEL, mtime=0) as packed:
                for line in lines:
                    raw = canonical(line)
                    digest.update(raw + b"\n")
                    leaves.append(merkle.leaf(raw))
                    packed.write(raw + b"\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return Written(digest.hexdigest(), merkle.root(leaves), len(leaves))


class Lines(Sequence[Line]):
    """The lines of a predictions file, parsed one by one when asked for; `table` has them all as columns."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._root: Callable[[], str] | None = None  # waits for what `begin_root` began
        ends = np.flatnonzero(np.frombuffer(raw, np.uint8) == 10)
        self._ends = ends
        self._starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64) if len(ends) else ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Line: ...
    @overload
    def __getitem__(self, index: slice) -> list[Line]: ...
    def __getitem__(self, index: int | slice) -> Line | list[Line]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        return self._parse(index)

    def __iter__(self) -> Iterator[Line]:
        return (self._parse(at) for at in range(len(self)))

    def bytes(self, index: int) -> bytes:
        """One line as it stands in the file, without line end: a leaf of the Merkle tree."""
        return self.raw[self._starts[index] : self._ends[index]]

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()

    @cached_property
    def merkle_root(self) -> str:
        return self._root() if self._root else merkle.root_of_lines(self.raw)

    def begin_root(self) -> None:
        """Has the Merkle root of many lines found beside what is done until it is asked for."""
        if len(self) > WORTH_A_PROCESS and self._root is None:
            self._root = merkle.begin(self.raw)

    @cached_property
    def ids(self) -> list[str]:
        """Ids in order.

        Raises:
            FormatError: two lines have the same id.
        """
        ids = self.table.column("id").to_pylist() if len(self) > MANY else [line["id"] for line in self]
        if len(set(ids)) < len(ids):
            raise FormatError("Expected one prediction per id; an id comes twice. Evaluate the model again.")
        return ids

    def has_ids_of(self, other: Lines) -> bool:
        """Whether both answer the same rows in the same order."""
        if len(self) == len(other) > MANY:  # no Python strings
            return bool(self.table.column("id").equals(other.table.column("id")))
        return self.ids == other.ids

    @cached_property
    def table(self) -> pa.Table:
        """All lines as Arrow columns, for scores over millions of them.

        Raises:
            FormatError: a line is no JSON object with an `id`, or has values of another kind than the first.
        """
        import pyarrow as pa
        import pyarrow.json as reader

        words = _words(self[0] if len(self) else {"id": ""})
        how = reader.ParseOptions(explicit_schema=pa.schema(words))  # else Arrow takes an id like 2016-07-01 for a time
        try:
            table = reader.read_json(pa.BufferReader(self.raw), reader.ReadOptions(block_size=LONGEST), how)
        except pa.ArrowInvalid as error:
            raise FormatError(
                f"A predictions file holds a line unlike the first, or no JSON object: {error}."
            ) from error
        if table["id"].null_count:
            raise FormatError("A predictions file holds a line that has no `id`. Evaluate the model again.")
        return table

    def _parse(self, index: int) -> Line:
        raw = self.bytes(index)
        try:
            line = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise FormatError(f"Line {index + 1} of a predictions file is no JSON: {error}.") from error
        if not isinstance(line, dict) or not isinstance(line.get("id"), str) or "prediction" not in line:
            raise FormatError(f"Line {index + 1} of a predictions file has no `id` and `prediction`.")
        return line


def _words(value: Any) -> pa.DataType | None:
    """The Arrow type of the text in a JSON value; None where there is none."""
    import pyarrow as pa

    if isinstance(value, dict):
        inside = {key: kind for key, part in value.items() if (kind := _words(part)) is not None}
        return pa.struct(inside.items()) if inside else None
    return pa.string() if isinstance(value, str) else None


def read(path: Path) -> Lines:
    """The lines of a file.

    Raises:
        FormatError: it is no gzip file, is cut off, or unpacks to more than 8 GiB.
    """
    unpacked, size = [], 0
    try:
        with gzip.open(path) as file:
            while block := file.read(BLOCK):
                unpacked.append(block)
                size += len(block)
                if size > LARGEST:
                    raise FormatError(f"{path.name} unpacks to more than {LARGEST >> 30} GiB; it is refused.")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FormatError(f"{path.name} is damaged or no gzip file ({error}). Download or evaluate again.") from error
    raw = b"".join(unpacked)
    if raw and not raw.endswith(b"\n"):
        raise FormatError(f"{path.name} ends in the middle of a line. Download or evaluate again.")
    return Lines(raw)
