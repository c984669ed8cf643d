"""what translation and text2text-generation have in common: everything but their scores and their tiny worlds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np
from pydantic import BaseModel

from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.text import disturb
from modelcommons.workbench.fields.text.ngrams import WORD
from modelcommons.workbench.fields.text.sequences import lines as stored
from modelcommons.workbench.fields.text.sequences import pairs
from modelcommons.workbench.fields.text.sequences.architectures import ARCHITECTURES
from modelcommons.workbench.fields.text.sequences.figures import figure
from modelcommons.workbench.fields.text.sequences.memory import MEMORY
from modelcommons.workbench.fields.text.sequences.nearest import NAME, Nearest
from modelcommons.workbench.fields.text.sequences.pairs import Known
from modelcommons.workbench.task import Job, Json, Line, Metric, Model, Parts, Reading, Row, Rows, Score, Split

if TYPE_CHECKING:
    from modelcommons.workbench.fields.text.sequences.explain import Explainer

LENGTHS = ((4, "1-4 words"), (8, "5-8 words"), (16, "9-16 words"), (32, "17-32 words"))


class Measures(Protocol):
    """A module that scores stored lines."""

    @property
    def METRICS(self) -> tuple[Metric, ...]: ...
    def scores(self, lines: Sequence[Line], seed: int = 0) -> list[Score]: ...
    def losses(self, lines: Sequence[Line]) -> np.ndarray: ...
    def value(self, lines: Sequence[Line]) -> float:
        """The main metric alone, quickly: checkpoints are chosen by it."""


class SequenceTask:
    """Texts into texts, by a network of our own or an open encoder-decoder of transformers."""

    name: str
    field = "text"
    roles: Mapping[str, str] = {
        "source": "texts to be turned into others",
        "target": "what they are turned into; a list where several are right",
        "pair": "both by language, {en: ..., zh: ...}; see `data.options.languages`",
        "id": "names of the rows; their place in the file when there are none",
        "group": "what must not be divided between train and test, for `split.by: group`",
    }
    architectures: Mapping[str, type[BaseModel]] = ARCHITECTURES
    measures: Measures
    slices: Mapping[str, str] = {
        "length": "words of the source, in steps",
        "references": "how many targets are known",
        "group": "the row's group",
    }
    disturbances: Mapping[str, str] = disturb.DISTURBANCES

    # --- data ---

    def split(self, reading: Reading, how: Split, options: BaseModel) -> Parts:
        return pairs.split(reading, how)

    def read_input(self, value: Any, options: BaseModel) -> list[Row]:
        """A text, `{"text": ...}`, a list of such, a .txt file with a text each line, or a table with sources."""
        return pairs.read_input(value)

    def target(self, row: Row) -> Json:
        """Every target known, and how sacreBLEU cuts them into words."""
        known = cast(Known, row.y)
        return {"references": list(known.texts), "tokenize": known.tokenize}

    def content(self, row: Row) -> str:
        """The source: one that stands in train and in the test is a leak, whatever it is turned into."""
        return str(row.x)

    def slice(self, row: Row, name: str) -> str:
        if name == "group":
            return row.group or "none"
        if name == "references":
            count = len(row.y.texts)
            return f"{count} known" if count < 4 else "4 known and more"
        count = sum(1 for _ in WORD.finditer(row.x))
        return next((words for limit, words in LENGTHS if count <= limit), "33 words and more")

    def disturb(self, row: Row, name: str) -> Row:
        return Row(row.id, disturb.disturb(row.x, name, row.id), row.y, row.group)

    # --- models ---

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        from modelcommons.workbench.fields.text.sequences.fitting import Judge, fit

        main = self.measures.METRICS[0]
        judge = Judge(self.name, main.name, main.high, self.measures.value, self.target)
        return fit(train, validation, job, judge)

    def load(self, folder: Path, variant: str = "") -> Model:
        from modelcommons.workbench.fields.text.sequences.model import load

        return load(folder, variant)

    def files(self, folder: Path, variant: str = "") -> list[str]:
        from modelcommons.workbench.fields.text.sequences.model import files

        return files(folder, variant)

    def carried(self, folder: Path) -> list[str]:
        """The training pairs, where the model answers by them."""
        return [MEMORY] if (folder / MEMORY).is_file() else []

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """The target of the training source that is most like the one asked about."""
        return NAME, Nearest(train)

    # --- scores ---

    def scores(self, lines: Sequence[Line], seed: int = 0) -> list[Score]:
        return self.measures.scores(lines, seed)

    def losses(self, lines: Sequence[Line]) -> np.ndarray:
        return self.measures.losses(lines)

    block = staticmethod(stored.block)
    changed = staticmethod(stored.changed)
    agrees = staticmethod(stored.agrees)

    def figures(self, lines: Sequence[Line], language: Literal["en", "zh"] = "en") -> list[tuple[str, str]]:
        return figure(self.losses(lines), language)

    # --- more ---

    def explainer(self, folder: Path) -> Explainer:
        from modelcommons.workbench.fields.text.sequences.explain import Explainer
        from modelcommons.workbench.fields.text.sequences.model import load

        return Explainer(load(folder))
