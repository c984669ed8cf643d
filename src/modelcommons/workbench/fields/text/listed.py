"""listed: rows that are all in memory, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from modelcommons.workbench.task import Row


class Listed:
    """A list of rows as `Rows`."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        return self._rows[index]

    def ids(self) -> Iterable[str]:
        return (row.id for row in self._rows)

    def take(self, indices: np.ndarray) -> Listed:
        return Listed([self._rows[index] for index in indices.tolist()])
