"""tabular-regression: a number for a row of measurements, with an interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import BaseModel

from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.tabular import predictor
from modelcommons.workbench.fields.tabular import rows as reading
from modelcommons.workbench.fields.tabular.fitting import ARCHITECTURES, conformal, fit
from modelcommons.workbench.fields.tabular.metrics import METRICS, agrees, block, changed, losses, rounded, scores
from modelcommons.workbench.fields.tabular.rows import TARGET_NAMES, Records, RegressionOptions
from modelcommons.workbench.task import Answer, Job, Json, Model, Parts, Reading, Row, Rows, Source, Split, Tiny

if TYPE_CHECKING:
    from modelcommons.workbench.fields.tabular.explain import Explainer


@dataclass
class Mean:
    """The floor: gives every row the mean of the training rows, with the interval of their distances from it."""

    answer: Answer
    labels: Sequence[str] = ()

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        return [self.answer] * len(rows)


class Regression:
    """Numbers and categories, with empty cells; intervals made from rows that were held out."""

    name = "tabular-regression"
    field = "tabular"
    summary = "a number for a row of numbers and categories, with an interval that holds a stated share"
    roles: Mapping[str, str] = {
        "target": "the number to foretell",
        "id": "row ids; the row's place in its file when there are none",
        "group": "what must not be divided between train and test: patient, customer, household",
        "time": "when a row came about, for `split.by: time`: the latest rows are the test",
    }
    options: type[BaseModel] = RegressionOptions
    architectures: Mapping[str, type[BaseModel]] = ARCHITECTURES
    metrics = METRICS
    open_models: tuple[str, ...] = ()
    quantization: Literal["dynamic", "static"] = "dynamic"
    slices: Mapping[str, str] = {"missing": "whether cells of the row are empty"}

    # --- data ---

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        return reading.read(source, columns, cast(RegressionOptions, options), "target", TARGET_NAMES, reading.targets)

    def split(self, reading_: Reading, how: Split, options: BaseModel) -> Parts:
        return reading.split(reading_, how)

    def read_input(self, value: Any, options: BaseModel) -> list[Row]:
        """A row as a dictionary of cells by column, a list of such, JSON of either, or the path of a table."""
        return reading.read_input(value)

    def target(self, row: Row) -> Json:
        return rounded(row.y)

    def content(self, row: Row) -> bytes:
        return reading.content(row)

    def slice(self, row: Row, name: str) -> str:
        return "some" if None in row.x.values() else "none"

    # --- models ---

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        return fit(self.name, cast(Records, train), cast(Records, validation), job)

    def load(self, folder: Path, variant: str = "") -> Model:
        return predictor.load(folder, variant)

    def files(self, folder: Path, variant: str = "") -> list[str]:
        return predictor.files(variant)

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """The mean of the training rows."""
        y = np.array(cast(Records, train).y, np.float64)
        mean = float(y.mean())
        low, high = conformal(y - mean, cast(RegressionOptions, options).interval)
        return "mean", Mean(
            {"prediction": {"mean": rounded(mean), "low": rounded(mean + low), "high": rounded(mean + high)}}
        )

    # --- scores ---

    scores = staticmethod(scores)
    losses = staticmethod(losses)
    block = staticmethod(block)
    changed = staticmethod(changed)
    agrees = staticmethod(agrees)

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
        """A sum of two columns with noise of deviation 0.5, which nothing can foretell better than; a third is idle."""
        rng = np.random.default_rng(7)
        lines = ["a,b,c,kind,target"]
        for _ in range(400):
            a, b, c = rng.normal(size=3)
            kind = ("plain", "extra")[int(rng.integers(2))]
            lines.append(
                f"{a:.4f},{b:.4f},{c:.4f},{kind},{10 + 3 * a - b + 2 * (kind == 'extra') + rng.normal(0, 0.5):.4f}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sums.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return Tiny(
            source=folder, recipe={"model": {"new": "linear"}, "tune": {"epochs": 2}}, metric="rmse", at_least=0.6,
            wrong_file="a,b,target\n1,2,high\n", example={"a": 1.0, "b": 0.0, "c": 0.0, "kind": "plain"},
        )  # fmt: skip


TASK = Regression()
