"""speech-enhancement: a recording with less noise in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import BaseModel

from modelcommons.workbench.engine.split import divide
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.speech import rows as reading
from modelcommons.workbench.fields.speech.denoising import figures as drawing
from modelcommons.workbench.fields.speech.denoising import metrics as measures
from modelcommons.workbench.fields.speech.denoising import mixtures
from modelcommons.workbench.fields.speech.denoising.architectures import ENHANCERS
from modelcommons.workbench.fields.speech.denoising.mixtures import Heard, Mixtures, Pairs
from modelcommons.workbench.fields.speech.denoising.options import EnhancementOptions
from modelcommons.workbench.fields.speech.denoising.subtraction import floor
from modelcommons.workbench.fields.speech.rows import Clips
from modelcommons.workbench.task import Job, Json, Model, Parts, Reading, Row, Rows, Source, Split, Tiny, column_of

if TYPE_CHECKING:
    from modelcommons.workbench.fields.speech.denoising.explain import Explainer

CALIBRATION = 128  # recordings at most, for static quantisation


class Enhancement:
    """Clean recordings in noise that is made for them, or pairs; a network of our own that estimates a mask."""

    name = "speech-enhancement"
    field = "speech"
    summary = "a recording with less noise in it"
    roles: Mapping[str, str] = {
        "audio": "clean recordings: their bytes (WAV, FLAC, OGG), or paths of files beside the table",
        "noisy": "the same recordings in noise, as long; where not named, noise is made",
        "id": "row ids; the row's place in its file when there are none",
        "group": "what must not be divided between train and test: a column named speaker where none is given",
        "time": "when a row came about, for `split.by: time`: the latest rows are the test",
    }
    options: type[BaseModel] = EnhancementOptions
    architectures: Mapping[str, type[BaseModel]] = ENHANCERS
    metrics = measures.METRICS
    open_models: tuple[str, ...] = ()
    quantization: Literal["dynamic", "static"] = "static"
    slices: Mapping[str, str] = {
        "noise": "the kind of noise",
        "snr": "decibels by which the voice is louder than the noise",
        "speaker": "the row's group",
    }

    # --- data ---

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        return mixtures.read(source, columns, cast(EnhancementOptions, options))

    def split(self, reading: Reading, how: Split, options: BaseModel) -> Parts:
        """Recordings are divided; then each part gets its noise, with babble of its own voices only."""
        timed = column_of("time", reading.columns) is not None
        if column_of("noisy", reading.columns) is not None:
            pairs = cast(Mapping[str, Pairs], reading.parts)
            return Parts(*divide(pairs, how, times=Pairs.moments if timed else None))
        clips = cast(Mapping[str, Clips], reading.parts)
        train, validation, test, words = divide(clips, how, times=Clips.moments if timed else None)
        chosen = cast(EnhancementOptions, options)
        parts = Parts(
            Mixtures(train, chosen, each=False), Mixtures(validation, chosen, each=True),
            Mixtures(test, chosen, each=True), words,
        )  # fmt: skip
        known, asked = mixtures.known_speakers(train, test)
        return replace(parts, how=f"{words}; {known} of the test's {asked} speakers also in train") if asked else parts

    def read_input(self, value: Any, options: BaseModel) -> list[Row]:
        """A path, a folder, bytes, `{"array": ..., "sampling_rate": ...}`, or a list of such."""
        return reading.read_input(value)

    def target(self, row: Row) -> Json:
        """What is known before anything is enhanced: the noise, and how much voice the recording has in it."""
        clean = row.y.sound
        return {
            "recording": hashlib.sha256(clean.content()).hexdigest()[:16],
            **({"speaker": row.group} if row.group else {}),
            "noise": row.y.noise,
            "snr_db": row.y.snr_db,
            "si_sdr": measures.si_sdr(row.x.samples, clean.samples),
        }

    def content(self, row: Row) -> bytes:
        """The clean samples, so that a voice of the test is found in train whatever noise it is in."""
        return bytes(row.y.sound.content())

    def slice(self, row: Row, name: str) -> str:
        match name:
            case "noise":
                return str(row.y.noise)
            case "snr":
                return f"{row.y.snr_db} dB"
            case _:
                return row.group or "unknown"

    # --- models ---

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        from modelcommons.workbench.fields.speech.denoising.fitting import fit

        return fit(cast(Heard, train), cast(Heard, validation), job)

    def load(self, folder: Path, variant: str = "") -> Model:
        from modelcommons.workbench.fields.speech.denoising.model import load

        return load(folder, variant)

    def files(self, folder: Path, variant: str = "") -> list[str]:
        from modelcommons.workbench.fields.speech.denoising.model import files

        return files(folder, variant)

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """Spectral subtraction, or the recording as it is where that is better on training rows."""
        return floor(cast(Heard, train))

    # --- scores ---

    scores = staticmethod(measures.scores)
    losses = staticmethod(measures.losses)
    block = staticmethod(measures.block)
    changed = staticmethod(measures.changed)
    agrees = staticmethod(measures.agrees)
    figures = staticmethod(drawing.figures)

    # --- more ---

    def explainer(self, folder: Path) -> Explainer:
        from modelcommons.workbench.fields.speech.denoising.explain import Explainer
        from modelcommons.workbench.fields.speech.denoising.model import load

        return Explainer(load(folder))

    def export(self, folder: Path, out: Path) -> None:
        """ONNX: `features`, scaled log magnitudes (batch, frames, frequencies), -> `mask` of the same shape."""
        import torch

        from modelcommons.workbench.engine.quantize import export
        from modelcommons.workbench.fields.speech.denoising.model import load

        model = load(folder)
        assert model.network is not None
        inputs = {"features": torch.zeros(2, 2 * model.reach + 3, model.stft.bins)}
        export(model.network, inputs, ["mask"], {"features": {0: "batch", 1: "frames"}}, out)

    def calibration(self, folder: Path, rows: Rows) -> Iterator[dict[str, np.ndarray]]:
        from modelcommons.workbench.fields.speech.denoising.model import load
        from modelcommons.workbench.fields.speech.denoising.spectrum import log_magnitudes

        model = load(folder)
        for at in range(0, len(rows), max(1, len(rows) // CALIBRATION)):
            spectrum = model.stft.analysed(rows[at].x.at(model.rate_hz))
            yield {"features": model.scale.of(log_magnitudes(spectrum))[None]}

    def tiny(self, folder: Path) -> Tiny:
        """Melodies of two instruments in white and pink noise."""
        from modelcommons.workbench.fields.speech.denoising.tiny import write

        example = write(folder)
        model = {"new": "tcn", "options": {"window_ms": 32, "hop_ms": 16, "width": 24, "blocks": 3}}
        return Tiny(
            source=folder,
            recipe={
                "model": model,
                "data": {"options": {"noises": ["white", "pink"], "snrs_db": [-5, 0]}, "split": {"validation": 0.2}},
                "tune": {"epochs": 10, "batch_size": 8, "learning_rate": 0.01},
            },
            metric="si_sdr_improvement", at_least=8.0, wrong_file="audio,speaker\nnowhere.wav,low\nnothere.wav,high\n",
            example=str(example),
        )  # fmt: skip


TASK = Enhancement()
