"""fitting: a new network or an open model goes through the training loop and becomes a model folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from modelcommons.errors import DataError
from modelcommons.formats.model_folder import WEIGHTS, id2label, write_config
from modelcommons.formats.preprocess import Preprocess, measured, spaced
from modelcommons.workbench.engine.adapters import limited, merged, quiet
from modelcommons.workbench.engine.augment import Change, augment, windows
from modelcommons.workbench.engine.processors import processor_inputs, read_processor
from modelcommons.workbench.engine.training import Defaults, Fit
from modelcommons.workbench.fields.image.architectures import ARCHITECTURES, defaults, open_defaults
from modelcommons.workbench.fields.image.classifier import TASK_NAME, logits_of, open_network
from modelcommons.workbench.fields.image.rows import Options, Pictures
from modelcommons.workbench.task import Job

if TYPE_CHECKING:
    from torch import Tensor, nn

SCORED_AT_ONCE = 500  # pictures
SCORED_VALUES = 2**24  # of large pictures fewer
WHITENED = 2_000  # pictures that the first layer of airbench is computed from
AVERAGE = 0.998  # of the weights over steps; what is kept is the average; in few passes it would lag behind

Inputs = Callable[[np.ndarray], np.ndarray]  # uint8 (B, H, W, C) -> float32 (B, C, H, W)


def fit(train: Pictures, validation: Pictures, job: Job) -> Fit:
    return _fit_new(train, validation, job) if job.choice.is_new else _fit_open(train, validation, job)


def _fit_new(train: Pictures, validation: Pictures, job: Job) -> Fit:
    import torch
    from safetensors.torch import save_file

    from modelcommons.workbench.fields.image.airbench import Airbench
    from modelcommons.workbench.fields.image.models import build

    options = ARCHITECTURES[job.choice.name].model_validate(dict(job.choice.options))
    preprocess = measured(train.pixels, len(train))
    torch.manual_seed(job.seed)
    network = build(options, train.shape, len(train.labels))
    if isinstance(network, Airbench):
        network.whiten(torch.from_numpy(preprocess.inputs(train.pixels(spaced(len(train), WHITENED)))))
        network.views = 1  # enough to choose a checkpoint by; the model folder says how many it answers by
    values = defaults(job.choice.name, len(train))
    fitted = _train(network, train, validation, job, preprocess, preprocess.inputs, values)
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, job.folder / WEIGHTS, {"format": "pt"})
    rest = {"id2label": id2label(train.labels), "preprocess": asdict(preprocess)}
    write_config(job.folder, TASK_NAME, job.choice.name, options.model_dump(mode="json"), **rest)
    return fitted


def _fit_open(train: Pictures, validation: Pictures, job: Job) -> Fit:
    import torch

    assert job.choice.folder is not None
    preprocess = measured(train.pixels, len(train))
    torch.manual_seed(job.seed)  # the new head's weights
    network = open_network(job.choice.folder, train.labels)
    processor = read_processor(job.choice.folder)
    inputs = processor_inputs(processor)
    trained = limited(network, job.training.method)
    values = open_defaults(job.training.method, len(train))
    fitted = _train(trained, train, validation, job, preprocess, inputs, values)
    whole = merged(trained, job.training.method)
    whole.config.preprocess = asdict(preprocess)
    with quiet():
        whole.save_pretrained(job.folder)
        processor.save_pretrained(job.folder)
    return fitted


def changes(options: Options) -> tuple[Change, ...]:
    match options.augment:
        case "auto":
            return ("crop",)
        case "none":
            return ()
        case chosen:
            return chosen


def _train(
    network: nn.Module,
    train: Pictures,
    validation: Pictures,
    job: Job,
    preprocess: Preprocess,
    inputs: Inputs,
    values: Defaults,
) -> Fit:
    import torch
    from torch.nn.functional import cross_entropy

    from modelcommons.workbench.engine.train import train as run

    assert isinstance(job.options, Options)
    codes, varied = train.codes, changes(job.options)
    size = _early_size(job.options, train, job)

    def batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        pictures = augment(train.pixels(indices), varied, preprocess.fill, rng)
        return torch.from_numpy(inputs(pictures)), torch.from_numpy(codes[indices])

    def early(indices: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        assert size is not None
        shifted = windows(train.pixels(indices), size, rng)
        pictures = augment(shifted, tuple(change for change in varied if change != "crop"), preprocess.fill, rng)
        return torch.from_numpy(inputs(pictures)), torch.from_numpy(codes[indices])

    def loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        pictures, targets = batch
        logits = logits_of(network(pictures)).float()
        return cross_entropy(logits, targets, label_smoothing=job.training.label_smoothing, reduction="none")

    def score(network: nn.Module) -> float:
        return accuracy(network, validation, inputs)

    return run(
        network, num_rows=len(train), batch=batch, loss=loss, score=score, metric="accuracy", direction="higher",
        limit=1.0,
        training=job.training, defaults=values, seed=job.seed, checkpoints=job.checkpoints, progress=job.progress,
        seconds=job.seconds, max_steps=job.max_steps,
        average=None if job.choice.name == "airbench" else AVERAGE,
        early=None if size is None else (job.options.early_share, early),
    )  # fmt: skip


def _early_size(options: Options, train: Pictures, job: Job) -> int | None:
    """Side of the squares that training begins with.

    Raises: DataError: the pictures are smaller, or the network takes one size only.
    """
    size, side = options.early_size, min(train.shape.dimensions[:2])
    if size is not None and (not job.choice.is_new or job.choice.name == "linear"):
        raise DataError(
            f"data.options.early_size: expected a new network that takes pictures of any size, got {job.choice.name}. "
            "Leave it out."
        )
    if size is not None and size >= side:
        raise DataError(f"data.options.early_size: expected less than the pictures' {side} pixels, got {size}.")
    return size


def accuracy(network: nn.Module, rows: Pictures, inputs: Inputs) -> float:
    """Share of the rows whose label the network gets right; it is in evaluation mode."""
    import torch

    from modelcommons.workbench.engine.device import device

    right, codes = 0, rows.codes
    at_once = max(1, min(SCORED_AT_ONCE, SCORED_VALUES // math.prod(rows.shape.dimensions)))
    for start in range(0, len(rows), at_once):
        indices = np.arange(start, min(start + at_once, len(rows)))
        logits = logits_of(network(torch.from_numpy(inputs(rows.pixels(indices))).to(device())))
        right += int((logits.argmax(1).cpu().numpy() == codes[indices]).sum())
    return right / len(rows)
