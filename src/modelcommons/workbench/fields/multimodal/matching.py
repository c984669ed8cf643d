"""image-text-matching: the texts that belong to a picture, and the pictures that belong to a text, among many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import BaseModel

from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.multimodal import metrics as measures
from modelcommons.workbench.fields.multimodal import pairs
from modelcommons.workbench.fields.multimodal.architectures import ARCHITECTURES
from modelcommons.workbench.fields.multimodal.figures import figures
from modelcommons.workbench.fields.multimodal.nearest import WORD, Nearest
from modelcommons.workbench.fields.multimodal.pairs import Asked, Options, Pairs
from modelcommons.workbench.fields.multimodal.ranking import Ranker
from modelcommons.workbench.task import Job, Json, Model, Parts, Reading, Row, Rows, Source, Split, Tiny

if TYPE_CHECKING:
    from modelcommons.workbench.fields.multimodal.explain import Explainer

CALIBRATION = 256  # pairs at most, for static quantisation
LENGTHS = ((2, "1-2 words"), (4, "3-4 words"), (8, "5-8 words"), (16, "9-16 words"))


class Matching:
    """Pictures and texts as vectors that can be compared: two small towers, or an open model such as CLIP."""

    name = "image-text-matching"
    field = "multimodal"
    summary = "the texts that belong to a picture, and the pictures that belong to a text, among many"
    roles: Mapping[str, str] = {
        "image": "pictures: their bytes, or paths of files beside the table",
        "text": "what belongs to each picture: a text, or a list of words; one row for each text of a picture",
        "id": "row ids; the row's place in its file when there are none",
        "group": "what must not be divided between train and test; the picture itself when not given",
        "category": "what kind of thing it is, for the slice of that name",
        "time": "when a row came about, for `split.by: time`: the latest rows are the test",
    }
    options: type[BaseModel] = Options
    architectures: Mapping[str, type[BaseModel]] = ARCHITECTURES
    metrics = measures.METRICS
    open_models = ("zero-shot-image-classification",)
    quantization: Literal["dynamic", "static"] = "static"
    slices: Mapping[str, str] = {"category": "as the column of that role says", "words": "how many the text has"}

    # --- data ---

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        return pairs.read(source, columns, cast(Options, options))

    def split(self, reading: Reading, how: Split, options: BaseModel) -> Parts:
        return pairs.split(reading, how)

    def read_input(self, value: Any, options: BaseModel) -> list[Row]:
        """`{"text": ..., "images": [...]}` or `{"image": ..., "texts": [...]}`, as values or as JSON, or a list of
        such; `images` may be a folder."""
        return pairs.read_input(value)

    def target(self, row: Row) -> Json:
        """The text, which picture it belongs to, and how many candidates there were."""
        asked = cast(Asked, row.x)
        gallery = asked.gallery
        return {
            "text": row.y,
            "image": gallery.picture_ids[cast(int, asked.picture)],
            "candidates": {"texts": len(gallery.texts), "images": len(gallery.pictures)},
        }

    def content(self, row: Row) -> bytes:
        """Text and pixels: rows are the same when both are."""
        picture = row.x.gallery.pictures[row.x.picture]
        return b"\0".join([b"", str(row.y).encode("utf-8", "surrogatepass"), picture.tobytes()])

    def slice(self, row: Row, name: str) -> str:
        if name == "category":
            return row.x.category or "not given"
        count = len(WORD.findall(row.y))
        return next((words for limit, words in LENGTHS if count <= limit), "17 and more words")

    # --- models ---

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        from modelcommons.workbench.fields.multimodal.fitting import fit

        return fit(cast(Pairs, train), cast(Pairs, validation), job)

    def load(self, folder: Path, variant: str = "") -> Model:
        from modelcommons.workbench.fields.multimodal.matcher import load

        return load(folder, variant)

    def files(self, folder: Path, variant: str = "") -> list[str]:
        from modelcommons.workbench.fields.multimodal.matcher import files

        return files(folder, variant)

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """The words of the ten training pictures of most alike colours."""
        return "words of the nearest colours", Ranker(Nearest(cast(Pairs, train)))

    # --- scores ---

    scores = staticmethod(measures.scores)
    losses = staticmethod(measures.losses)
    block = staticmethod(measures.block)
    changed = staticmethod(measures.changed)
    agrees = staticmethod(measures.agrees)
    figures = staticmethod(figures)

    # --- more ---

    def explainer(self, folder: Path) -> Explainer:
        from modelcommons.workbench.fields.multimodal.explain import Explainer
        from modelcommons.workbench.fields.multimodal.matcher import load_vectors

        return Explainer(load_vectors(folder))

    def export(self, folder: Path, out: Path) -> None:
        """ONNX: `pixel_values` (images, channels, height, width), `input_ids` and `attention_mask` (texts, time) ->
        `image_embeds` (images, width), `text_embeds` (texts, width), of length one."""
        import torch

        from modelcommons.formats.model_folder import read_config
        from modelcommons.formats.preprocess import read_preprocess
        from modelcommons.workbench.engine.quantize import export
        from modelcommons.workbench.fields.multimodal.matcher import load_network, load_vectors
        from modelcommons.workbench.fields.multimodal.towers import Both

        vectors, config = load_vectors(folder), read_config(folder)
        shape = vectors.preprocess.shape
        inputs = {
            "pixel_values": vectors.pixel_values(np.zeros((2, *shape.dimensions), np.uint8)),
            **vectors.pieces(["one text", "another longer text", "a third"]),
        }
        free = {"pixel_values": {0: "images"}, "input_ids": {0: "texts"}, "attention_mask": {0: "texts"}}
        if config["model_type"] == "modelcommons":
            free = {**free, "input_ids": {0: "texts", 1: "time"}, "attention_mask": {0: "texts", 1: "time"}}
        network = Both(load_network(folder, config, read_preprocess(config, folder)))
        made = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()}
        export(network, made, ["image_embeds", "text_embeds"], free, out)

    def calibration(self, folder: Path, rows: Rows) -> Iterator[dict[str, np.ndarray]]:
        from modelcommons.workbench.fields.multimodal.matcher import load_vectors

        vectors, known = load_vectors(folder), cast(Pairs, rows)
        texts = known.texts()
        for at in range(0, len(known), max(1, len(known) // CALIBRATION)):
            values = vectors.pixel_values(vectors.fitted(list(known.pixels(np.array([at])))))
            yield {"pixel_values": np.ascontiguousarray(values), **vectors.pieces([texts[at]])}

    def tiny(self, folder: Path) -> Tiny:
        """Twelve kinds of coloured shapes: a correct task tells all of them apart."""
        from modelcommons.workbench.fields.multimodal.tiny import write

        example = write(folder)
        options = {"widths": [16, 32], "width": 32, "vocabulary": 80, "dropout": 0, "word_dropout": 0}
        recipe = {
            "model": {"new": "two-tower", "options": options},
            "data": {"columns": {"category": "shape"}},
            "tune": {"epochs": 10, "batch_size": 16},
        }
        return Tiny(
            source=folder, recipe=recipe, metric="mean_recall", at_least=0.95,
            wrong_file="file_name,text\nnowhere.png,red square\nnothere.png,blue cross\n", example=example,
        )  # fmt: skip


TASK = Matching()
