"""writers: open models that hear a recording as a whole and write its text token by token (Whisper and its kin).

Source: Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision (2023).
"""

# B batch, N samples, L tokens

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.errors import FormatError
from modelcommons.workbench.fields.speech.extractors import read_extractor
from modelcommons.workbench.fields.speech.sound import Sound
from modelcommons.workbench.fields.speech.transcription.open_models import read_tokenizer
from modelcommons.workbench.task import Answer, Row

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST_TOKENS = 200  # of a text, where the model does not say less
IGNORED = -100  # label of a token that is not learned
TOKENIZER_FILES = (
    "tokenizer.json", "merges.txt", "normalizer.json", "spiece.model", "sentencepiece.bpe.model",
    "generation_config.json",
)  # fmt: skip


def open_writer(folder: Path) -> nn.Module:
    """A model of the transformers library.

    Raises:
        FormatError: it is no such recogniser that the library knows, or needs code from the folder.
    """
    from transformers import AutoModelForSpeechSeq2Seq

    from modelcommons.workbench.engine.adapters import open_model

    return open_model(AutoModelForSpeechSeq2Seq, folder, "recogniser")


class Script:
    """What stands before every text of a model, and how texts become tokens and back."""

    def __init__(self, network: Any, extractor: Any, tokenizer: Any) -> None:
        self.extractor, self.tokenizer = extractor, tokenizer
        config = network.config
        self.end = int(tokenizer.eos_token_id)
        before = [token for token in tokenizer("").input_ids if token != self.end]
        self.start = before or [int(config.decoder_start_token_id)]
        self.longest = min(MOST_TOKENS, int(getattr(config, "max_target_positions", None) or MOST_TOKENS))

    def heard(self, sounds: Sequence[np.ndarray]) -> Tensor:
        """The model's input, (B, ...), of recordings at the extractor's rate."""
        import torch

        rate_hz = self.extractor.sampling_rate
        with torch.autocast("cpu", enabled=False):  # validation is scored under bf16, which some extractors cannot give
            made = self.extractor(list(sounds), sampling_rate=rate_hz, padding="max_length", return_tensors="pt")
        found: Tensor = made[self.extractor.model_input_names[0]].float()
        return found

    def tokens(self, text: str) -> list[int]:
        """The start, the text and the end."""
        written = self.tokenizer(text, add_special_tokens=False).input_ids
        return [*self.start, *written[: self.longest - len(self.start) - 1], self.end]

    def written(self, network: Any, heard: Tensor) -> list[str]:
        """The likeliest token after token, until the end, for each recording."""
        import torch

        machine = next(network.parameters()).device
        with torch.inference_mode():
            encoded = network.get_encoder()(heard.to(machine))
            ids = torch.tensor([self.start] * len(heard), device=machine)
            new, memory, ended = ids, None, torch.zeros(len(heard), dtype=torch.bool, device=machine)
            while ids.shape[1] < self.longest and not bool(ended.all()):
                output = network(
                    encoder_outputs=encoded, decoder_input_ids=new, past_key_values=memory, use_cache=True
                )  # fmt: skip
                memory = output.past_key_values
                new = output.logits[:, -1:].argmax(2)  # (B, 1)
                ids = torch.cat([ids, new], 1)
                ended |= new[:, 0] == self.end
        return [self._text(row[len(self.start) :]) for row in ids.tolist()]

    def log_probs(self, network: Any, heard: Tensor, text: str) -> Tensor:
        """Mean log probability of the text's tokens and its end after each recording, (B,)."""
        import torch

        tokens = torch.tensor([self.tokens(text)] * len(heard))
        with torch.inference_mode():
            logits = network(heard, decoder_input_ids=tokens[:, :-1]).logits.float()
        after = tokens[:, len(self.start) :]
        found: Tensor = logits[:, -after.shape[1] :].log_softmax(2).gather(2, after[:, :, None])
        return found.mean((1, 2))

    def _text(self, tokens: list[int]) -> str:
        until = tokens.index(self.end) if self.end in tokens else len(tokens)
        return " ".join(str(self.tokenizer.decode(tokens[:until], skip_special_tokens=True)).split())


class Writer:
    """A model that is ready to answer, one recording at a time."""

    labels: Sequence[str] = ()

    def __init__(self, network: nn.Module, script: Script) -> None:
        self.network, self.script = network, script

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        rate_hz = int(self.script.extractor.sampling_rate)
        heard = (self.script.heard([row.x.at(rate_hz)]) for row in rows)
        return [{"prediction": {"text": self.script.written(self.network, one)[0]}} for one in heard]

    def weighed(self, sounds: Sequence[Sound]) -> tuple[str, np.ndarray]:
        """The text of the first of these recordings, and its log probability in each by the token."""
        rate_hz = int(self.script.extractor.sampling_rate)
        heard = self.script.heard([sound.at(rate_hz) for sound in sounds])
        text = self.script.written(self.network, heard[:1])[0]
        return text, np.asarray(self.script.log_probs(self.network, heard, text).numpy(), np.float64)


def load_writer(folder: Path) -> Writer:
    """See `model.load`."""
    network = open_writer(folder).eval()
    try:
        script = Script(network, read_extractor(folder), read_tokenizer(folder))
    except (TypeError, AttributeError, ValueError) as error:
        raise FormatError(
            f"Expected a tokenizer with an end in {folder}, found another kind ({error!s:.100})."
        ) from error
    return Writer(network, script)
