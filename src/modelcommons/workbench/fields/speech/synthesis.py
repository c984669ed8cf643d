"""text-to-speech: a text as speech, in a voice that was learned from recordings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel

from modelcommons.workbench.engine.split import divide
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.speech.options import SynthesisOptions
from modelcommons.workbench.fields.speech.speaking import metrics as measures
from modelcommons.workbench.fields.speech.speaking import utterances as reading
from modelcommons.workbench.fields.speech.speaking.architectures import VOICES
from modelcommons.workbench.fields.speech.speaking.nearest import Nearest
from modelcommons.workbench.fields.speech.speaking.utterances import Utterances
from modelcommons.workbench.task import Job, Json, Model, Parts, Reading, Row, Rows, Source, Split, Tiny, column_of

if TYPE_CHECKING:
    from modelcommons.workbench.fields.speech.speaking.explain import Explainer

LENGTHS = ((3, "1-2 words"), (5, "3-4 words"), (9, "5-8 words"), (17, "9-16 words"))


class Synthesis:
    """Texts and their recordings; a small network of our own, or an open voice of the transformers library."""

    name = "text-to-speech"
    field = "speech"
    summary = "a text as speech, in the voice of recordings"
    roles: Mapping[str, str] = {
        "audio": "recordings: their bytes (WAV, FLAC, OGG), or paths of files beside the table",
        "text": "what is said in them",
        "id": "row ids; the row's place in its file when there are none",
        "group": "who speaks: a column named speaker where none is given",
        "time": "when a row came about, for `split.by: time`: the latest rows are the test",
    }
    options: type[BaseModel] = SynthesisOptions
    architectures: Mapping[str, type[BaseModel]] = VOICES
    metrics = measures.METRICS
    open_models = ("text-to-speech",)
    slices: Mapping[str, str] = {"speaker": "the row's group", "length": "words said, in five steps"}
    caution: Mapping[Literal["en", "zh"], str] = {
        "en": "What it says was never said by anybody: tell listeners so, and use a voice only where its owner agreed.",
        "zh": "它所说的话从未有人说过。请告知听众，并且只在本人同意时使用其声音。",
    }

    # --- data ---

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        return reading.read(source, columns, cast(SynthesisOptions, options))

    def split(self, reading: Reading, how: Split, options: BaseModel) -> Parts:
        parts = cast(Mapping[str, Utterances], reading.parts)
        timed = column_of("time", reading.columns) is not None
        return Parts(*divide(parts, how, times=Utterances.moments if timed else None))

    def read_input(self, value: Any, options: BaseModel) -> list[Row]:
        """A text, `{"text": ..., "speaker": ...}`, the path of a .txt file, or a list of such."""
        return reading.read_input(value)

    def target(self, row: Row) -> Json:
        return measures.described(row.y, row.y.rate_hz)

    def content(self, row: Row) -> bytes:
        """Text and decoded samples: the same text said twice is two rows."""
        return f"{row.x.text}\n".encode() + bytes(row.y.content())

    def slice(self, row: Row, name: str) -> str:
        if name == "speaker":
            return row.group or "unknown"
        count = len(row.x.text.split())
        return next((words for limit, words in LENGTHS if count < limit), "17 words and more")

    # --- models ---

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        from modelcommons.workbench.fields.speech.speaking.fitting import fit

        return fit(cast(Utterances, train), cast(Utterances, validation), job)

    def load(self, folder: Path, variant: str = "") -> Model:
        from modelcommons.workbench.fields.speech.speaking.model import load

        return load(folder, variant)

    def files(self, folder: Path, variant: str = "") -> list[str]:
        from modelcommons.workbench.fields.speech.speaking.model import files

        return files(folder, variant)

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """Real speech that says something else."""
        return "training recording of the nearest text", Nearest(cast(Utterances, train))

    # --- scores ---

    scores = staticmethod(measures.scores)
    losses = staticmethod(measures.losses)
    block = staticmethod(measures.block)
    changed = staticmethod(measures.changed)
    agrees = staticmethod(measures.agrees)
    figures = staticmethod(measures.figures)

    # --- more ---

    def explainer(self, folder: Path) -> Explainer:
        from modelcommons.workbench.fields.speech.speaking.explain import Explainer
        from modelcommons.workbench.fields.speech.speaking.model import load

        return Explainer(load(folder))

    def tiny(self, folder: Path) -> Tiny:
        """Words of three notes, a little out of tune, in noise."""
        from modelcommons.workbench.fields.speech.transcription.tiny import write

        write(folder)
        options = {
            "mels": 16, "window_ms": 32, "hop_ms": 12, "width": 32, "encoder": 1, "decoder": 2, "dropout": 0,
            "iterations": 8,
        }  # fmt: skip
        return Tiny(
            source=folder,
            recipe={
                "model": {"new": "acoustic", "options": options},
                "tune": {"epochs": 10, "batch_size": 8, "learning_rate": 0.02},
            },
            metric="mcd", at_least=5.0, wrong_file="audio,text\nnowhere.wav,ab\nnothere.wav,ba\n", example="abc ab",
        )  # fmt: skip


TASK = Synthesis()
