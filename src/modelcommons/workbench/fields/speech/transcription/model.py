"""a recogniser's folder, read without running code from it, as something that writes what it hears.

config.json of our own:  {"model_type": "modelcommons", "task", "architecture", "options", "alphabet", "preprocess"}
of transformers:         its own; the characters, or pieces of words, are those of its tokenizer
"""

# B batch, N samples, T frames, K labels, of which 0 is the blank

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from modelcommons.errors import FormatError
from modelcommons.formats.model_folder import CONFIG, MODEL_TYPE, WEIGHTS, check_weights, read_config
from modelcommons.workbench.fields.speech.extractors import PROCESSOR, read_extractor
from modelcommons.workbench.fields.speech.features import Features, read_features
from modelcommons.workbench.fields.speech.sound import FASTEST, SLOWEST, Sound
from modelcommons.workbench.fields.speech.transcription.alphabet import Alphabet
from modelcommons.workbench.fields.speech.transcription.architectures import JOINED, RECOGNISERS, CtcOptions
from modelcommons.workbench.fields.speech.transcription.decoding import Decoded, beam, greedy
from modelcommons.workbench.fields.speech.transcription.open_models import (
    OPEN_BEAM,
    VOCABULARY_FILES,
    emissions,
    onnx_logits,
    open_alphabet,
    open_network,
    read_tokenizer,
    torch_logits,
)
from modelcommons.workbench.fields.speech.transcription.writers import TOKENIZER_FILES, Writer, load_writer
from modelcommons.workbench.task import Answer, Row

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = 16  # recordings answered at a time, of like length
CHUNK_S = 0.25  # seconds that are heard at a time where an answer is streamed

Emissions = Callable[[Sequence[np.ndarray]], list[np.ndarray]]  # float32 (N,) each -> log probabilities (T, K) each


class Recogniser:
    """A model that is ready to answer."""

    labels: Sequence[str] = ()

    def __init__(self, alphabet: Alphabet, rate_hz: int, emissions: Emissions, width: int) -> None:
        self.alphabet, self.rate_hz, self._emissions, self._width = alphabet, rate_hz, emissions, width

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """The text, and the nats by which it is more probable than the next."""
        order = sorted(range(len(rows)), key=lambda at: rows[at].x.seconds)
        found: list[Answer] = [{}] * len(rows)
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            for at, log_probs in zip(some, self._emissions([rows[at].x.at(self.rate_hz) for at in some]), strict=True):
                decoded = self.decoded(log_probs)
                text = self.alphabet.decode(decoded.labels)
                found[at] = {"margin": float(f"{decoded.margin:.6g}"), "prediction": {"text": " ".join(text.split())}}
        return found

    def weighed(self, sounds: Sequence[Sound]) -> tuple[str, np.ndarray]:
        """The text of the first of these recordings of one length, and its log probability in each by the character."""
        import torch
        from torch.nn.functional import ctc_loss

        emitted = self._emissions([sound.at(self.rate_hz) for sound in sounds])
        labels = self.decoded(emitted[0]).labels
        surprise = ctc_loss(
            torch.from_numpy(np.stack(emitted, axis=1)), torch.tensor([labels] * len(sounds)),
            torch.tensor([len(emitted[0])] * len(sounds)), torch.tensor([len(labels)] * len(sounds)), reduction="none",
        )  # fmt: skip
        return self.alphabet.decode(labels), -surprise.numpy() / max(1, len(labels))

    def decoded(self, log_probs: np.ndarray) -> Decoded:
        return greedy(log_probs) if self._width == 1 else beam(log_probs, self._width)


class Listener(Recogniser):
    """A recogniser that hears only what came before, so that it can write while it listens."""

    def __init__(self, alphabet: Alphabet, features: Features, network: Any, width: int) -> None:
        super().__init__(alphabet, features.logmel.rate_hz, own_emissions(network, features), width)
        self.features, self.network = features, network

    def stream(self, row: Row) -> Iterator[str]:
        """Characters as soon as they are heard: the best of every frame, so the end may differ from a beam's."""
        last = 0
        for log_probs in self.heard(row.x.at(self.rate_hz), round(CHUNK_S * self.rate_hz)):
            labels = log_probs.argmax(axis=1).tolist()
            new = [label for before, label in zip([last, *labels], labels, strict=False) if label not in (0, before)]
            last = labels[-1] if labels else last
            if new:
                yield self.alphabet.decode(new)

    def heard(self, samples: np.ndarray, chunk: int) -> Iterator[np.ndarray]:
        """Log probabilities (T, K) of every `chunk` samples, as they would come from a microphone."""
        import torch

        from modelcommons.workbench.fields.speech.transcription.ctc import Heard

        logmel, state, left = self.features.logmel, Heard(), np.empty(0, np.float32)
        samples = whole(samples, self.features)
        for start in range(0, len(samples), chunk):
            left = np.concatenate([left, samples[start : start + chunk]])
            count = logmel.frames(len(left))
            if not count:
                continue
            made = torch.from_numpy(self.features.inputs(left))[None]
            left = left[count * logmel.hop :]
            with torch.inference_mode():
                yield np.asarray(self.network.listen(made, state)[0].numpy())


def whole(samples: np.ndarray, features: Features) -> np.ndarray:
    """As long as a network needs at least: silence behind what is shorter."""
    least = features.logmel.window + (JOINED - 1) * features.logmel.hop
    return np.pad(samples, (0, max(0, least - len(samples))))


def padded(features: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Features of several recordings, (T, M) each, as (B, T, M), and their lengths (B,)."""
    import torch

    lengths = [len(each) for each in features]
    made = np.zeros((len(features), max(lengths), features[0].shape[1]), np.float32)
    for at, each in enumerate(features):
        made[at, : len(each)] = each
    return torch.from_numpy(made), torch.tensor(lengths)


def own_emissions(network: nn.Module, features: Features) -> Emissions:
    """Log probabilities from one of our own networks."""
    import torch

    machine = next(network.parameters()).device

    def emit(sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
        made, lengths = padded([features.inputs(whole(samples, features)) for samples in sounds])
        with torch.inference_mode():
            log_probs, lengths = network(made.to(machine), lengths.to(machine))
        return [one[:length].float().cpu().numpy() for one, length in zip(log_probs, lengths.tolist(), strict=True)]

    return emit


# --- folders --------------------------------------------------------------------------------------------------------


def load(folder: Path, variant: str = "") -> Recogniser | Writer:
    """A recogniser from its folder. `variant`: an ONNX file inside it.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: a file is truncated, or not what the config says.
    """
    config = read_config(folder)
    if config["model_type"] == MODEL_TYPE:
        return _own(folder, config, variant)
    if not variant:
        check_weights(folder)
    if config.get("is_encoder_decoder"):
        return load_writer(folder)
    extractor, tokenizer = read_extractor(folder), read_tokenizer(folder)
    alphabet, columns = open_alphabet(tokenizer)
    logits = onnx_logits(folder / variant) if variant else torch_logits(open_network(folder).eval())
    return Recogniser(alphabet, int(extractor.sampling_rate), emissions(logits, extractor, columns), OPEN_BEAM)


def files(folder: Path, variant: str = "") -> list[str]:
    """What is read to predict."""
    return [
        CONFIG,
        *(name for name in (PROCESSOR, *VOCABULARY_FILES, *TOKENIZER_FILES) if (folder / name).is_file()),
        variant or WEIGHTS,
    ]


def _own(folder: Path, config: Mapping[str, Any], variant: str) -> Recogniser:
    options, alphabet, features = read_own(folder, config)
    if variant:
        return Recogniser(alphabet, features.logmel.rate_hz, _onnx_emissions(folder / variant, features), options.beam)
    network = own_network(folder, options, alphabet)
    if options.streaming:
        return Listener(alphabet, features, network, options.beam)
    return Recogniser(alphabet, features.logmel.rate_hz, own_emissions(network, features), options.beam)


def read_own(folder: Path, config: Mapping[str, Any]) -> tuple[CtcOptions, Alphabet, Features]:
    """What the config of one of our own says.

    Raises:
        FormatError: it does not.
    """
    try:
        options = RECOGNISERS[config["architecture"]].model_validate(config["options"])
        assert isinstance(options, CtcOptions)
        alphabet, features = Alphabet(str(config["alphabet"])), read_features(config["preprocess"], options)
        if not SLOWEST <= features.logmel.rate_hz <= FASTEST:
            raise ValueError(f"a rate of {features.logmel.rate_hz} Hz")
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise FormatError(f"{folder / CONFIG} is not as it was written ({error!s:.200}).") from error
    return options, alphabet, features


def own_network(folder: Path, options: CtcOptions, alphabet: Alphabet) -> nn.Module:
    """The network with its weights, for evaluation. Raises: see `load`."""
    from safetensors.torch import load_file

    from modelcommons.workbench.fields.speech.transcription.ctc import Ctc

    check_weights(folder)
    try:
        network = Ctc(options, len(alphabet.characters) + 1)
        network.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise FormatError(f"{folder}: the weights are not those of its config ({error!s:.200}).") from error
    return network.eval()


def _onnx_emissions(path: Path, features: Features) -> Emissions:
    """Log probabilities from an export of one of our own networks."""
    from modelcommons.workbench.engine.quantize import session

    opened = session(path)

    def emit(sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
        made, lengths = padded([features.inputs(whole(samples, features)) for samples in sounds])
        log_probs, frames = opened.run({"features": made.numpy(), "lengths": lengths.numpy()})
        return [one[:count] for one, count in zip(log_probs, frames.tolist(), strict=True)]

    return emit
