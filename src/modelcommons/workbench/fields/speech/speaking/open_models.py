"""open_models: voices of the transformers library (VITS, MMS), which speak but cannot be trained there."""

# N samples

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelcommons.errors import DataError, FormatError
from modelcommons.workbench.fields.speech.sound import Sound, as_int16
from modelcommons.workbench.fields.speech.speaking.cepstra import cepstra
from modelcommons.workbench.fields.speech.speaking.outline import Outline, loudness
from modelcommons.workbench.fields.speech.speaking.utterances import Utterance, number_of

VOCABULARY_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json")
KINDS = ("vits",)  # model types


@dataclass(frozen=True)
class Vits:
    """Text to wave in one network.

    Source: Kim, Kong & Son, Conditional variational autoencoder with adversarial learning for end-to-end text-to-speech
    (2021). Its noise is drawn from one seed, so that a text sounds the same each time.
    """

    network: Any
    tokenizer: Any

    @property
    def rate_hz(self) -> int:
        return int(self.network.config.sampling_rate)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Their numbers: they have no names."""
        count = int(self.network.config.num_speakers)
        return tuple(map(str, range(count))) if count > 1 else ()

    def say(self, asked: Utterance) -> Sound:
        """
        Raises:
            DataError: nothing of the text is in the voice's alphabet, or it has no such speaker.
        """
        import torch

        inputs = self.tokenizer(asked.text, return_tensors="pt")
        if not inputs["input_ids"].numel():
            raise DataError(f"Expected a text in the letters of the voice, got none of them in '{asked.text:.40}'.")
        number = number_of(asked.speaker, self.speakers)
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.manual_seed(0)
            made = self.network(**inputs, speaker_id=number if self.speakers else None).waveform[0]
        return Sound(as_int16(made.float().cpu().numpy()), self.rate_hz)

    def pieces(self, text: str) -> list[str]:
        """Words, each with the blank behind it."""
        words = text.split()
        return [f"{word} " for word in words[:-1]] + words[-1:]

    def outline(self, pieces: Sequence[str], speaker: str) -> Outline:
        """Of the wave; how long a word takes is not told by the network, so it is its share of the letters."""
        sound = self.say(Utterance("".join(pieces), speaker))
        samples = sound.at(self.rate_hz)
        letters = np.array([len(piece) for piece in pieces], np.float64)
        return Outline(
            cepstra(samples, self.rate_hz), loudness(samples, self.rate_hz), letters / letters.sum() * sound.seconds
        )


def load_open(folder: Path, config: Mapping[str, Any]) -> Vits:
    """A voice of the transformers library.

    Raises:
        FormatError: it is of another kind, or cannot be loaded without running code.
    """
    from transformers import AutoTokenizer, VitsModel

    from modelcommons.workbench.engine.adapters import quiet

    if config["model_type"] not in KINDS:
        raise FormatError(
            f"Expected a voice of the kind {' or '.join(KINDS)} in {folder}, got {config['model_type']!r}."
        )
    with quiet():
        try:
            network = VitsModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype="float32")
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError) as error:
            raise FormatError(
                f"{folder} is no voice that transformers can load without running code ({error!s:.200})."
            ) from error
    if getattr(tokenizer, "phonemize", False):
        raise FormatError(
            f"The voice in {folder} reads phonemes, which need the package phonemizer and espeak. "
            "Take one that reads letters, such as those of MMS."
        )
    network.requires_grad_(False).train(False)
    return Vits(network, tokenizer)
