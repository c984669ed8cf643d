"""encoder: cells as numbers a model can take: standardised, one column for each word, one for "is missing"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from modelcommons.errors import DataError
from modelcommons.workbench.fields.tabular.rows import Cells

Run = Callable[[np.ndarray], np.ndarray]  # encoded rows (rows, features) -> outputs (rows, outputs) float64

MOST_WORDS = 100  # of a column, the most frequent; others are as good as missing


@dataclass(frozen=True, slots=True)
class Numbers:
    name: str
    mean: float
    std: float
    missing: bool  # whether training rows had empty cells, so that emptiness may tell something


@dataclass(frozen=True, slots=True)
class Words:
    name: str
    values: tuple[str, ...]
    usual: str | None  # the most frequent


@dataclass(frozen=True, slots=True)
class Encoder:
    """Learned from training rows; all of it is values in config.json."""

    columns: tuple[Numbers | Words, ...]

    @classmethod
    def of(cls, columns: Mapping[str, Cells]) -> Encoder:
        return cls(tuple(_learned(name, cells) for name, cells in columns.items()))

    @classmethod
    def read(cls, value: Sequence[Mapping[str, Any]]) -> Encoder:
        """From config.json. Raises KeyError, TypeError or ValueError for what is no encoder."""
        return cls(
            tuple(
                Words(str(one["name"]), tuple(map(str, one["values"])), one["usual"])
                if "values" in one
                else Numbers(str(one["name"]), float(one["mean"]), float(one["std"]), bool(one["missing"]))
                for one in value
            )
        )

    def json(self) -> list[dict[str, Any]]:
        return [asdict(column) for column in self.columns]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def owners(self) -> np.ndarray:
        """The column that each encoded number comes from, (features,) int64."""
        return np.repeat(np.arange(len(self.columns)), [_size(column) for column in self.columns])

    def encode(self, columns: Mapping[str, Cells], raw: bool = False) -> np.ndarray:
        """(rows, features) float64. `raw`: for trees, which take numbers as they are, NaN where they are missing."""
        made = [_encoded(column, columns[column.name], raw) for column in self.columns]
        return np.concatenate(made, axis=1)

    def usual(self) -> dict[str, float | str | None]:
        """The cell that says least, column by column: the mean, or the most frequent word."""
        return {column.name: column.mean if isinstance(column, Numbers) else column.usual for column in self.columns}


def _learned(name: str, cells: Cells) -> Numbers | Words:
    if isinstance(cells, np.ndarray):
        there = cells[~np.isnan(cells)]
        mean, std = (float(there.mean()), float(there.std())) if len(there) else (0.0, 1.0)
        return Numbers(name, mean, std if std > 1e-12 * max(1.0, abs(mean)) else 1.0, bool(len(there) < len(cells)))
    counts = Counter(value for value in cells if value is not None)
    values = sorted(value for value, _ in counts.most_common(MOST_WORDS))
    return Words(name, tuple(values), counts.most_common(1)[0][0] if counts else None)


def _size(column: Numbers | Words) -> int:
    return 1 + column.missing if isinstance(column, Numbers) else len(column.values)


def _encoded(column: Numbers | Words, cells: Cells, raw: bool) -> np.ndarray:
    if isinstance(column, Words):
        code = {value: at for at, value in enumerate(column.values)}
        made = np.zeros((len(cells), len(column.values)))
        for row, value in zip(made, cells, strict=True):
            if value is not None and str(value) in code:
                row[code[str(value)]] = 1.0
        return made
    values = _numbers(column.name, cells)
    gone = np.isnan(values)
    scaled = values if raw else np.where(gone, 0.0, (values - column.mean) / column.std)
    return np.stack([scaled, gone.astype(np.float64)], axis=1) if column.missing else scaled[:, None]


def _numbers(name: str, cells: Cells) -> np.ndarray:
    """float64, NaN where a cell is empty.

    Raises:
        DataError: a cell is a word, or infinite.
    """
    found = np.full(len(cells), np.nan)
    for at, value in enumerate(cells):
        if value is None or value == "":
            continue
        try:
            found[at] = float(value)
        except (TypeError, ValueError):
            raise DataError(
                f"Expected a number in column '{name}', got {value!r}. Mend it, or leave it empty."
            ) from None
        if np.isinf(found[at]):
            raise DataError(f"Expected a finite number in column '{name}', got {value!r}. Mend it, or leave it empty.")
    return found
