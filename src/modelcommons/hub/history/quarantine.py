"""quarantine: objects that somebody sent and the repository does not have yet, packed in a file without a name."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import IO, NamedTuple

from modelcommons.hub.history import objects
from modelcommons.hub.history.objects import Packed

IN_MEMORY = 1 << 20  # bytes that are kept without a file


class Place(NamedTuple):
    type: int
    size: int  # bytes before packing
    offset: int
    length: int  # bytes as packed


class Quarantine:
    """Constant memory whatever is sent, but for one place for each object; nothing of it outlives the request."""

    def __init__(self, folder: str) -> None:
        """`folder` is where the file lies, on the disk that has the room."""
        self._file: IO[bytes] = SpooledTemporaryFile(max_size=IN_MEMORY, dir=folder)  # noqa: SIM115 - `__exit__` closes it
        self._end = 0
        self.places: dict[str, Place] = {}

    def __enter__(self) -> Quarantine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def put(self, kind: int, data: bytes) -> str:
        """Keeps one object, and says its id, which is computed here and believed from nobody."""
        oid = objects.object_id(kind, data)
        if oid not in self.places:
            packed = zlib.compress(data, 1)
            self._file.seek(self._end)
            self._file.write(packed)
            self.places[oid] = Place(kind, len(data), self._end, len(packed))
            self._end += len(packed)
        return oid

    def read(self, oid: str) -> bytes:
        return zlib.decompress(self._packed(self.places[oid]))

    def rows(self) -> Iterator[Packed]:
        for oid, place in self.places.items():
            yield Packed(oid, place.type, place.size, self._packed(place))

    def _packed(self, place: Place) -> bytes:
        self._file.seek(place.offset)
        return self._file.read(place.length)
