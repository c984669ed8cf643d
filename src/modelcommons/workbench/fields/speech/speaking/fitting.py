"""fitting: a new voice goes through the training loop and becomes a model folder; an open one is taken as it is."""

# B batch, T frames, M mel bands, L characters

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelcommons.errors import DataError
from modelcommons.formats.model_folder import WEIGHTS, read_config, write_config
from modelcommons.workbench.engine.training import Fit, Point
from modelcommons.workbench.fields.speech.features import Features, evenly, log_mel, measure
from modelcommons.workbench.fields.speech.options import SynthesisOptions
from modelcommons.workbench.fields.speech.sound import Sound, as_int16
from modelcommons.workbench.fields.speech.speaking import vocoder
from modelcommons.workbench.fields.speech.speaking.alignment import prior
from modelcommons.workbench.fields.speech.speaking.architectures import VOICES, defaults
from modelcommons.workbench.fields.speech.speaking.cepstra import cepstra, distortion
from modelcommons.workbench.fields.speech.speaking.metrics import described, losses
from modelcommons.workbench.fields.speech.speaking.model import Voice
from modelcommons.workbench.fields.speech.speaking.open_models import load_open
from modelcommons.workbench.fields.speech.speaking.speech_t5 import SpeechT5
from modelcommons.workbench.fields.speech.speaking.utterances import Utterances, spelled
from modelcommons.workbench.fields.speech.transcription.alphabet import Alphabet
from modelcommons.workbench.task import Job

if TYPE_CHECKING:
    from torch import Tensor, nn

    from modelcommons.workbench.fields.speech.speaking.acoustic import Acoustic

TASK_NAME = "text-to-speech"
AVERAGE = 0.998  # of the weights over steps; what is kept is the average
SCORED = 16  # validation texts at most, evenly: their waves and time warping take their time
ITERATIONS = 8  # of Griffin-Lim, for them


class Batches:
    """Rows of one part as a network takes them."""

    def __init__(self, rows: Utterances, alphabet: Alphabet, speakers: list[str], features: Features, capitals: bool):
        self.rows, self.features = rows, features
        number = {speaker: at for at, speaker in enumerate(speakers)}
        asked = [row.x for row in rows]
        self.labels = [alphabet.encode(spelled(each.text, capitals)) for each in asked]
        self.speakers = np.array([number.get(each.speaker, 0) for each in asked], np.int64)

    def heard(self, index: int) -> np.ndarray:
        """Features of the recording, float32 (T, M)."""
        samples, logmel = self.rows.clips.sound(index).at(self.rows.rate_hz), self.features.logmel
        return self.features.inputs(np.pad(samples, (0, max(0, logmel.window - len(samples)))))

    def batch(self, indices: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """Labels (B, L), speakers (B,), features (B, T, M), frames (B,), log prior of the alignment (B, T, L)."""
        import torch

        labels, heard = [self.labels[at] for at in indices], [self.heard(int(at)) for at in indices]
        length, longest = max(map(len, labels)), max(map(len, heard))
        made = np.zeros((len(indices), length), np.int64)
        features = np.zeros((len(indices), longest, heard[0].shape[1]), np.float32)
        priors = np.zeros((len(indices), longest, length), np.float32)
        for at, (some, each) in enumerate(zip(labels, heard, strict=True)):
            made[at, : len(some)], features[at, : len(each)] = some, each
            priors[at, : len(each), : len(some)] = prior(len(each), len(some))
        frames = torch.tensor([len(each) for each in heard])
        speakers = torch.from_numpy(self.speakers[indices])
        return torch.from_numpy(made), speakers, torch.from_numpy(features), frames, torch.from_numpy(priors)


def fit(train: Utterances, validation: Utterances, job: Job) -> Fit:
    return _fit_new(train, validation, job) if job.choice.is_new else _take_open(validation, job)


def _take_open(validation: Utterances, job: Job) -> Fit:
    """An open voice as it is: the transformers library has no training for it."""
    from modelcommons.workbench.engine.adapters import quiet

    assert job.choice.folder is not None and isinstance(job.options, SynthesisOptions)
    begun, folder = time.monotonic(), job.choice.folder
    vocoder, voices = (Path(each).expanduser() if each else None for each in (job.options.vocoder, job.options.voices))
    opened = load_open(folder, read_config(folder), vocoder, voices)
    if isinstance(opened, SpeechT5) and not opened.voices:
        job.progress.line("tune", "no `data.options.voices`: the speaker's vector is zeros, which is nobody's voice")
    voice = Voice(opened, validation.rate_hz)
    some = [validation[at] for at in range(0, len(validation), -(-len(validation) // SCORED))]
    lines = [
        {"target": described(row.y, row.y.rate_hz), **answer}
        for row, answer in zip(some, voice.predict(some), strict=True)
    ]
    opened.network.config.preprocess = {"rate_hz": validation.rate_hz}
    with quiet():
        opened.save(job.folder)
    value, seconds = float(losses(lines).mean()), time.monotonic() - begun
    points = (Point(0, 0.0, seconds, 0.0, value),)
    return Fit("mcd", value, points, 0, 0.0, seconds, len(some) / seconds, opened.num_parameters, 0)


def _fit_new(train: Utterances, validation: Utterances, job: Job) -> Fit:
    import torch
    from safetensors.torch import save_file

    from modelcommons.workbench.fields.speech.speaking.acoustic import Acoustic

    options = VOICES[job.choice.name].model_validate(dict(job.choice.options))
    assert isinstance(job.options, SynthesisOptions)
    capitals, logmel = job.options.capitals, log_mel(options, train.rate_hz)
    alphabet = Alphabet.of(spelled(text, capitals) for text in train.clips.targets)
    speakers = sorted({row.x.speaker for row in train if row.x.speaker}) if options.speakers else []
    least = np.zeros(logmel.window, np.float32)
    sounds = (train.clips.sound(at).at(train.rate_hz) for at in evenly(len(train)))
    features = measure(logmel, (np.concatenate([sound, least]) for sound in sounds))
    parts = [Batches(_long_enough(rows, features, capitals), alphabet, speakers, features, capitals)
             for rows in (train, validation)]  # fmt: skip
    torch.manual_seed(job.seed)
    network = Acoustic(options, len(alphabet.characters), len(speakers))
    fitted = _train(network, parts, job)
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, job.folder / WEIGHTS, {"format": "pt"})
    write_config(
        job.folder, TASK_NAME, job.choice.name, options.model_dump(mode="json"), alphabet=alphabet.characters,
        speakers=speakers, capitals=capitals, preprocess=features.written(),
    )  # fmt: skip
    return fitted


def _long_enough(rows: Utterances, features: Features, capitals: bool) -> Utterances:
    """Rows with a frame for every character; others cannot be aligned.

    Raises:
        DataError: there are none.
    """
    frames = np.array([features.logmel.frames(int(length)) for length in rows.clips.lengths])
    characters = np.array([len(spelled(text, capitals)) for text in rows.clips.targets])
    kept = np.flatnonzero(np.maximum(frames, 1) >= characters)
    if not len(kept):
        raise DataError(
            "Expected recordings with at least one frame for each character of their texts, found none. "
            "Give longer ones, or a smaller `hop_ms`."
        )
    return rows.take(kept)


def _train(network: Acoustic, parts: list[Batches], job: Job) -> Fit:
    from modelcommons.workbench.engine.train import train as run

    train, validation = parts

    def loss(network: nn.Module, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return network.losses(batch)  # type: ignore[operator,no-any-return]

    def frames(batch: tuple[Tensor, ...]) -> float:
        return float(batch[3].sum())

    def characters(batch: tuple[Tensor, ...]) -> float:
        return float((batch[0] > 0).sum())

    def rows(batch: tuple[Tensor, ...]) -> float:
        return len(batch[0])

    def score(network: nn.Module) -> float:
        return far(network, validation)

    return run(
        network, num_rows=len(train.rows), batch=train.batch, loss=loss, counts=(frames, characters, rows), score=score,
        metric="mcd", direction="lower", limit=0.0, training=job.training, defaults=defaults(len(train.rows)),
        seed=job.seed, checkpoints=job.checkpoints, progress=job.progress, lengths=train.rows.clips.lengths.tolist(),
        seconds=job.seconds, max_steps=job.max_steps, average=AVERAGE,
    )  # fmt: skip


def far(network: nn.Module, rows: Batches) -> float:
    """Mean mel-cepstral distortion of what is heard; frames alone do not tell what is too loud for a wave."""
    import torch

    machine, found = next(network.parameters()).device, []
    logmel, rate_hz = rows.features.logmel, rows.rows.rate_hz
    for at in range(0, len(rows.labels), -(-len(rows.labels) // SCORED)):
        labels = torch.from_numpy(rows.labels[at])[None].to(machine)
        made, _ = network(labels, torch.from_numpy(rows.speakers[at : at + 1]).to(machine))
        bands = made[0].cpu().numpy() * rows.features.std + rows.features.mean
        heard = Sound(as_int16(vocoder.wave(logmel, bands, ITERATIONS)), logmel.rate_hz)
        recorded = rows.rows.clips.sound(at)
        found.append(distortion(*(cepstra(sound.at(rate_hz), rate_hz) for sound in (recorded, heard))))
    return float(np.mean(found))
