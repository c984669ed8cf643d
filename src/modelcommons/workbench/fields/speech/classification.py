"""audio-classification: which of a few labels a recording has: a keyword, a voice, a sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import BaseModel

from modelcommons.workbench.engine import classification as engine
from modelcommons.workbench.engine.split import divide
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.speech import disturb
from modelcommons.workbench.fields.speech import rows as reading
from modelcommons.workbench.fields.speech.architectures import CLASSIFIERS
from modelcommons.workbench.fields.speech.options import ClassificationOptions
from modelcommons.workbench.fields.speech.rows import Clips
from modelcommons.workbench.task import Job, Json, Model, Parts, Reading, Row, Rows, Source, Split, Tiny, column_of

if TYPE_CHECKING:
    from modelcommons.workbench.fields.speech.explain import Explainer

CALIBRATION = 256  # recordings at most, for static quantisation
DURATIONS = ((0.25, "under 0.25 s"), (0.5, "0.25-0.5 s"), (1.0, "0.5-1 s"), (4.0, "1-4 s"))


class Classification:
    """Recordings, decoded once; a network of our own over log-mel features, or an open model of transformers."""

    name = "audio-classification"
    field = "speech"
    summary = "which of a few labels a recording has: a keyword, a voice, a sound"
    roles: Mapping[str, str] = {
        "audio": "recordings: their bytes (WAV, FLAC, OGG), or paths of files beside the table",
        "label": "classes: integers with or without names, or words",
        "id": "row ids; the row's place in its file when there are none",
        "group": "what must not be divided between train and test: a column named speaker where none is given",
        "time": "when a row came about, for `split.by: time`: the latest rows are the test",
    }
    options: type[BaseModel] = ClassificationOptions
    architectures: Mapping[str, type[BaseModel]] = CLASSIFIERS
    metrics = engine.METRICS
    open_models = ("audio-classification",)
    quantization: Literal["dynamic", "static"] = "static"
    slices: Mapping[str, str] = {
        "class": "the right label",
        "duration": "length of the recording, in five steps",
        "speaker": "the row's group",
    }
    disturbances = disturb.DISTURBANCES

    # --- data ---

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        return reading.read(source, columns, cast(ClassificationOptions, options).rate, "label")

    def split(self, reading: Reading, how: Split, options: BaseModel) -> Parts:
        parts = cast(Mapping[str, Clips], reading.parts)
        timed = column_of("time", reading.columns) is not None
        return Parts(*divide(parts, how, times=Clips.moments if timed else None))

    def read_input(self, value: Any, options: BaseModel) -> list[Row]:
        """A path, a folder, bytes, `{"array": ..., "sampling_rate": ...}`, or a list of such."""
        return reading.read_input(value)

    def target(self, row: Row) -> Json:
        return row.y

    def content(self, row: Row) -> bytes:
        """The decoded samples, so that two files of the same sound are the same."""
        return bytes(row.x.content())

    def label(self, row: Row) -> str:
        return str(row.y)

    def slice(self, row: Row, name: str) -> str:
        match name:
            case "class":
                return str(row.y)
            case "speaker":
                return row.group or "unknown"
            case _:
                return next((words for limit, words in DURATIONS if row.x.seconds < limit), "4 s and more")

    def disturb(self, row: Row, name: str) -> Row:
        return Row(row.id, disturb.disturb(row.x, name, row.id), row.y, row.group)

    # --- models ---

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        from modelcommons.workbench.fields.speech.fitting import fit

        return fit(cast(Clips, train), cast(Clips, validation), job)

    def load(self, folder: Path, variant: str = "") -> Model:
        from modelcommons.workbench.fields.speech.classifier import load

        return load(folder, variant)

    def files(self, folder: Path, variant: str = "") -> list[str]:
        from modelcommons.workbench.fields.speech.classifier import files

        return files(folder, variant)

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """The most frequent label, with the class shares as probabilities."""
        return "majority class", engine.Majority.of(cast(Clips, train).targets)

    # --- scores ---

    scores = staticmethod(engine.scores)
    losses = staticmethod(engine.losses)
    block = staticmethod(engine.block)
    changed = staticmethod(engine.changed)
    agrees = staticmethod(engine.agrees)
    figures = staticmethod(engine.figures)

    # --- more ---

    def explainer(self, folder: Path) -> Explainer:
        from modelcommons.workbench.fields.speech.classifier import load
        from modelcommons.workbench.fields.speech.explain import Explainer

        return Explainer(load(folder).weighed)

    def export(self, folder: Path, out: Path) -> None:
        """ONNX: `input_values` (batch, frames, bands), or (batch, samples) of an open model, -> `logits`."""
        from modelcommons.workbench.engine.quantize import export
        from modelcommons.workbench.fields.speech.classifier import example, load, logits_only

        model = load(folder)
        free = {"input_values": {0: "batch"}}
        export(logits_only(model), {"input_values": example(model)}, ["logits"], free, out, traced=True)

    def calibration(self, folder: Path, rows: Rows) -> Iterator[dict[str, np.ndarray]]:
        from modelcommons.workbench.fields.speech.classifier import load

        model = load(folder)
        for at in range(0, len(rows), max(1, len(rows) // CALIBRATION)):
            yield {"input_values": model.inputs(model.window.fitted(rows[at].x)[None])}

    def tiny(self, folder: Path) -> Tiny:
        """Sounds that rise, fall or stay, of any pitch and loudness, in noise."""
        from modelcommons.workbench.fields.speech.tiny import write

        example = write(folder)
        options = {"widths": [8, 16], "mels": 16, "window_ms": 32, "hop_ms": 16, "dropout": 0}
        return Tiny(
            source=folder, recipe={"model": {"new": "cnn", "options": options}, "tune": {"epochs": 14}},
            metric="accuracy", at_least=0.9, wrong_file="audio,label\nnowhere.wav,rise\nnothere.wav,fall\n",
            example=str(example),
        )  # fmt: skip


TASK = Classification()
