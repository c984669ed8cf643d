"""image-classification: which of a few labels a picture has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import BaseModel

from modelcommons.workbench.engine import classification as engine
from modelcommons.workbench.engine.split import divide
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.image import disturb
from modelcommons.workbench.fields.image import rows as reading
from modelcommons.workbench.fields.image.architectures import ARCHITECTURES
from modelcommons.workbench.fields.image.rows import Options, Pictures
from modelcommons.workbench.task import Job, Json, Model, Parts, Reading, Row, Rows, Source, Split, Tiny, column_of

if TYPE_CHECKING:
    from modelcommons.workbench.fields.image.explain import Explainer

CALIBRATION = 512  # pictures at most, for static quantisation
BRIGHTNESS = ((64, "0-63 dark"), (128, "64-127"), (192, "128-191"), (256, "192-255 bright"))  # mean of all pixels


class Classification:
    """Pictures of one size, decoded once; a network of our own or an open model of the transformers library."""

    name = "image-classification"
    field = "image"
    summary = "which of a few labels a picture has"
    roles: Mapping[str, str] = {
        "image": "pictures: their bytes, or paths of files beside the table",
        "label": "classes: integers with or without names, or words",
        "id": "row ids; the row's place in its file when there are none",
        "group": "what must not be divided between train and test: patient, camera, series",
        "time": "when a row came about, for `split.by: time`: the latest rows are the test",
    }
    options: type[BaseModel] = Options
    architectures: Mapping[str, type[BaseModel]] = ARCHITECTURES
    metrics = engine.METRICS
    open_models = ("image-classification", "image-feature-extraction")
    quantization: Literal["dynamic", "static"] = "static"
    slices: Mapping[str, str] = {"class": "the right label", "brightness": "mean of all pixels, in four steps"}

    disturbances = disturb.DISTURBANCES

    # --- data ---

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        return reading.read(source, columns, cast(Options, options))

    def split(self, reading: Reading, how: Split, options: BaseModel) -> Parts:
        parts = cast(Mapping[str, Pictures], reading.parts)
        timed = column_of("time", reading.columns) is not None
        return Parts(*divide(parts, how, times=Pictures.moments if timed else None))

    def read_input(self, value: Any, options: BaseModel) -> list[Row]:
        """A path, a folder, bytes, an array (height, width) or (height, width, 3) of bytes, a PIL image, or a list."""
        return reading.read_input(value)

    def target(self, row: Row) -> Json:
        return row.y

    def content(self, row: Row) -> bytes:
        return reading.anymap(row.x)

    def label(self, row: Row) -> str:
        return str(row.y)

    def slice(self, row: Row, name: str) -> str:
        if name == "class":
            return str(row.y)
        mean = row.x.mean()
        return next(words for limit, words in BRIGHTNESS if mean < limit)

    def disturb(self, row: Row, name: str) -> Row:
        return Row(row.id, disturb.disturb(row.x, name, row.id), row.y, row.group)

    # --- models ---

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        from modelcommons.workbench.fields.image.fitting import fit

        return fit(cast(Pictures, train), cast(Pictures, validation), job)

    def load(self, folder: Path, variant: str = "") -> Model:
        from modelcommons.workbench.fields.image.classifier import load

        return load(folder, variant)

    def files(self, folder: Path, variant: str = "") -> list[str]:
        from modelcommons.workbench.fields.image.classifier import files

        return files(folder, variant)

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """The most frequent label, with the class shares as probabilities."""
        pictures = cast(Pictures, train)
        return "majority class", engine.Majority.of(pictures.labels[code] for code in pictures.codes.tolist())

    def join(self, folders: Mapping[str, Path], out: Path) -> None:
        from modelcommons.workbench.fields.image.together import join

        join(self.name, folders, out)

    # --- scores ---

    scores = staticmethod(engine.scores)
    losses = staticmethod(engine.losses)
    block = staticmethod(engine.block)
    changed = staticmethod(engine.changed)
    agrees = staticmethod(engine.agrees)
    figures = staticmethod(engine.figures)

    # --- more ---

    def explainer(self, folder: Path) -> Explainer:
        from modelcommons.workbench.fields.image.classifier import load
        from modelcommons.workbench.fields.image.explain import Explainer

        return Explainer(load(folder))

    def export(self, folder: Path, out: Path) -> None:
        """ONNX: `pixel_values` (batch, channels, height, width), normalised, -> `logits` (batch, labels)."""
        from modelcommons.workbench.engine.quantize import export
        from modelcommons.workbench.fields.image.classifier import example, load, logits_only

        model = load(folder)
        assert model.network is not None
        inputs = {"pixel_values": example(model)}
        export(logits_only(model.network), inputs, ["logits"], {"pixel_values": {0: "batch"}}, out)

    def calibration(self, folder: Path, rows: Rows) -> Iterator[dict[str, np.ndarray]]:
        from modelcommons.workbench.fields.image.classifier import load

        model, pictures = load(folder), cast(Pictures, rows)
        for at in range(0, len(pictures), max(1, len(pictures) // CALIBRATION)):
            inputs = model.inputs(pictures.pixels(np.array([at])))
            yield {"pixel_values": np.ascontiguousarray(inputs)}

    def tiny(self, folder: Path) -> Tiny:
        """Squares, crosses and stripes of any place, size and brightness, in noise."""
        from modelcommons.workbench.fields.image.tiny import write

        example = write(folder)
        return Tiny(
            source=folder, recipe={"model": {"new": "cnn", "options": {"widths": [16, 32]}}, "tune": {"epochs": 12}},
            metric="accuracy", at_least=0.9, wrong_file="image,label\nnowhere.png,cross\nnothere.png,square\n",
            example=str(example),
        )  # fmt: skip


TASK = Classification()
