"""memory: the training pairs, kept beside a model's weights, so that what is nearly known need not be written anew.

Source: the fuzzy matches of translators' memories; Bulté & Tezcan, Neural Fuzzy Repair: Integrating Fuzzy Matches into
Neural Machine Translation (2019), whose network also reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelcommons.errors import FormatError
from modelcommons.workbench.fields.text.sequences.nearest import Alike
from modelcommons.workbench.task import Rows

MEMORY = "memory.parquet"  # columns `source` and `target`, a row for each training source


@dataclass(frozen=True, slots=True)
class Neighbour:
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
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = folder / MEMORY
        try:
            table = pq.read_table(path)
            pairs = list(zip(*(table[name].to_pylist() for name in ("source", "target")), strict=True))
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise _damaged(path, str(error)) from error
        if not pairs or not all(isinstance(text, str) for pair in pairs for text in pair):
            raise _damaged(path, "there are none, or one lacks a text")
        return cls(pairs)

    def write(self, folder: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        sources, targets = zip(*self.pairs, strict=True)
        pq.write_table(pa.table({"source": sources, "target": targets}), folder / MEMORY, compression="zstd")

    def nearest(self, texts: Sequence[str]) -> list[Neighbour]:
        """The pair whose source is most like each text, the first of equal ones."""
        return [Neighbour(self.pairs[at][0], self.pairs[at][1], like) for at, like in self._alike.nearest(texts)]


def _damaged(path: Path, why: str) -> FormatError:
    return FormatError(f"Expected the training pairs of a model in {path}: {why:.200}. Get the model again.")
