"""fitting: a U-Net or an open model learns from pieces of pictures and becomes a model folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.formats.model_folder import WEIGHTS, id2label, write_config
from modelcommons.workbench.engine.adapters import limited, merged, quiet
from modelcommons.workbench.engine.processors import processor_inputs, read_processor
from modelcommons.workbench.engine.training import Defaults, Fit
from modelcommons.workbench.fields.image.classifier import logits_of
from modelcommons.workbench.fields.image.masks.architectures import ARCHITECTURES, UNetOptions, defaults, open_defaults
from modelcommons.workbench.fields.image.masks.augment import augment, colored, pieces
from modelcommons.workbench.fields.image.masks.mask import Mask
from modelcommons.workbench.fields.image.masks.metrics import Areas
from modelcommons.workbench.fields.image.masks.model import (
    Inputs,
    Preprocess,
    Segmenter,
    open_network,
    stretched,
)
from modelcommons.workbench.fields.image.masks.pairs import SIDE, Change, Options, Pairs
from modelcommons.workbench.task import Job

if TYPE_CHECKING:
    from torch import Tensor, nn

TASK_NAME = "image-segmentation"
MEASURED = 500  # training pictures that mean and deviation are taken from, evenly spaced
SCORED = 200  # validation pictures that checkpoints are chosen by, evenly spaced
AVERAGE = 0.98  # of the weights over steps; what is kept is the average


def fit(train: Pairs, validation: Pairs, job: Job) -> Fit:
    return _fit_new(train, validation, job) if job.choice.is_new else _fit_open(train, validation, job)


def _fit_new(train: Pairs, validation: Pairs, job: Job) -> Fit:
    import torch
    from safetensors.torch import save_file

    from modelcommons.workbench.fields.image.masks.unet import UNet

    options = ARCHITECTURES[job.choice.name].model_validate(dict(job.choice.options))
    assert isinstance(options, UNetOptions) and isinstance(job.options, Options)
    preprocess = measure(train, channels(train, job.options), 2**options.depth)
    torch.manual_seed(job.seed)
    network = UNet(preprocess.channels, len(train.labels), options.width, options.depth)
    side = piece_side(train, job.options, preprocess.stride)
    values = defaults(len(pieces_of(train, side)))
    fitted = _train(
        network, train, validation, job, preprocess.inputs, preprocess.channels, side, values, options.reach
    )
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, job.folder / WEIGHTS, {"format": "pt"})
    said = {"mean": preprocess.mean, "std": preprocess.std}
    write_config(
        job.folder, TASK_NAME, job.choice.name, options.model_dump(mode="json"), id2label=id2label(train.labels),
        preprocess=said,
    )  # fmt: skip
    return fitted


def _fit_open(train: Pairs, validation: Pairs, job: Job) -> Fit:
    import torch

    assert job.choice.folder is not None and isinstance(job.options, Options)
    torch.manual_seed(job.seed)  # the new head's weights
    network = open_network(job.choice.folder, train.labels)
    processor = read_processor(job.choice.folder)
    trained = limited(network, job.training.method, head_of(network))
    side = piece_side(train, job.options, 1)
    values = open_defaults(job.training.method, len(pieces_of(train, side)))
    fitted = _train(trained, train, validation, job, processor_inputs(processor), 3, side, values, None)
    plain = merged(trained, job.training.method)
    with quiet():
        plain.save_pretrained(job.folder)
        processor.save_pretrained(job.folder)
    return fitted


def channels(train: Pairs, options: Options) -> int:
    """1 where all training pictures are gray, or are to be; else 3."""
    if options.color != "auto":
        return 1 if options.color == "gray" else 3
    return int(train.shapes[:, 2].max())


def measure(train: Pairs, channels: int, stride: int) -> Preprocess:
    """Mean and standard deviation of each channel, over pictures that weigh the same whatever their size."""
    some = range(0, len(train), max(1, len(train) // MEASURED))
    pictures = [colored(train[at].x, channels).reshape(-1, channels) / 255.0 for at in some]
    mean = np.mean([picture.mean(axis=0) for picture in pictures], axis=0)
    square = np.mean([(picture**2).mean(axis=0) for picture in pictures], axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 1 / 255**2))
    rounded = [tuple(round(float(value), 6) for value in values) for values in (mean, std)]
    return Preprocess(rounded[0], rounded[1], stride)


def piece_side(train: Pairs, options: Options, stride: int) -> int:
    """Pixels a side of the pieces trained on, a multiple of `stride`."""
    longest = float(np.median(train.shapes[:, :2].max(axis=1)))
    wanted = min(SIDE, round(longest)) if options.crop == "auto" else options.crop
    return -(-wanted // stride) * stride


def pieces_of(train: Pairs, side: int) -> np.ndarray:
    """The row of each piece of an epoch, int64: of every picture so many that they would cover it."""
    times = -(-train.shapes[:, 0] // side) * -(-train.shapes[:, 1] // side)
    return np.repeat(np.arange(len(train)), times)


def head_of(network: nn.Module) -> list[str]:
    """Names of all that stands behind the backbone; where the model names no backbone, of its last convolution."""
    from torch import nn

    backbone = getattr(network, "base_model", network)
    if backbone is not network:
        return [name for name, module in network.named_children() if module is not backbone]
    return [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)][-1:]


def changes(options: Options) -> tuple[Change, ...]:
    match options.augment:
        case "auto":
            return ("flip", "brightness")
        case "none":
            return ()
        case chosen:
            return chosen


def _train(
    network: nn.Module,
    train: Pairs,
    validation: Pairs,
    job: Job,
    inputs: Inputs,
    channels: int,
    side: int,
    values: Defaults,
    reach: int | None,
) -> Fit:
    import torch

    from modelcommons.workbench.engine.train import train as run

    assert isinstance(job.options, Options)
    rows, varied = pieces_of(train, side), changes(job.options)
    scored = validation.take(np.arange(0, len(validation), -(-len(validation) // SCORED)))

    def batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        pictures, codes = augment(*pieces(train, rows[indices], side, channels, rng), varied, rng)
        return torch.from_numpy(inputs(pictures)), torch.from_numpy(codes.astype(np.int64))

    def loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        pictures, targets = batch
        logits = stretched(logits_of(network(pictures)).float(), side, side)
        return mask_loss(logits, targets, job.training.label_smoothing)

    def score(network: nn.Module) -> float:
        return iou(Segmenter(train.labels, channels, inputs, _running(network), reach), scored)

    return run(
        network, num_rows=len(rows), batch=batch, loss=loss, score=score, metric="iou", direction="higher", limit=1.0,
        training=job.training, defaults=values, seed=job.seed, checkpoints=job.checkpoints, progress=job.progress,
        seconds=job.seconds, max_steps=job.max_steps, average=AVERAGE,
    )  # fmt: skip


def mask_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy (of two classes: the binary one) and 1 - soft Dice of the classes but background, over the batch.

    Source: Milletari, Navab & Ahmadi, V-Net (2016), for soft Dice.

    Args:
        logits: (B, classes, H, W).
        targets: int64 (B, H, W).
    """
    from torch.nn.functional import cross_entropy, one_hot

    shares = logits.softmax(1)[:, 1:]
    wanted = one_hot(targets, logits.shape[1]).movedim(3, 1)[:, 1:]
    both, either = (shares * wanted).sum((0, 2, 3)), (shares + wanted).sum((0, 2, 3))
    dice = (2 * both + 1) / (either + 1)  # a class that is nowhere has 1
    return cross_entropy(logits, targets, label_smoothing=smoothing) + 1 - dice.mean()


def _running(network: nn.Module) -> Any:
    """The network in training, wherever it is, as what a `Segmenter` runs."""
    import torch

    from modelcommons.workbench.engine.device import device

    def run(inputs: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(inputs).to(device(), memory_format=torch.channels_last)
        return np.asarray(logits_of(network(pixels)).float().cpu().numpy())

    return run


def iou(model: Segmenter, rows: Pairs) -> float:
    """Mean over the rows of the IoU of the objects."""
    lines = []
    for row in rows:
        found = Mask(model.logits(row.x[None])[0].argmax(axis=0).astype(np.uint8), rows.labels)
        lines.append({"target": row.y.as_json(), "prediction": found.as_json()})
    return float(Areas.of(lines).iou().mean())
