"""fitting: a new network or an open model goes through the training loop and becomes a recogniser's folder."""

# B batch, N samples, T frames, M mel bands, K labels

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from modelcommons.formats.model_folder import WEIGHTS, read_config, write_config
from modelcommons.workbench.engine.training import Defaults, Fit
from modelcommons.workbench.fields.speech import augment
from modelcommons.workbench.fields.speech.extractors import read_extractor
from modelcommons.workbench.fields.speech.features import evenly, log_mel, measure
from modelcommons.workbench.fields.speech.options import RecognitionOptions
from modelcommons.workbench.fields.speech.rows import Clips
from modelcommons.workbench.fields.speech.transcription.alphabet import Alphabet
from modelcommons.workbench.fields.speech.transcription.architectures import (
    RECOGNISERS,
    CtcOptions,
    defaults,
    open_defaults,
)
from modelcommons.workbench.fields.speech.transcription.metrics import edits
from modelcommons.workbench.fields.speech.transcription.open_models import (
    new_tokenizer,
    open_alphabet,
    open_network,
    read_tokenizer,
)
from modelcommons.workbench.fields.speech.transcription.sides import Batch, Open, Own, Side, Writing
from modelcommons.workbench.fields.speech.transcription.splicing import Splicer
from modelcommons.workbench.fields.speech.transcription.writers import Script, open_writer
from modelcommons.workbench.task import Job

if TYPE_CHECKING:
    from torch import nn

TASK_NAME = "automatic-speech-recognition"
SCORED_AT_ONCE = 32
SPLICED = 0.7  # of the recordings
AVERAGE = 0.995  # of the weights over steps; what is kept is the average


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
    side = Own(features, alphabet, "mask" in job.options.changes)
    fitted = _train(network, train, validation, job, train.rate_hz, side, defaults(len(train)))
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, job.folder / WEIGHTS, {"format": "pt"})
    write_config(
        job.folder, TASK_NAME, job.choice.name, options.model_dump(mode="json"), alphabet=alphabet.characters,
        preprocess=features.written(),
    )  # fmt: skip
    return fitted


def _fit_open(train: Clips, validation: Clips, job: Job) -> Fit:
    import torch

    from modelcommons.workbench.engine.adapters import limited, merged, quiet

    assert job.choice.folder is not None
    folder, method = job.choice.folder, job.training.method
    extractor = read_extractor(folder)
    torch.manual_seed(job.seed)  # a new head's weights
    if read_config(folder).get("is_encoder_decoder"):
        tokenizer, network = read_tokenizer(folder), cast(Any, open_writer(folder))
        side: Side = Writing(Script(network, extractor, tokenizer))
    else:
        tokenizer, network, alphabet, columns = _spelling(folder, train, job)
        side = Open(extractor, alphabet, columns)
    network.config.apply_spec_augment = (
        False  # its masks are drawn from numpy's global state, which no resumption knows
    )
    network = limited(network, method)
    values, rate_hz = open_defaults(method, len(train)), int(extractor.sampling_rate)
    fitted = _train(network, train, validation, job, rate_hz, side, values)
    with quiet():
        merged(network, method).save_pretrained(job.folder)
        extractor.save_pretrained(job.folder)
        tokenizer.save_pretrained(job.folder)
    return fitted


def _spelling(folder: Path, train: Clips, job: Job) -> tuple[Any, Any, Alphabet, np.ndarray]:
    """Tokenizer, network, characters and their outputs; a model without characters gets those of the training texts."""
    if (folder / "vocab.json").is_file():
        tokenizer = read_tokenizer(folder)
        return tokenizer, open_network(folder), *open_alphabet(tokenizer)
    tokenizer = new_tokenizer(Alphabet.of(train.targets), job.folder)
    return tokenizer, open_network(folder, len(tokenizer), tokenizer.pad_token_id), *open_alphabet(tokenizer)


def _train(
    network: nn.Module, train: Clips, validation: Clips, job: Job, rate_hz: int, side: Side, values: Defaults
) -> Fit:
    from modelcommons.workbench.engine.train import train as run

    assert isinstance(job.options, RecognitionOptions)
    changes, texts = job.options.changes, train.targets
    splicer = Splicer(train) if "splice" in changes else None

    def batch(indices: np.ndarray, rng: np.random.Generator) -> Batch:
        sounds, said = [], []
        for at in indices.tolist():
            if splicer and rng.random() < SPLICED:
                samples, text = splicer.spliced(at, rate_hz, rng)
            else:
                samples, text = train.sound(at).at(rate_hz), texts[at]
            sounds.append(augment.varied(samples, changes, rng))
            said.append(text)
        return side.batch(sounds, said, rng)

    def score(network: nn.Module) -> float:
        return word_errors(network, validation, side, rate_hz)

    return run(
        network, num_rows=len(train), batch=batch, loss=side.loss, counts=(side.count,), score=score, metric="wer",
        direction="lower", limit=0.0, training=job.training, defaults=values, seed=job.seed,
        checkpoints=job.checkpoints, progress=job.progress, lengths=train.lengths.tolist(), seconds=job.seconds,
        max_steps=job.max_steps, average=AVERAGE,
    )  # fmt: skip


def word_errors(network: nn.Module, rows: Clips, side: Side, rate_hz: int) -> float:
    """Word error rate by the quickest search."""
    wrong = words = 0
    for start in range(0, len(rows), SCORED_AT_ONCE):
        some = range(start, min(start + SCORED_AT_ONCE, len(rows)))
        found = side.heard(network, [rows.sound(at).at(rate_hz) for at in some])
        for at, text in zip(some, found, strict=True):
            said = rows.targets[at].split()
            wrong += edits(said, text.split())
            words += len(said)
    return wrong / max(1, words)
