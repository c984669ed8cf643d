"""sides: how each kind of recogniser is fed, what it learns from, and what it hears while it is trained."""

# B batch, N samples, T frames, M mel bands, K labels, L tokens

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from modelcommons.workbench.fields.speech import augment
from modelcommons.workbench.fields.speech.features import Features
from modelcommons.workbench.fields.speech.transcription.alphabet import Alphabet
from modelcommons.workbench.fields.speech.transcription.decoding import greedy
from modelcommons.workbench.fields.speech.transcription.model import own_emissions, padded, whole
from modelcommons.workbench.fields.speech.transcription.open_models import emissions, torch_logits
from modelcommons.workbench.fields.speech.transcription.writers import IGNORED, Script

if TYPE_CHECKING:
    from torch import Tensor, nn

Batch = tuple["Tensor", ...]

MASKED = 0.05  # share of a recording under one mask: a whole word that is gone cannot be learned


class Side(Protocol):
    def batch(self, sounds: Sequence[np.ndarray], texts: Sequence[str], rng: np.random.Generator) -> Batch: ...
    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor]:
        """Summed over what `count` counts."""

    def count(self, batch: Batch) -> float: ...
    def heard(self, network: nn.Module, sounds: Sequence[np.ndarray]) -> list[str]:
        """What the model writes, by the quickest search."""


class Own:
    """One of our own networks."""

    def __init__(self, features: Features, alphabet: Alphabet, masks: bool) -> None:
        self.features, self.alphabet, self.masks = features, alphabet, masks

    def batch(self, sounds: Sequence[np.ndarray], texts: Sequence[str], rng: np.random.Generator) -> Batch:
        """Features (B, T, M), frames of each, and what `spelled` gives."""
        made = [self.features.inputs(whole(samples, self.features)) for samples in sounds]
        made = [augment.masked(each[None], rng, MASKED)[0] for each in made] if self.masks else made
        return *padded(made), *spelled(self.alphabet, texts)

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor]:
        made, lengths, *wanted = batch
        return (frames_loss(*network(made, lengths), *wanted),)

    def count(self, batch: Batch) -> float:
        return len(batch[0])

    def heard(self, network: nn.Module, sounds: Sequence[np.ndarray]) -> list[str]:
        return [self.alphabet.decode(greedy(each).labels) for each in own_emissions(network, self.features)(sounds)]


class Open:
    """An open model that gives every frame's characters."""

    def __init__(self, extractor: Any, alphabet: Alphabet, columns: np.ndarray) -> None:
        self.extractor, self.alphabet, self.columns = extractor, alphabet, columns

    def batch(self, sounds: Sequence[np.ndarray], texts: Sequence[str], rng: np.random.Generator) -> Batch:
        """Samples (B, N), how many of each, and what `spelled` gives."""
        import torch

        rate_hz = self.extractor.sampling_rate
        made = self.extractor(list(sounds), sampling_rate=rate_hz, padding=True, return_tensors="pt")
        lengths = torch.tensor([len(samples) for samples in sounds])
        return made[self.extractor.model_input_names[0]], lengths, *spelled(self.alphabet, texts)

    def loss(self, network: Any, batch: Batch) -> tuple[Tensor]:
        import torch

        made, lengths, *wanted = batch
        logits = network(made).logits[:, :, torch.from_numpy(self.columns)]
        frames = network._get_feat_extract_output_lengths(lengths)
        return (frames_loss(logits.float().log_softmax(2), frames, *wanted),)

    def count(self, batch: Batch) -> float:
        return len(batch[0])

    def heard(self, network: nn.Module, sounds: Sequence[np.ndarray]) -> list[str]:
        emit = emissions(torch_logits(network), self.extractor, self.columns)
        return [self.alphabet.decode(greedy(each).labels) for each in emit(sounds)]


class Writing:
    """An open model that writes token by token."""

    def __init__(self, script: Script) -> None:
        self.script = script

    def batch(self, sounds: Sequence[np.ndarray], texts: Sequence[str], rng: np.random.Generator) -> Batch:
        """The model's input, and tokens (B, L) with `IGNORED` after their end."""
        import torch

        tokens = [self.script.tokens(text) for text in texts]
        padded = np.full((len(tokens), max(map(len, tokens))), IGNORED, np.int64)
        for at, each in enumerate(tokens):
            padded[at, : len(each)] = each
        return self.script.heard(sounds), torch.from_numpy(padded)

    def loss(self, network: Any, batch: Batch) -> tuple[Tensor]:
        from torch.nn.functional import cross_entropy

        heard, tokens = batch
        before = tokens[:, :-1].masked_fill(tokens[:, :-1] == IGNORED, self.script.end)
        logits = network(heard, decoder_input_ids=before).logits.float()  # (B, L - 1, tokens)
        wanted = tokens[:, len(self.script.start) :]
        logits = logits[:, -wanted.shape[1] :].flatten(0, 1)
        return (cross_entropy(logits, wanted.flatten(), ignore_index=IGNORED, reduction="sum"),)

    def count(self, batch: Batch) -> float:
        """Tokens that are learned."""
        return float((batch[1][:, len(self.script.start) :] != IGNORED).sum())

    def heard(self, network: nn.Module, sounds: Sequence[np.ndarray]) -> list[str]:
        return self.script.written(network, self.script.heard(sounds))


def spelled(alphabet: Alphabet, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Labels of all texts one after the other, and how many of each."""
    import torch

    labels = [alphabet.encode(text) for text in texts]
    return torch.from_numpy(np.concatenate(labels)), torch.tensor([len(each) for each in labels])


def frames_loss(log_probs: Tensor, frames: Tensor, labels: Tensor, many: Tensor) -> Tensor:
    """Surprise at the texts over all ways of writing them (CTC), by character, summed over the rows; a text that is
    longer than its frames weighs nothing."""
    from torch.nn.functional import ctc_loss

    each = ctc_loss(log_probs.float().transpose(0, 1), labels, frames, many, reduction="none", zero_infinity=True)
    return (each / many.clamp(min=1)).sum()
