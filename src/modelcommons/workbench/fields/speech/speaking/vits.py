"""vits: an open voice that makes a wave of a text in one network, as those of MMS.

Source: Kim, Kong & Son, Conditional variational autoencoder with adversarial learning for end-to-end text-to-speech
(2021). Its noise is drawn from one seed, so that a text sounds the same each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelcommons.errors import DataError, FormatError
from modelcommons.workbench.fields.speech.sound import Sound, as_int16
from modelcommons.workbench.fields.speech.speaking.open_voice import OpenVoice
from modelcommons.workbench.fields.speech.speaking.utterances import Utterance, number_of


@dataclass(frozen=True)
class Vits(OpenVoice):
    @property
    def rate_hz(self) -> int:
        return int(self.network.config.sampling_rate)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Their numbers: they have no names."""
        count = int(self.network.config.num_speakers)
        return tuple(map(str, range(count))) if count > 1 else ()

    def say(self, asked: Utterance) -> Sound:
        import torch

        inputs = self.tokenizer(asked.text, return_tensors="pt")
        if not inputs["input_ids"].numel():
            raise DataError(f"Expected a text in the letters of the voice, got none of them in '{asked.text:.40}'.")
        number = number_of(asked.speaker, self.speakers)
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.manual_seed(0)
            made = self.network(**inputs, speaker_id=number if self.speakers else None).waveform[0]
        return Sound(as_int16(made.float().cpu().numpy()), self.rate_hz)

    def knows(self, letter: str) -> bool:
        from transformers.utils.import_utils import is_uroman_available

        is_romanised = self.tokenizer.is_uroman and is_uroman_available()
        return is_romanised or not {letter, letter.lower()}.isdisjoint(self.tokenizer.get_vocab())


def load_vits(folder: Path) -> Vits:
    """
    Raises:
        FormatError: it reads phonemes, or cannot be loaded without running code.
    """
    from transformers import VitsModel

    from modelcommons.workbench.engine.adapters import open_model
    from modelcommons.workbench.engine.tokenizer import open_tokenizer

    network, tokenizer = open_model(VitsModel, folder, "voice"), open_tokenizer(folder)
    if getattr(tokenizer, "phonemize", False):
        raise FormatError(
            f"The voice in {folder} reads phonemes, which need the package phonemizer and espeak. "
            "Take one that reads letters, such as those of MMS."
        )
    return Vits(network.requires_grad_(False).eval(), tokenizer)
