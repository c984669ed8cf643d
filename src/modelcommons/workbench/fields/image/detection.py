"""object-detection: boxes around the things on a picture, each with its class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import BaseModel

from modelcommons.errors import UsageError
from modelcommons.workbench.engine.split import divide
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.image import disturb
from modelcommons.workbench.fields.image import rows as reading
from modelcommons.workbench.fields.image.boxes import asked, scenes
from modelcommons.workbench.fields.image.boxes import figures as drawing
from modelcommons.workbench.fields.image.boxes import metrics as measures
from modelcommons.workbench.fields.image.boxes.architectures import ARCHITECTURES
from modelcommons.workbench.fields.image.boxes.commonest import Commonest, common_boxes
from modelcommons.workbench.fields.image.boxes.scenes import Options, Scenes
from modelcommons.workbench.task import Job, Json, Model, Parts, Reading, Row, Rows, Source, Split, Tiny, column_of

if TYPE_CHECKING:
    from modelcommons.workbench.fields.image.boxes.explain import Explainer

CALIBRATION = 64  # pictures at most, for static quantisation
COUNTS = ((0, "0"), (5, "1-5"), (10, "6-10"), (20, "11-20"), (1 << 31, "21 and more"))
AREAS = ((32**2, "small"), (96**2, "medium"), (1 << 62, "large"))  # pixels, as COCO divides them


class Detection:
    """Pictures in their own sizes; a single-stage detector, or an open model of the transformers library."""

    name = "object-detection"
    field = "image"
    summary = "boxes around the things on a picture, each with its class"
    roles: Mapping[str, str] = {
        "image": "pictures: their bytes, or paths of files beside the table",
        "objects": "what is on each: `bbox`, a list of [x, y, width, height] in pixels, and `categories`",
        "boxes": "boxes alone: a list of [x, y, width, height] for each picture",
        "label": "the class of each box, as names or numbers: a list for each picture",
        "id": "row ids; the row's place in its file when there are none",
        "group": "what must not be divided between train and test: patient, slide, scene",
        "time": "when a row came about, for `split.by: time`: the latest rows are the test",
    }
    options: type[BaseModel] = Options
    architectures: Mapping[str, type[BaseModel]] = ARCHITECTURES
    metrics = measures.METRICS
    open_models = ("object-detection",)
    quantization: Literal["dynamic", "static"] = "static"
    slices: Mapping[str, str] = {
        "objects": "how many things are on the picture",
        "size": "the median area of its boxes in COCO's classes: small below 32 x 32 pixels, large from 96 x 96",
    }
    disturbances = disturb.DISTURBANCES

    # --- data ---

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        return scenes.read(source, columns, cast(Options, options))

    def split(self, reading: Reading, how: Split, options: BaseModel) -> Parts:
        parts = cast(Mapping[str, Scenes], reading.parts)
        timed = column_of("time", reading.columns) is not None
        return Parts(*divide(parts, how, times=Scenes.moments if timed else None))

    def read_input(self, value: Any, options: BaseModel) -> list[Row]:
        """A path, a folder, bytes, an array (height, width) or (height, width, 3) of bytes, a PIL image, or a list;
        with `{"image": ..., "score": 0.5}` boxes below a score are left out."""
        return asked.read_input(value)

    def target(self, row: Row) -> Json:
        return row.y.as_json()

    def content(self, row: Row) -> bytes:
        return reading.anymap(row.x)

    def slice(self, row: Row, name: str) -> str:
        if name == "objects":
            return next(words for limit, words in COUNTS if len(row.y.codes) <= limit)
        if not len(row.y.codes):
            return "none"
        area = float(np.median(row.y.boxes[:, 2:].prod(axis=1)))
        return next(words for limit, words in AREAS if area < limit)

    def disturb(self, row: Row, name: str) -> Row:
        return Row(row.id, disturb.disturb(row.x, name, row.id), row.y, row.group)

    # --- models ---

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        from modelcommons.workbench.fields.image.boxes.fitting import fit_new
        from modelcommons.workbench.fields.image.boxes.open_fitting import fit_open

        fit = fit_new if job.choice.is_new else fit_open
        return fit(cast(Scenes, train), cast(Scenes, validation), job)

    def load(self, folder: Path, variant: str = "") -> Model:
        from modelcommons.workbench.fields.image.boxes.model import load

        return load(folder, variant)

    def files(self, folder: Path, variant: str = "") -> list[str]:
        from modelcommons.workbench.fields.image.boxes.model import files

        return files(folder, variant)

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """The same boxes on every picture: where most training pictures have one, class by class."""
        some = cast(Scenes, train)
        return "commonest boxes", Commonest(some.labels, common_boxes(some.objects()))

    # --- scores ---

    scores = staticmethod(measures.scores)
    losses = staticmethod(measures.losses)
    block = staticmethod(measures.block)
    changed = staticmethod(measures.changed)
    agrees = staticmethod(measures.agrees)
    figures = staticmethod(drawing.figures)

    # --- more ---

    def explainer(self, folder: Path) -> Explainer:
        from modelcommons.workbench.fields.image.boxes.explain import Explainer
        from modelcommons.workbench.fields.image.boxes.model import load

        return Explainer(load(folder))

    def export(self, folder: Path, out: Path) -> None:
        """ONNX of a `yolo`: `pixel_values` (batch, 3, height, width), normalised, of the size that config.json has, ->
        `logits` (batch, places, classes) and `sides` (batch, places, 4): logarithms of the distances of each place to
        the box's left, top, right and bottom, in strides. What overlaps is left out by the workbench.

        Raises:
            UsageError: it is another model.
        """
        from modelcommons.workbench.engine.cnn import fused
        from modelcommons.workbench.engine.quantize import export
        from modelcommons.workbench.fields.image.boxes.model import example, load
        from modelcommons.workbench.fields.image.boxes.yolo import Yolo

        model = load(folder)
        if not isinstance(model.network, Yolo):
            raise UsageError("a detector other than `yolo` has no export yet")
        inputs, free = {"pixel_values": example(model)}, {"pixel_values": {0: "batch"}}
        export(fused(model.network), inputs, ["logits", "sides"], free, out)

    def calibration(self, folder: Path, rows: Rows) -> Iterator[dict[str, np.ndarray]]:
        from modelcommons.workbench.fields.image.boxes.model import load

        canvas = load(folder).canvas
        assert canvas is not None  # there is an export
        for at in range(0, len(rows), -(-len(rows) // CALIBRATION)):
            picture = rows[at].x
            laid = canvas.laid(picture, canvas.scale(*picture.shape[:2]))
            yield {"pixel_values": np.ascontiguousarray(canvas.inputs([laid]))}

    def tiny(self, folder: Path) -> Tiny:
        """Bright squares and dark discs on a grey ground."""
        from modelcommons.workbench.fields.image.boxes.tiny import write

        example = write(folder)
        model = {"new": "yolo", "options": {"width": 4, "depth": 0}}
        return Tiny(
            source=folder / "metadata.jsonl", recipe={"model": model, "tune": {"epochs": 0.5, "learning_rate": 0.008}},
            metric="map_50", at_least=0.6, wrong_file="file_name,objects\nnowhere.png,nothing\n",
            example=str(example),
        )  # fmt: skip


TASK = Detection()
