"""fitting: a new network or an open model goes through the training loop and becomes a model folder."""

# B batch, N samples of the window, T frames, M mel bands

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.formats.model_folder import WEIGHTS, id2label, write_config
from modelcommons.workbench.engine.classification import LEAST
from modelcommons.workbench.engine.training import Defaults, Fit
from modelcommons.workbench.fields.speech import augment
from modelcommons.workbench.fields.speech.architectures import CLASSIFIERS, LogMelOptions, defaults, open_defaults
from modelcommons.workbench.fields.speech.classifier import (
    Inputs,
    Window,
    logits_of,
    open_network,
)
from modelcommons.workbench.fields.speech.extractors import extracted, read_extractor
from modelcommons.workbench.fields.speech.features import evenly, log_mel, measure
from modelcommons.workbench.fields.speech.options import ClassificationOptions
from modelcommons.workbench.fields.speech.rows import Clips
from modelcommons.workbench.task import Job

if TYPE_CHECKING:
    from torch import Tensor, nn

TASK_NAME = "audio-classification"
SCORED_AT_ONCE = 64
COVERED = 99.0  # percent of the training recordings that `seconds: auto` hears whole
MOST_SECONDS = 10.0  # that `auto` hears
AVERAGE = 0.998  # of the weights over steps; what is kept is the average


class Examples:
    """Recordings of one part in a window, with the indices of their labels."""

    def __init__(self, clips: Clips, window: Window, labels: list[str]) -> None:
        index = {label: at for at, label in enumerate(labels)}
        self.clips, self.window = clips, window
        self.codes = np.array([index.get(label, -1) for label in clips.targets], np.int64)

    def __len__(self) -> int:
        return len(self.codes)

    def heard(self, indices: np.ndarray) -> np.ndarray:
        """float32 (B, N)."""
        return np.stack([self.window.fitted(self.clips.sound(int(at))) for at in indices])

    def varied(self, indices: np.ndarray, changes: tuple[augment.Change, ...], rng: np.random.Generator) -> np.ndarray:
        """The same with speed, loudness and place drawn anew, float32 (B, N)."""
        found = []
        for at in indices:
            samples = self.clips.sound(int(at)).at(self.window.rate_hz)
            samples = augment.varied(samples, changes, rng)
            found.append(self.window.placed(samples, rng.random() if "shift" in changes else 0.5))
        return np.stack(found)


def fit(train: Clips, validation: Clips, job: Job) -> Fit:
    labels = sorted(set(train.targets))
    return _fit_new(train, validation, labels, job) if job.choice.is_new else _fit_open(train, validation, labels, job)


def _fit_new(train: Clips, validation: Clips, labels: list[str], job: Job) -> Fit:
    import torch
    from safetensors.torch import save_file

    from modelcommons.workbench.fields.speech.models import Cnn

    options = CLASSIFIERS[job.choice.name].model_validate(dict(job.choice.options))
    window = measured(train, train.rate_hz, job, options)
    parts = [Examples(clips, window, labels) for clips in (train, validation)]
    features = measure(log_mel(options, window.rate_hz), (parts[0].heard(np.array([at])) for at in evenly(len(train))))
    torch.manual_seed(job.seed)
    network = Cnn(options, len(labels))
    fitted = _train(network, parts, job, features.inputs, defaults(len(train)))
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, job.folder / WEIGHTS, {"format": "pt"})
    preprocess = asdict(window) | features.written()
    write_config(
        job.folder, TASK_NAME, job.choice.name, options.model_dump(mode="json"), id2label=id2label(labels),
        preprocess=preprocess,
    )  # fmt: skip
    return fitted


def _fit_open(train: Clips, validation: Clips, labels: list[str], job: Job) -> Fit:
    import torch

    from modelcommons.workbench.engine.adapters import limited, merged, quiet

    assert job.choice.folder is not None
    method = job.training.method
    extractor = read_extractor(job.choice.folder)
    window = measured(train, int(extractor.sampling_rate), job)
    torch.manual_seed(job.seed)  # the new head's weights
    network: Any = open_network(job.choice.folder, labels)
    network.config.apply_spec_augment = (
        False  # its masks are drawn from numpy's global state, which no resumption knows
    )
    network = limited(network, method)
    parts = [Examples(clips, window, labels) for clips in (train, validation)]
    fitted = _train(network, parts, job, extracted(extractor), open_defaults(method, len(train)))
    plain = merged(network, method)
    plain.config.preprocess = asdict(window)
    with quiet():
        plain.save_pretrained(job.folder)
        extractor.save_pretrained(job.folder)
    return fitted


def measured(train: Clips, rate_hz: int, job: Job, options: LogMelOptions | None = None) -> Window:
    """The window that is heard: as the recipe says, else as long as nearly all training recordings; never less than a
    window of the features."""
    assert isinstance(job.options, ClassificationOptions)
    seconds = job.options.seconds
    if seconds == "auto":
        seconds = min(MOST_SECONDS, float(np.percentile(train.lengths, COVERED)) / train.rate_hz)
    least = log_mel(options, rate_hz).window if options else 1
    return Window(rate_hz, max(least, int(np.ceil(seconds * rate_hz))))


def _train(network: nn.Module, parts: list[Examples], job: Job, inputs: Inputs, values: Defaults) -> Fit:
    import torch
    from torch.nn.functional import cross_entropy

    from modelcommons.workbench.engine.train import train as run

    assert isinstance(job.options, ClassificationOptions)
    changes, (train, validation) = job.options.changes, parts
    masks = "mask" in changes and job.choice.is_new  # zero is the mean of our features only

    def batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        made = inputs(train.varied(indices, changes, rng))
        made = augment.masked(made, rng) if masks else made
        return torch.from_numpy(made), torch.from_numpy(train.codes[indices])

    def loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        made, targets = batch
        return cross_entropy(
            logits_of(network(made)).float(), targets, label_smoothing=job.training.label_smoothing, reduction="none"
        )

    def score(network: nn.Module) -> float:
        return log_loss(network, validation, inputs)

    return run(
        network, num_rows=len(train), batch=batch, loss=loss, score=score, metric="log_loss", direction="lower",
        limit=0.0,
        training=job.training, defaults=values, seed=job.seed, checkpoints=job.checkpoints, progress=job.progress,
        seconds=job.seconds, max_steps=job.max_steps, average=AVERAGE,
    )  # fmt: skip


def log_loss(network: nn.Module, rows: Examples, inputs: Inputs) -> float:
    """Mean surprise at the right labels; on the few rows that sounds have for it, many checkpoints are all right.

    A label that training never saw surprises as much as a chance of `LEAST` would.
    """
    import torch

    from modelcommons.workbench.engine.device import device

    total = 0.0
    for start in range(0, len(rows), SCORED_AT_ONCE):
        indices = np.arange(start, min(start + SCORED_AT_ONCE, len(rows)))
        logits = logits_of(network(torch.from_numpy(inputs(rows.heard(indices))).to(device())))
        found, codes = logits.float().log_softmax(1).cpu().numpy(), rows.codes[indices]
        total -= float(np.where(codes < 0, np.log(LEAST), found[np.arange(len(codes)), codes]).sum())
    return total / len(rows)
