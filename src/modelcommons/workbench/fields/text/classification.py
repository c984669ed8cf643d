"""text-classification: which of a few labels a text has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import BaseModel

from modelcommons.formats.tables import TableRows
from modelcommons.workbench.engine import classification as engine
from modelcommons.workbench.engine.split import divide
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.text import disturb
from modelcommons.workbench.fields.text import rows as reading
from modelcommons.workbench.fields.text.architectures import ARCHITECTURES
from modelcommons.workbench.fields.text.ngrams import WORD
from modelcommons.workbench.fields.text.rows import Options
from modelcommons.workbench.task import Job, Json, Model, Parts, Reading, Row, Rows, Source, Split, Tiny, column_of

if TYPE_CHECKING:
    from modelcommons.workbench.fields.text.explain import Explainer

LENGTHS = ((8, "1-8 words"), (16, "9-16 words"), (32, "17-32 words"), (64, "33-64 words"), (128, "65-128 words"))


class Classification:
    """Texts of any length and language; a network of our own or an open model of the transformers library."""

    name = "text-classification"
    field = "text"
    summary = "which of a few labels a text has"
    roles: Mapping[str, str] = {
        "text": "texts",
        "label": "classes: words, or integers with or without names",
        "id": "row ids; the row's place in its file when there are none",
        "group": "what must not be divided between train and test: author, thread, document",
        "time": "when a row came about, for `split.by: time`: the latest rows are the test",
    }
    options: type[BaseModel] = Options
    architectures: Mapping[str, type[BaseModel]] = ARCHITECTURES
    metrics = engine.METRICS
    open_models = ("text-classification", "fill-mask", "feature-extraction", "sentence-similarity")
    quantization: Literal["dynamic", "static"] = "dynamic"
    slices: Mapping[str, str] = {"class": "the right label", "length": "words of the text, in steps"}

    disturbances = disturb.DISTURBANCES

    # --- data ---

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        return reading.read(source, columns, cast(Options, options))

    def split(self, reading: Reading, how: Split, options: BaseModel) -> Parts:
        parts, column = cast(Mapping[str, TableRows[Row]], reading.parts), column_of("time", reading.columns)
        return Parts(*divide(parts, how, times=None if column is None else lambda rows: rows.moments(column)))

    def read_input(self, value: Any, options: BaseModel) -> list[Row]:
        """A text, a list of texts, or the path of a .txt file or of a table with a text column."""
        return reading.read_input(value)

    def target(self, row: Row) -> Json:
        return row.y

    def content(self, row: Row) -> str:
        return str(row.x)

    def label(self, row: Row) -> str:
        return str(row.y)

    def slice(self, row: Row, name: str) -> str:
        if name == "class":
            return str(row.y)
        count = sum(1 for _ in WORD.finditer(row.x))
        return next((words for limit, words in LENGTHS if count <= limit), "over 128 words")

    def disturb(self, row: Row, name: str) -> Row:
        return Row(row.id, disturb.disturb(row.x, name, row.id), row.y, row.group)

    # --- models ---

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        from modelcommons.workbench.fields.text.fitting import fit

        return fit(train, validation, job)

    def load(self, folder: Path, variant: str = "") -> Model:
        from modelcommons.workbench.fields.text.classifier import load

        return load(folder, variant)

    def files(self, folder: Path, variant: str = "") -> list[str]:
        from modelcommons.workbench.fields.text.classifier import files

        return files(folder, variant)

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """The most frequent label, with the class shares as probabilities."""
        return "majority class", engine.Majority.of(train[index].y for index in range(len(train)))

    # --- scores ---

    scores = staticmethod(engine.scores)
    losses = staticmethod(engine.losses)
    block = staticmethod(engine.block)
    changed = staticmethod(engine.changed)
    agrees = staticmethod(engine.agrees)
    figures = staticmethod(engine.figures)

    # --- more ---

    def explainer(self, folder: Path) -> Explainer:
        from modelcommons.workbench.fields.text.classifier import load
        from modelcommons.workbench.fields.text.explain import Explainer

        return Explainer(load(folder))

    def export(self, folder: Path, out: Path) -> None:
        """ONNX: `input_ids` (batch, time) and `attention_mask` or, for a bag, `weights` -> `logits` (batch, labels)."""
        import torch

        from modelcommons.formats.model_folder import read_config
        from modelcommons.workbench.engine.quantize import export
        from modelcommons.workbench.fields.text.classifier import exportable, load_network

        config = read_config(folder)
        own = str(config.get("architecture", ""))
        ids = torch.tensor([[1, 2, 3], [4, 5, 0]])
        second = ("weights", torch.full((2, 3), 0.5)) if own == "bag" else ("attention_mask", (ids > 0).long())
        inputs = {"input_ids": ids, second[0]: second[1]}
        free = {name: {0: "batch", 1: "time"} for name in inputs}
        export(exportable(load_network(folder, config), own), inputs, ["logits"], free, out, traced=own == "rnn")

    def calibration(self, folder: Path, rows: Rows) -> Iterator[dict[str, np.ndarray]]:
        """Not asked for: dynamic quantisation needs none."""
        return iter(())

    def tiny(self, folder: Path) -> Tiny:
        """Short notes about animals, ships or stars; one telling word each, among others that tell nothing."""
        rng = np.random.default_rng(7)
        telling = {
            "animal": ["cat", "dog", "horse", "owl", "fox"],
            "ship": ["sail", "anchor", "mast", "harbour", "keel"],
            "star": ["orbit", "comet", "galaxy", "nebula", "moon"],
        }
        filler = re.findall(r"\w+", "we saw it again today near the old road and wrote down what there was to see of")
        lines = ["text,label"]
        for number in range(360):
            label = list(telling)[number % 3]
            words = [*rng.choice(filler, 6).tolist(), str(rng.choice(telling[label]))]
            rng.shuffle(words)
            lines.append(f"{' '.join(words)} {number},{label}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "notes.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        options = {"width": 16, "buckets": 4096, "characters": 3}
        return Tiny(
            source=folder, recipe={"model": {"new": "bag", "options": options}, "tune": {"epochs": 12}},
            metric="accuracy", at_least=0.95, wrong_file="text,label\nonly one,class\nonly one too,class\n",
            example="an old owl near the road",
        )  # fmt: skip


TASK = Classification()
