"""fitting: a new network or an open model goes through the training loop and becomes a recogniser's folder."""

# B batch, N samples, T frames, M mel bands, K labels

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.formats.model_folder import WEIGHTS, write_config
from modelcommons.workbench.engine.training import Defaults, Fit
from modelcommons.workbench.fields.speech import augment
from modelcommons.workbench.fields.speech.extractors import read_extractor
from modelcommons.workbench.fields.speech.features import Features, evenly, log_mel, measure
from modelcommons.workbench.fields.speech.options import RecognitionOptions
from modelcommons.workbench.fields.speech.rows import Clips
from modelcommons.workbench.fields.speech.transcription.alphabet import Alphabet
from modelcommons.workbench.fields.speech.transcription.architectures import (
    RECOGNISERS,
    CtcOptions,
    defaults,
    open_defaults,
)
from modelcommons.workbench.fields.speech.transcription.decoding import greedy
from modelcommons.workbench.fields.speech.transcription.metrics import edits
from modelcommons.workbench.fields.speech.transcription.model import Emissions, own_emissions, padded, whole
from modelcommons.workbench.fields.speech.transcription.open_models import (
    emissions,
    new_tokenizer,
    open_alphabet,
    open_network,
    read_tokenizer,
)
from modelcommons.workbench.task import Job

if TYPE_CHECKING:
    from torch import Tensor, nn

TASK_NAME = "automatic-speech-recognition"
SCORED_AT_ONCE = 32
AVERAGE = 0.995  # of the weights over steps; what is kept is the average

Batch = tuple["Tensor", "Tensor", "Tensor", "Tensor"]  # inputs, their lengths, labels one after the other, how many


class Own:
    """How one of our own networks is fed, trained and asked."""

    def __init__(self, features: Features, masks: bool) -> None:
        self.features, self.masks = features, masks

    def inputs(self, sounds: list[np.ndarray], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Features (B, T, M), and frames of each."""
        made = [self.features.inputs(whole(samples, self.features)) for samples in sounds]
        return padded([augment.masked(each[None], rng)[0] for each in made] if self.masks else made)

    def outputs(self, network: nn.Module, made: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log probabilities (B, T', K), and frames of each."""
        log_probs, lengths = network(made, lengths)
        return log_probs, lengths

    def emissions(self, network: nn.Module) -> Emissions:
        return own_emissions(network, self.features)


class Open:
    """The same of an open model."""

    def __init__(self, extractor: Any, columns: np.ndarray) -> None:
        self.extractor, self.columns = extractor, columns

    def inputs(self, sounds: list[np.ndarray], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Samples (B, N), and how many of each."""
        import torch

        rate_hz = self.extractor.sampling_rate
        made = self.extractor(sounds, sampling_rate=rate_hz, padding=True, return_tensors="pt")
        return made[self.extractor.model_input_names[0]], torch.tensor([len(samples) for samples in sounds])

    def outputs(self, network: Any, made: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log probabilities (B, T, K) of the blank and the characters, and frames of each."""
        import torch

        logits = network(made).logits[:, :, torch.from_numpy(self.columns)]
        return logits.float().log_softmax(2), network._get_feat_extract_output_lengths(lengths)

    def emissions(self, network: nn.Module) -> Emissions:
        return emissions(network, self.extractor, self.columns)


def fit(train: Clips, validation: Clips, job: Job) -> Fit:
    return _fit_new(train, validation, job) if job.choice.is_new else _fit_open(train, validation, job)


def _fit_new(train: Clips, validation: Clips, job: Job) -> Fit:
    import torch
    from safetensors.torch import save_file

    from modelcommons.workbench.fields.speech.transcription.ctc import Ctc

    options = RECOGNISERS[job.choice.name].model_validate(dict(job.choice.options))
    assert isinstance(options, CtcOptions) and isinstance(job.options, RecognitionOptions)
    alphabet, logmel = Alphabet.of(train.targets), log_mel(options, train.rate_hz)
    least = np.zeros(logmel.window, np.float32)
    sounds = (train.sound(at).at(train.rate_hz) for at in evenly(len(train)))
    features = measure(logmel, (np.concatenate([sound, least]) for sound in sounds))
    torch.manual_seed(job.seed)
    network = Ctc(options, len(alphabet.characters) + 1)
    side = Own(features, "mask" in job.options.changes)
    fitted = _train(network, train, validation, job, alphabet, train.rate_hz, side, defaults(len(train)))
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, job.folder / WEIGHTS, {"format": "pt"})
    write_config(
        job.folder, TASK_NAME, job.choice.name, options.model_dump(mode="json"), alphabet=alphabet.characters,
        preprocess=features.written(),
    )  # fmt: skip
    return fitted


def _fit_open(train: Clips, validation: Clips, job: Job) -> Fit:
    """A model that has characters of its own keeps them; another gets those of the training texts and a new head."""
    import torch

    from modelcommons.workbench.engine.adapters import limited, merged, quiet

    assert job.choice.folder is not None
    folder, method = job.choice.folder, job.training.method
    extractor = read_extractor(folder)
    has_own = (folder / "vocab.json").is_file()
    tokenizer = read_tokenizer(folder) if has_own else new_tokenizer(Alphabet.of(train.targets), job.folder)
    alphabet, columns = open_alphabet(tokenizer)
    torch.manual_seed(job.seed)  # a new head's weights
    network: Any = open_network(folder) if has_own else open_network(folder, len(tokenizer), tokenizer.pad_token_id)
    network.config.apply_spec_augment = (
        False  # its masks are drawn from numpy's global state, which no resumption knows
    )
    network = limited(network, method)
    side, rate_hz = Open(extractor, columns), int(extractor.sampling_rate)
    fitted = _train(network, train, validation, job, alphabet, rate_hz, side, open_defaults(method, len(train)))
    with quiet():
        merged(network, method).save_pretrained(job.folder)
        extractor.save_pretrained(job.folder)
        tokenizer.save_pretrained(job.folder)
    return fitted


def _train(
    network: nn.Module, train: Clips, validation: Clips, job: Job, alphabet: Alphabet, rate_hz: int,
    side: Own | Open, values: Defaults,
) -> Fit:  # fmt: skip
    import torch
    from torch.nn.functional import ctc_loss

    from modelcommons.workbench.engine.train import train as run

    assert isinstance(job.options, RecognitionOptions)
    changes, labels = job.options.changes, [alphabet.encode(text) for text in train.targets]

    def batch(indices: np.ndarray, rng: np.random.Generator) -> Batch:
        sounds = []
        for at in indices:
            samples = train.sound(int(at)).at(rate_hz)
            samples = augment.sped(samples, rng) if "speed" in changes else samples
            sounds.append(augment.louder(samples, rng) if "gain" in changes else samples)
        wanted = [labels[at] for at in indices]
        many = torch.tensor([len(each) for each in wanted])
        return *side.inputs(sounds, rng), torch.from_numpy(np.concatenate(wanted)), many

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        made, lengths, wanted, many = batch
        log_probs, frames = side.outputs(network, made, lengths)
        # a text with more characters than its recording has frames cannot be learned; it weighs nothing
        return ctc_loss(log_probs.float().transpose(0, 1), wanted, frames, many, zero_infinity=True)

    def score(network: nn.Module) -> float:
        return word_errors(side.emissions(network), validation, alphabet, rate_hz)

    return run(
        network, num_rows=len(train), batch=batch, loss=loss, score=score, metric="wer", direction="lower", limit=0.0,
        training=job.training, defaults=values, seed=job.seed, checkpoints=job.checkpoints, progress=job.progress,
        lengths=train.lengths.tolist(), seconds=job.seconds, max_steps=job.max_steps, average=AVERAGE,
    )  # fmt: skip


def word_errors(emit: Emissions, rows: Clips, alphabet: Alphabet, rate_hz: int) -> float:
    """Word error rate of the best label of every frame."""
    wrong = words = 0
    for start in range(0, len(rows), SCORED_AT_ONCE):
        some = range(start, min(start + SCORED_AT_ONCE, len(rows)))
        for at, log_probs in zip(some, emit([rows.sound(at).at(rate_hz) for at in some]), strict=True):
            said = rows.targets[at].split()
            wrong += edits(said, alphabet.decode(greedy(log_probs).labels).split())
            words += len(said)
    return wrong / max(1, words)
