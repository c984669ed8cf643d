"""memory: training pairs that a model keeps beside its weights, and looks into for those most like what it reads.

Source: Bulté & Tezcan, Neural Fuzzy Repair: Integrating Fuzzy Matches into Neural Machine Translation (2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modelcommons.errors import FormatError
from modelcommons.workbench.fields.text.sequences.nearest import Alike
from modelcommons.workbench.task import Rows

MEMORY = "memory.parquet"  # columns `source` and `target`, a row for each training source


class Neighbour(NamedTuple):
    source: str
    target: str
    likeness: float  # to the text asked about, 0 to 1: cosine


class PairMemory:
    """Every training source with the first of its targets."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self.pairs = pairs
        self._alike = Alike([source for source, _ in pairs])

    @classmethod
    def of(cls, train: Rows) -> PairMemory:
        rows = (train[at] for at in range(len(train)))
        return cls([(row.x, row.y.texts[0]) for row in rows])

    @classmethod
    def read(cls, folder: Path) -> PairMemory:
        """Raises: FormatError: the file is missing or damaged, or holds something else."""
        path = folder / MEMORY
        try:
            table = pq.read_table(path)
            pairs = list(zip(*(table[name].to_pylist() for name in ("source", "target")), strict=True))
        except (OSError, KeyError, pa.ArrowException) as error:
            raise _damaged(path, str(error)) from error
        if not pairs or not all(isinstance(text, str) for pair in pairs for text in pair):
            raise _damaged(path, "there are none, or one lacks a text")
        return cls(pairs)

    def write(self, folder: Path) -> None:
        sources, targets = zip(*self.pairs, strict=True)
        pq.write_table(pa.table({"source": sources, "target": targets}), folder / MEMORY, compression="zstd")

    def find(self, text: str, count: int) -> list[Neighbour]:
        """The pairs whose sources are most like a text, the most alike first."""
        ((places, likeness),) = self._alike.find([text], count)
        some = zip(places.tolist(), likeness.tolist(), strict=True)
        return [Neighbour(self.pairs[at][0], self.pairs[at][1], like) for at, like in some]

    def neighbours(self, count: int, groups: Sequence[str | None]) -> list[np.ndarray]:
        """Where those of each pair of the memory stand, which is not its own neighbour: it would be given its answer.

        Args:
            groups: of each pair; none of its own group is its neighbour either, since a test's groups may be new.
        """
        kin: dict[str, list[int]] = {}
        for at, group in enumerate(groups):
            kin.setdefault(group or "", []).append(at)
        but = [kin[group] if group else [at] for at, group in enumerate(groups)]
        return [places for places, _ in self._alike.find([source for source, _ in self.pairs], count, but)]


def _damaged(path: Path, why: str) -> FormatError:
    return FormatError(f"Expected the training pairs of a model in {path}: {why:.200}. Get the model again.")
