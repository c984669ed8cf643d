"""open_models: voices of the transformers library (VITS, MMS, SpeechT5), which speak but cannot be trained here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelcommons.errors import FormatError
from modelcommons.workbench.fields.speech.speaking.open_voice import OpenVoice
from modelcommons.workbench.fields.speech.speaking.speech_t5 import VOCODER, VOICES, load_speech_t5
from modelcommons.workbench.fields.speech.speaking.vits import load_vits

# beside config and weights
OPEN_FILES = (
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "spm_char.model",
    f"{VOCODER}/config.json", f"{VOCODER}/model.safetensors", VOICES,
)  # fmt: skip
KINDS = ("vits", "speecht5")  # model types


def load_open(
    folder: Path, config: Mapping[str, Any], vocoder: Path | None = None, voices: Path | None = None
) -> OpenVoice:
    """A voice of the transformers library; of `vocoder` and `voices` only SpeechT5 has any.

    Raises:
        FormatError: it is of another kind, or cannot be loaded without running code.
        MissingPackage, UnsafeFile: see `load_speech_t5`.
    """
    match config["model_type"]:
        case "speecht5":
            return load_speech_t5(folder, vocoder, voices)
        case "vits" if not (vocoder or voices):
            return load_vits(folder)
        case "vits":
            raise FormatError(f"The VITS in {folder} has neither vocoder nor voices of its own choice. Leave them out.")
        case kind:
            raise FormatError(f"Expected a voice of the kind {' or '.join(KINDS)} in {folder}, got {kind!r}.")
