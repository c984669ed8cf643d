"""automatic-speech-recognition: what is said in a recording, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import BaseModel

from modelcommons.workbench.engine.split import divide
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.speech import disturb
from modelcommons.workbench.fields.speech import rows as reading
from modelcommons.workbench.fields.speech.options import RecognitionOptions
from modelcommons.workbench.fields.speech.rows import Clips
from modelcommons.workbench.fields.speech.transcription import metrics as measures
from modelcommons.workbench.fields.speech.transcription.alphabet import plain
from modelcommons.workbench.fields.speech.transcription.architectures import RECOGNISERS
from modelcommons.workbench.task import (
    Answer,
    Job,
    Json,
    Model,
    Parts,
    Reading,
    Row,
    Rows,
    Source,
    Split,
    Tiny,
    column_of,
)

if TYPE_CHECKING:
    from modelcommons.workbench.fields.speech.explain import Explainer

LENGTHS = ((3, "1-2 words"), (5, "3-4 words"), (9, "5-8 words"), (17, "9-16 words"))


@dataclass
class MostFrequent:
    """The floor: the text that training has most often, whatever is heard; among equals the first by name."""

    text: str
    labels: Sequence[str] = ()

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        return [{"prediction": {"text": self.text}} for _ in rows]


class Recognition:
    """Recordings and their texts; a small network of our own that is trained by CTC, or an open model of its kind."""

    name = "automatic-speech-recognition"
    field = "speech"
    summary = "what is said in a recording, as text, by the whole or while it listens"
    roles: Mapping[str, str] = {
        "audio": "recordings: their bytes (WAV, FLAC, OGG), or paths of files beside the table",
        "text": "what is said in them",
        "id": "row ids; the row's place in its file when there are none",
        "group": "what must not be divided between train and test: a column named speaker where none is given",
        "time": "when a row came about, for `split.by: time`: the latest rows are the test",
    }
    options: type[BaseModel] = RecognitionOptions
    architectures: Mapping[str, type[BaseModel]] = RECOGNISERS
    metrics = measures.METRICS
    open_models = ("automatic-speech-recognition",)
    quantization: Literal["dynamic", "static"] = "dynamic"
    slices: Mapping[str, str] = {"speaker": "the row's group", "length": "words said, in five steps"}
    disturbances = disturb.DISTURBANCES

    # --- data ---

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        chosen = cast(RecognitionOptions, options)
        found = reading.read(source, columns, chosen.rate, "text")
        if not chosen.plain:
            return found
        return replace(found, parts={split: cast(Clips, part).said(plain) for split, part in found.parts.items()})

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

    def slice(self, row: Row, name: str) -> str:
        if name == "speaker":
            return row.group or "unknown"
        count = len(row.y.split())
        return next((words for limit, words in LENGTHS if count < limit), "17 words and more")

    def disturb(self, row: Row, name: str) -> Row:
        return Row(row.id, disturb.disturb(row.x, name, row.id), row.y, row.group)

    # --- models ---

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        from modelcommons.workbench.fields.speech.transcription.fitting import fit

        return fit(cast(Clips, train), cast(Clips, validation), job)

    def load(self, folder: Path, variant: str = "") -> Model:
        from modelcommons.workbench.fields.speech.transcription.model import load

        return load(folder, variant)

    def files(self, folder: Path, variant: str = "") -> list[str]:
        from modelcommons.workbench.fields.speech.transcription.model import files

        return files(folder, variant)

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """The most frequent text of training."""
        counts = Counter(cast(Clips, train).targets)
        return "most frequent text", MostFrequent(min(counts, key=lambda text: (-counts[text], text)))

    def explainer(self, folder: Path) -> Explainer:
        from modelcommons.workbench.fields.speech.explain import Explainer
        from modelcommons.workbench.fields.speech.transcription.model import load

        return Explainer(load(folder).weighed)

    def export(self, folder: Path, out: Path) -> None:
        """ONNX: `features` (batch, frames, bands) and `lengths` (batch,) -> `log_probs` (batch, a third of the frames,
        labels) and `frames` (batch,); of an open model `input_values` (batch, samples) -> `logits`."""
        from modelcommons.workbench.fields.speech.transcription.exporting import export

        export(folder, out)

    def calibration(self, folder: Path, rows: Rows) -> Iterator[dict[str, np.ndarray]]:
        """Not asked for: dynamic quantisation needs none."""
        return iter(())

    # --- scores ---

    scores = staticmethod(measures.scores)
    losses = staticmethod(measures.losses)
    block = staticmethod(measures.block)
    changed = staticmethod(measures.changed)
    agrees = staticmethod(measures.agrees)
    figures = staticmethod(measures.figures)

    def tiny(self, folder: Path) -> Tiny:
        """Words of three notes, a little out of tune, in noise."""
        from modelcommons.workbench.fields.speech.transcription.tiny import write

        example = write(folder)
        options = {"mels": 16, "window_ms": 32, "hop_ms": 10, "width": 24, "layers": 2, "dropout": 0, "beam": 2}
        tune = {"epochs": 8, "batch_size": 8, "learning_rate": 0.01}
        return Tiny(
            source=folder,
            recipe={
                "model": {"new": "ctc", "options": options}, "data": {"options": {"augment": "none"}}, "tune": tune,
            },
            metric="wer", at_least=0.1, wrong_file="audio,text\nnowhere.wav,ab\nnothere.wav,ba\n",
            example=str(example),
        )  # fmt: skip


TASK = Recognition()
