"""fitting: a new detector learns from pictures with boxes and becomes a model folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.formats.model_folder import WEIGHTS, id2label, write_config
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.image.boxes.answers import Proposals
from modelcommons.workbench.fields.image.boxes.architectures import ARCHITECTURES, defaults, repeats
from modelcommons.workbench.fields.image.boxes.canvas import Canvas, Laid, canvas_of, varied
from modelcommons.workbench.fields.image.boxes.detector import Detector, as_arrays, on_canvas
from modelcommons.workbench.fields.image.boxes.metrics import by_class
from modelcommons.workbench.fields.image.boxes.model import build
from modelcommons.workbench.fields.image.boxes.scenes import LARGEST, Change, Options, Scenes
from modelcommons.workbench.task import Job, Row

if TYPE_CHECKING:
    from torch import Tensor, nn

    from modelcommons.workbench.engine.train import Mean

TASK_NAME = "object-detection"
IN_MEMORY = 2**28  # bytes of decoded training pictures
MEASURED = 200  # training pictures that mean and deviation are taken from, evenly spaced
SCORED = 50  # validation pictures that checkpoints are chosen by, evenly spaced
AVERAGE = 0.99  # of the weights over steps; what is kept is the average


def fit_new(train: Scenes, validation: Scenes, job: Job) -> Fit:
    import torch
    from safetensors.torch import save_file

    from modelcommons.workbench.engine.train import train as run

    options: Any = ARCHITECTURES[job.choice.name].model_validate(dict(job.choice.options))
    assert isinstance(job.options, Options)
    canvas, changes = measure(train, job.options), changes_of(job.options)
    torch.manual_seed(job.seed)
    network = build(options, len(train.labels))
    row, scored = remembered(train), some(validation)

    def batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, ...]:
        rows = [row(at % len(train)) for at in indices.tolist()]
        return batched([varied(row.x, row.y, canvas, changes, rng) for row in rows], canvas)

    def loss(network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor | Mean:
        value: Tensor | Mean = network.loss(*batch)  # type: ignore[operator]
        return value

    def score(network: nn.Module) -> float:
        return map_50(Detector(train.labels, on_canvas(_running(network), canvas), options.overlap), scored)

    fitted = run(
        network, num_rows=len(train) * repeats(len(train)), batch=batch, loss=loss, score=score, metric="map_50",
        direction="higher", limit=1.0, training=job.training, defaults=defaults(len(train)), seed=job.seed,
        checkpoints=job.checkpoints, progress=job.progress, seconds=job.seconds, max_steps=job.max_steps,
        average=AVERAGE,
    )  # fmt: skip
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, job.folder / WEIGHTS, {"format": "pt"})
    write_config(
        job.folder, TASK_NAME, job.choice.name, options.model_dump(mode="json"), id2label=id2label(train.labels),
        preprocess=canvas.as_json(),
    )  # fmt: skip
    return fitted


def remembered(rows: Scenes) -> Callable[[int], Row]:
    """The rows, of which so many stay decoded as fit into `IN_MEMORY`."""
    area = float(np.mean([height * width for height, width in (one.size for one in rows.objects())]))
    return lru_cache(int(IN_MEMORY // (3 * area)))(rows.__getitem__)


def measure(train: Scenes, options: Options) -> Canvas:
    """The canvas for these pictures, with mean and standard deviation of each channel."""
    sizes = np.array([one.size for one in train.objects()])
    longest = min(LARGEST, round(float(np.median(sizes.max(axis=1))))) if options.size == "auto" else options.size
    height, width = canvas_of(sizes, longest)
    rows = (train[at].x for at in range(0, len(train), max(1, len(train) // MEASURED)))
    means, squares = [], []
    for picture in rows:
        values = np.broadcast_to(picture, (*picture.shape[:2], 3)).reshape(-1, 3) / 255.0
        means.append(values.mean(axis=0))
        squares.append((values**2).mean(axis=0))
    mean = np.mean(means, axis=0)
    std = np.sqrt(np.maximum(np.mean(squares, axis=0) - mean**2, 1 / 255**2))
    rounded = [tuple(round(float(value), 6) for value in values) for values in (mean, std)]
    return Canvas(height, width, rounded[0], rounded[1])


def changes_of(options: Options) -> tuple[Change, ...]:
    match options.augment:
        case "auto":
            return ("flip", "scale", "color")
        case "none":
            return ()
        case chosen:
            return chosen


def batched(laid: Sequence[Laid], canvas: Canvas) -> tuple[Tensor, ...]:
    """Inputs (B, 3, H, W), boxes (B, M, 4), classes (B, M), and which of the M are there (B, M)."""
    import torch

    most = max(1, *(len(one.codes) for one in laid))
    boxes, codes = np.zeros((len(laid), most, 4), np.float32), np.zeros((len(laid), most), np.int64)
    there = np.zeros((len(laid), most), bool)
    for at, one in enumerate(laid):
        here = slice(len(one.codes))
        boxes[at, here], codes[at, here], there[at, here] = one.boxes, one.codes, True
    inputs = canvas.inputs([one.picture for one in laid])
    return tuple(torch.from_numpy(part) for part in (inputs, boxes, codes, there))


def some(validation: Scenes) -> Scenes:
    """The rows that checkpoints are chosen by."""
    return validation.take(np.arange(0, len(validation), -(-len(validation) // SCORED)))


def map_50(model: Detector, rows: Scenes) -> float:
    """Mean over the classes of the average precision at an IoU of 0.5; 0 where the rows have no boxes."""
    answers = model.predict(list(rows))
    lines = [{"target": row.as_json(), **one} for row, one in zip(rows.objects(), answers, strict=True)]
    found = by_class(lines)
    return float(np.mean([values[0] for values in found.values()])) if found else 0.0


def _running(network: Any) -> Any:
    """The network in training, wherever it is, as what a `Detector` runs."""
    import torch

    from modelcommons.workbench.engine.device import device

    def run(inputs: np.ndarray) -> list[Proposals]:
        pixels = torch.from_numpy(inputs).to(device(), memory_format=torch.channels_last)
        return as_arrays(network.proposals(pixels))

    return run
