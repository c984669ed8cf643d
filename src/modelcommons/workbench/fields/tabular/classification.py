"""tabular-classification: which of a few labels a row of measurements has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import BaseModel

from modelcommons.workbench.engine import classification as engine
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.tabular import predictor
from modelcommons.workbench.fields.tabular import rows as reading
from modelcommons.workbench.fields.tabular.fitting import ARCHITECTURES, fit
from modelcommons.workbench.fields.tabular.rows import LABEL_NAMES, Options, Records
from modelcommons.workbench.task import Job, Json, Model, Parts, Reading, Row, Rows, Source, Split, Tiny

if TYPE_CHECKING:
    from modelcommons.workbench.fields.tabular.explain import Explainer


class Classification:
    """Numbers and categories, with empty cells; probabilities made honest on rows that were held out."""

    name = "tabular-classification"
    field = "tabular"
    summary = "which of a few labels a row of numbers and categories has"
    roles: Mapping[str, str] = {
        "label": "classes: words, or integers with or without names",
        "id": "row ids; the row's place in its file when there are none",
        "group": "what must not be divided between train and test: patient, customer, household",
        "time": "when a row came about, for `split.by: time`: the latest rows are the test",
    }
    options: type[BaseModel] = Options
    architectures: Mapping[str, type[BaseModel]] = ARCHITECTURES
    metrics = engine.METRICS
    open_models: tuple[str, ...] = ()
    quantization: Literal["dynamic", "static"] = "dynamic"
    slices: Mapping[str, str] = {"class": "the right label", "missing": "whether cells of the row are empty"}

    # --- data ---

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        return reading.read(source, columns, cast(Options, options), "label", LABEL_NAMES, reading.labels)

    def split(self, reading_: Reading, how: Split, options: BaseModel) -> Parts:
        return reading.split(reading_, how)

    def read_input(self, value: Any, options: BaseModel) -> list[Row]:
        """A row as a dictionary of cells by column, a list of such, JSON of either, or the path of a table."""
        return reading.read_input(value)

    def target(self, row: Row) -> Json:
        return row.y

    def content(self, row: Row) -> bytes:
        return reading.content(row)

    def label(self, row: Row) -> str:
        return str(row.y)

    def slice(self, row: Row, name: str) -> str:
        return str(row.y) if name == "class" else "some" if None in row.x.values() else "none"

    # --- models ---

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        return fit(self.name, cast(Records, train), cast(Records, validation), job)

    def load(self, folder: Path, variant: str = "") -> Model:
        return predictor.load(folder, variant)

    def files(self, folder: Path, variant: str = "") -> list[str]:
        return predictor.files(variant)

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """The most frequent label, with the class shares as probabilities."""
        return "majority class", engine.Majority.of(cast(Records, train).y)

    # --- scores ---

    scores = staticmethod(engine.scores)
    losses = staticmethod(engine.losses)
    block = staticmethod(engine.block)
    changed = staticmethod(engine.changed)
    agrees = staticmethod(engine.agrees)
    figures = staticmethod(engine.figures)

    # --- more ---

    def explainer(self, folder: Path) -> Explainer:
        from modelcommons.workbench.fields.tabular.explain import Explainer

        return Explainer(predictor.load(folder))

    def export(self, folder: Path, out: Path) -> None:
        """ONNX: `encoded` (batch, features) -> `outputs`: logits, or the target in units of its deviation."""
        predictor.export(folder, out)

    def calibration(self, folder: Path, rows: Rows) -> Iterator[dict[str, np.ndarray]]:
        """Not asked for: dynamic quantisation needs none."""
        return iter(())

    def tiny(self, folder: Path) -> Tiny:
        """Leaves of two plants that differ in length, and in colour where length is missing; width tells nothing."""
        rng = np.random.default_rng(7)
        lines = ["length,width,colour,label"]
        for number in range(300):
            plant = ("ash", "elm")[number % 2]
            length = "" if number % 7 == 0 else f"{rng.normal(4 + 3 * (number % 2), 0.8):.3f}"
            colour = ("green", "red")[number % 2] if rng.random() < 0.9 else "brown"
            lines.append(f"{length},{rng.normal(2, 0.5):.3f},{colour},{plant}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "leaves.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return Tiny(
            source=folder, recipe={"model": {"new": "linear"}, "tune": {"epochs": 2}}, metric="accuracy", at_least=0.95,
            wrong_file="length,width,label\n1,2,ash\n2,3,ash\n",
            example={"length": 7.1, "width": 2.0, "colour": "red"},
        )  # fmt: skip


TASK = Classification()
