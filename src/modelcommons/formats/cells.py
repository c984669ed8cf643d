"""cells: files in a table's cells, as bytes or as paths that do not lead out of the data's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from modelcommons.errors import DataError
from modelcommons.formats.tables import Source, Table

Value = Callable[[int], bytes | Path]  # row -> its file's bytes, or the path of its file


def cells(source: Source, table: Table, column: str, by_path: bool, what: str = "picture") -> Value:
    """How to get at what a cell holds: its bytes, or the path of its file.

    Args:
        what: it is, in a message: picture, recording.

    Raises (when called):
        DataError: there is nothing, or the path leads out of the source's folder.
    """

    def value(index: int) -> bytes | Path:
        found = table.row(index, [column])[column]
        if found is None:
            raise DataError(f"expected a {what}, got nothing")
        if not by_path:
            return bytes(found)
        folder = (source.folder / table.where(index).rpartition(":")[0]).parent
        path = Path(folder, str(found)).resolve()
        if not path.is_relative_to(source.folder.resolve()):
            raise DataError(f"expected a path inside the data's folder, got {found}")
        return path

    return value


def names_of(ids: Iterable[str], value: Value, by_path: np.ndarray | None) -> list[str]:
    """Row ids, where a table only points to files with what is in them."""
    names = list(ids)
    for index in np.flatnonzero(by_path).tolist() if by_path is not None else ():
        names[index] = with_digest(names[index], value(index))
    return names


def with_digest(id: str, path: bytes | Path) -> str:
    """The id of a row whose file a table only points to: such files are not in the data's digest, so theirs goes here.

    Raises:
        OSError: it cannot be read.
    """
    assert isinstance(path, Path)
    return f"{id}#{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
