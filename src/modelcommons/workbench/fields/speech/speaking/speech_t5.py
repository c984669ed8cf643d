"""speech_t5: an open voice in three parts: frames of a text, a vector for whose voice it is, a vocoder for the wave.

Source: Ao et al., SpeechT5: Unified-Modal Encoder-Decoder Pre-Training for Spoken Language Processing (2022); the
vocoder: Kong, Kim & Bae, HiFi-GAN (2020). What it drops while it speaks is drawn from one seed, so that a text sounds
the same each time.
"""

# D numbers of a speaker's vector

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelcommons.errors import DataError, FormatError
from modelcommons.formats.model_folder import check_weights
from modelcommons.formats.safetensors import check
from modelcommons.workbench.fields.speech.sound import Sound, as_int16
from modelcommons.workbench.fields.speech.speaking.open_voice import OpenVoice
from modelcommons.workbench.fields.speech.speaking.utterances import Utterance, number_of

VOCODER, VOICES = "vocoder", "voices.safetensors"  # in a model folder of ours
FRAMES = 20.0  # for each token at most, as in the library


@dataclass(frozen=True)
class SpeechT5(OpenVoice):
    vocoder: Any
    voices: Mapping[str, np.ndarray]  # float32 (D,) each; none: a vector of zeros, which is nobody's voice

    @property
    def rate_hz(self) -> int:
        return int(self.vocoder.config.sampling_rate)

    @property
    def speakers(self) -> tuple[str, ...]:
        return tuple(self.voices)

    @property
    def num_parameters(self) -> int:
        more: int = sum(weight.numel() for weight in self.vocoder.parameters())
        return super().num_parameters + more

    def say(self, asked: Utterance) -> Sound:
        import torch

        config, ids = self.network.config, self.tokenizer(asked.text, return_tensors="pt").input_ids
        if not any(map(self.knows, asked.text)):
            raise DataError(f"Expected a text in the letters of the voice, got none of them in '{asked.text:.40}'.")
        if ids.shape[1] > config.max_text_positions:
            raise DataError(
                f"Expected a text of at most {config.max_text_positions} tokens for this voice, got {ids.shape[1]}. "
                "Hand in parts of it."
            )
        number = number_of(asked.speaker, self.speakers)
        vector = list(self.voices.values())[number] if self.voices else np.zeros(config.speaker_embedding_dim)
        longest = config.max_speech_positions * config.reduction_factor / ids.shape[1]
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.manual_seed(0)
            made = self.network.generate_speech(
                ids, torch.from_numpy(vector.astype(np.float32))[None], maxlenratio=min(FRAMES, longest),
                vocoder=self.vocoder,
            )  # fmt: skip
        return Sound(as_int16(made.float().cpu().numpy()), self.rate_hz)

    def knows(self, letter: str) -> bool:
        return not letter.isspace() and self.tokenizer.unk_token_id not in self.tokenizer(letter).input_ids

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        super().save(folder)
        self.vocoder.save_pretrained(folder / VOCODER)
        if self.voices:
            save_file(dict(self.voices), folder / VOICES)


def load_speech_t5(folder: Path, vocoder: Path | None, voices: Path | None) -> SpeechT5:
    """
    Args:
        vocoder: its folder; else it lies in `vocoder/` in the model's.
        voices: a file of speakers' vectors; else it lies beside the model, or there is none.

    Raises:
        UnsafeFile: the vocoder's weights are a pickle.
        FormatError: a part is missing, is something else, or cannot be loaded without running code.
        MissingPackage: the tokenizer needs SentencePiece.
    """
    from transformers import SpeechT5ForTextToSpeech, SpeechT5HifiGan

    from modelcommons.workbench.engine.adapters import open_model
    from modelcommons.workbench.engine.tokenizer import open_tokenizer

    place, vectors = vocoder or folder / VOCODER, voices or folder / VOICES
    if not (place / "config.json").is_file():
        raise FormatError(
            f"Expected the vocoder of a SpeechT5 voice in {place}, found none. Name the folder of a SpeechT5HifiGan by "
            "`data.options.vocoder`."
        )
    check_weights(place)
    tokenizer = open_tokenizer(folder)
    network: Any = open_model(SpeechT5ForTextToSpeech, folder, "voice")
    waves: Any = open_model(SpeechT5HifiGan, place, "vocoder")
    if waves.config.model_in_dim != network.config.num_mel_bins:
        raise FormatError(
            f"Expected a vocoder of {network.config.num_mel_bins} mel bands in {place}, got one of "
            f"{waves.config.model_in_dim}. Take the one that was made for this voice."
        )
    known = read_voices(vectors, network.config.speaker_embedding_dim) if voices or vectors.is_file() else {}
    return SpeechT5(network.requires_grad_(False).eval(), tokenizer, waves.requires_grad_(False).eval(), known)


def read_voices(path: Path, size: int) -> dict[str, np.ndarray]:
    """Speakers' vectors by name, float32 (D,) each: of a .safetensors file, or one in an .npy file, which names it.

    Raises:
        FormatError: it is neither, or a vector has another size.
    """
    from safetensors.numpy import load_file

    try:
        if path.suffix == ".npy":
            found = {path.stem: np.load(path, allow_pickle=False)}
        else:
            check(path)
            found = dict(sorted(load_file(path).items()))
    except (OSError, ValueError) as error:
        raise FormatError(
            f"Expected speakers' vectors as .safetensors or .npy in {path}, got something else ({error!s:.100})."
        ) from error
    for name, vector in found.items():
        if vector.size != size or not np.isfinite(vector).all():
            raise FormatError(
                f"Expected {size} finite numbers for '{name}' in {path}, got {vector.size}. "
                "Take vectors of the network that the voice was made with."
            )
    return {name: vector.reshape(size).astype(np.float32) for name, vector in found.items()}
