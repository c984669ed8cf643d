"""image-segmentation: a class for every pixel of a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import BaseModel

from modelcommons.workbench.engine.split import divide
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.image import disturb
from modelcommons.workbench.fields.image import rows as reading
from modelcommons.workbench.fields.image.masks import figures as drawing
from modelcommons.workbench.fields.image.masks import metrics as measures
from modelcommons.workbench.fields.image.masks import pairs
from modelcommons.workbench.fields.image.masks.architectures import ARCHITECTURES
from modelcommons.workbench.fields.image.masks.otsu import Commonest, Otsu
from modelcommons.workbench.fields.image.masks.pairs import Options, Pairs
from modelcommons.workbench.task import Job, Json, Model, Parts, Reading, Row, Rows, Source, Split, Tiny, column_of

if TYPE_CHECKING:
    from modelcommons.workbench.fields.image.masks.explain import Explainer

CALIBRATION = 64  # pictures at most, for static quantisation
SIZES = ((128, "up to 127 pixels"), (256, "128-255"), (512, "256-511"), (1024, "512-1023"), (1 << 31, "1024 and more"))
SHARES = ((0.05, "0-5 %"), (0.1, "5-10 %"), (0.2, "10-20 %"), (0.4, "20-40 %"), (1.1, "40-100 %"))


class Segmentation:
    """Pictures in their own sizes; a U-Net, or an open model of the transformers library."""

    name = "image-segmentation"
    field = "image"
    summary = "a class for every pixel of a picture"
    roles: Mapping[str, str] = {
        "image": "pictures: their bytes, or paths of files beside the table",
        "mask": "a class for each pixel: the bytes of a picture of one channel, or its path",
        "id": "row ids; the row's place in its file when there are none",
        "group": "what must not be divided between train and test: patient, slide, scene",
        "time": "when a row came about, for `split.by: time`: the latest rows are the test",
    }
    options: type[BaseModel] = Options
    architectures: Mapping[str, type[BaseModel]] = ARCHITECTURES
    metrics = measures.METRICS
    open_models = ("image-segmentation",)
    quantization: Literal["dynamic", "static"] = "static"
    slices: Mapping[str, str] = {
        "size": "the shorter side of the picture, in pixels",
        "foreground": "share of the pixels that are of an object",
        "background": "whether the pixels of no object are dark or bright",
    }
    disturbances = disturb.DISTURBANCES

    # --- data ---

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        return pairs.read(source, columns, cast(Options, options))

    def split(self, reading: Reading, how: Split, options: BaseModel) -> Parts:
        parts = cast(Mapping[str, Pairs], reading.parts)
        timed = column_of("time", reading.columns) is not None
        return Parts(*divide(parts, how, times=Pairs.moments if timed else None))

    def read_input(self, value: Any, options: BaseModel) -> list[Row]:
        """A path, a folder, bytes, an array (height, width) or (height, width, 3) of bytes, a PIL image, or a list."""
        return reading.read_input(value)

    def target(self, row: Row) -> Json:
        return row.y.as_json()

    def content(self, row: Row) -> bytes:
        return reading.anymap(row.x)

    def slice(self, row: Row, name: str) -> str:
        inside = row.y.codes > 0
        match name:
            case "size":
                return next(words for limit, words in SIZES if min(inside.shape) < limit)
            case "foreground":
                return next(words for limit, words in SHARES if inside.mean() < limit)
            case _:
                outside = row.x[~inside] if not inside.all() else row.x
                return "dark" if outside.mean() < 128 else "bright"

    def disturb(self, row: Row, name: str) -> Row:
        return Row(row.id, disturb.disturb(row.x, name, row.id), row.y, row.group)

    # --- models ---

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        from modelcommons.workbench.fields.image.masks.fitting import fit

        return fit(cast(Pairs, train), cast(Pairs, validation), job)

    def load(self, folder: Path, variant: str = "") -> Model:
        from modelcommons.workbench.fields.image.masks.model import load

        return load(folder, variant)

    def files(self, folder: Path, variant: str = "") -> list[str]:
        from modelcommons.workbench.fields.image.masks.model import files

        return files(folder, variant)

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """Of two classes Otsu's threshold, which learns nothing; of more the class that most pixels have."""
        some = cast(Pairs, train)
        if len(some.labels) == 2:
            return "Otsu's threshold", Otsu(some.labels)
        counts = sum(np.bincount(row.y.codes.ravel(), minlength=len(some.labels)) for row in some)
        return "commonest class", Commonest(some.labels, int(np.argmax(counts)))

    # --- scores ---

    scores = staticmethod(measures.scores)
    losses = staticmethod(measures.losses)
    block = staticmethod(measures.block)
    changed = staticmethod(measures.changed)
    agrees = staticmethod(measures.agrees)
    figures = staticmethod(drawing.figures)

    # --- more ---

    def explainer(self, folder: Path) -> Explainer:
        from modelcommons.workbench.fields.image.masks.explain import Explainer
        from modelcommons.workbench.fields.image.masks.model import load

        return Explainer(load(folder))

    def export(self, folder: Path, out: Path) -> None:
        """ONNX: `pixel_values` (batch, channels, height, width), normalised, both sides multiples of 2 to the depth, ->
        `logits` (batch, classes, height, width); of an open model logits are as large as it makes them."""
        from modelcommons.workbench.engine.quantize import export
        from modelcommons.workbench.fields.image.classifier import logits_only
        from modelcommons.workbench.fields.image.masks.model import example, load

        model = load(folder)
        assert model.network is not None
        free = {0: "batch", 2: "height", 3: "width"}
        export(logits_only(model.network), {"pixel_values": example(model)}, ["logits"], {"pixel_values": free}, out)

    def calibration(self, folder: Path, rows: Rows) -> Iterator[dict[str, np.ndarray]]:
        from modelcommons.workbench.fields.image.masks.augment import colored
        from modelcommons.workbench.fields.image.masks.model import load

        model = load(folder)
        for at in range(0, len(rows), -(-len(rows) // CALIBRATION)):
            yield {"pixel_values": np.ascontiguousarray(model.inputs(colored(rows[at].x, model.channels)[None]))}

    def tiny(self, folder: Path) -> Tiny:
        """Bright discs under a light from one side, which no threshold finds."""
        from modelcommons.workbench.fields.image.masks.tiny import write

        example = write(folder)
        model = {"new": "unet", "options": {"width": 8, "depth": 1}}
        return Tiny(
            source=folder, recipe={"model": model, "tune": {"epochs": 9}},
            metric="iou", at_least=0.85, wrong_file="image,mask\nnowhere.png,nothere.png\nneither.png,nor.png\n",
            example=str(example),
        )  # fmt: skip


TASK = Segmentation()
