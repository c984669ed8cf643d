"""answer: what is kept of an enhanced recording: numbers where the voice alone is known, else the sound itself."""

from __future__ import annotations

import base64
import hashlib

from modelcommons.workbench.fields.speech.denoising.metrics import levels, si_sdr
from modelcommons.workbench.fields.speech.sound import Sound, as_int16, wav
from modelcommons.workbench.task import Answer, Row


def answered(row: Row, sound: Sound) -> Answer:
    """The answer to a row: length, digest and loudness, and SI-SDR against the voice, or a WAV file in base64."""
    kept = {
        "samples": len(sound.samples),
        "sha256": hashlib.sha256(sound.content()).hexdigest()[:16],
        "levels_db": levels(sound.samples),
    }
    if row.y is None:
        return {"prediction": {**kept, "rate_hz": sound.rate_hz, "wav": base64.b64encode(wav(sound)).decode()}}
    clean: Sound = row.y.sound
    known = clean.samples if clean.rate_hz == sound.rate_hz else as_int16(clean.at(sound.rate_hz))
    return {"prediction": {**kept, "si_sdr": si_sdr(sound.samples, known)}}
