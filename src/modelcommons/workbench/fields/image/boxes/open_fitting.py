"""open_fitting: an open detector goes on learning by its own loss, and becomes a model folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.workbench.engine.adapters import limited, merged, quiet
from modelcommons.workbench.engine.processors import read_processor
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.image.boxes.answers import NO_LIMIT
from modelcommons.workbench.fields.image.boxes.architectures import open_defaults, repeats
from modelcommons.workbench.fields.image.boxes.canvas import Laid, varied
from modelcommons.workbench.fields.image.boxes.detector import Detector
from modelcommons.workbench.fields.image.boxes.fitting import changes_of, map_50, measure, remembered, some
from modelcommons.workbench.fields.image.boxes.open_models import open_network, proposing
from modelcommons.workbench.fields.image.boxes.scenes import Options, Scenes
from modelcommons.workbench.fields.image.masks.fitting import head_of
from modelcommons.workbench.task import Job

if TYPE_CHECKING:
    from torch import Tensor, nn


def fit_open(train: Scenes, validation: Scenes, job: Job) -> Fit:
    """Goes on training an open model by its own loss."""
    import torch

    from modelcommons.workbench.engine.train import train as run

    assert job.choice.folder is not None and isinstance(job.options, Options)
    torch.manual_seed(job.seed)  # the new head's weights
    network, processor = open_network(job.choice.folder, train.labels), read_processor(job.choice.folder)
    trained = limited(network, job.training.method, head_of(network))
    canvas, changes = measure(train, job.options), changes_of(job.options)
    row, scored = remembered(train), some(validation)

    def batch(indices: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
        rows = [row(at % len(train)) for at in indices.tolist()]
        laid = [varied(row.x, row.y, canvas, changes, rng) for row in rows]
        made = processor(
            images=[one.picture for one in laid], annotations=[_coco(at, one) for at, one in enumerate(laid)],
            return_tensors="pt", input_data_format="channels_last",
        )  # fmt: skip
        return {name: made[name] for name in ("pixel_values", "labels")}

    def loss(network: nn.Module, batch: dict[str, Any]) -> Tensor:
        value: Tensor = network(**batch).loss
        return value

    def score(network: nn.Module) -> float:
        return map_50(Detector(train.labels, proposing(network, processor), NO_LIMIT), scored)

    fitted = run(
        trained, num_rows=len(train) * repeats(len(train)), batch=batch, loss=loss, score=score, metric="map_50",
        direction="higher", limit=1.0, training=job.training, defaults=open_defaults(job.training.method, len(train)),
        seed=job.seed, checkpoints=job.checkpoints, progress=job.progress, seconds=job.seconds, max_steps=job.max_steps,
    )  # fmt: skip
    plain = merged(trained, job.training.method)
    with quiet():
        plain.save_pretrained(job.folder)
        processor.save_pretrained(job.folder)
    return fitted


def _coco(number: int, laid: Laid) -> dict[str, Any]:
    """The boxes of one picture as the library's processors take them."""
    boxes = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in laid.boxes.tolist()]
    things = [
        {"bbox": box, "category_id": code, "area": box[2] * box[3], "iscrowd": 0}
        for box, code in zip(boxes, laid.codes.tolist(), strict=True)
    ]
    return {"image_id": number, "annotations": things}
