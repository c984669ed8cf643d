"""pretrained: open detectors of the transformers library (DETR, RT-DETR, YOLOS, ...): how they are tuned, and how they
answer.

They propose every thing once, so that nothing is left out for lying on something better.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.workbench.engine.adapters import limited, merged, open_classifier, quiet
from modelcommons.workbench.engine.processors import processor_inputs, read_processor
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.image.boxes.answers import NO_LIMIT, Proposals
from modelcommons.workbench.fields.image.boxes.architectures import open_defaults, repeats
from modelcommons.workbench.fields.image.boxes.canvas import Laid, varied
from modelcommons.workbench.fields.image.boxes.fitting import changes_of, map_50, measure, remembered, some
from modelcommons.workbench.fields.image.boxes.model import Detector, Propose
from modelcommons.workbench.fields.image.boxes.scenes import Options, Scenes
from modelcommons.workbench.fields.image.masks.fitting import head_of
from modelcommons.workbench.task import Job

if TYPE_CHECKING:
    from torch import Tensor, nn


def open_network(folder: Path, names: Sequence[str] | None = None) -> nn.Module:
    """A model of the transformers library; with `names` of classes, a new head where the old one has others.

    Raises:
        FormatError: it is no detector that the library knows, or needs code from the folder.
    """
    from transformers import AutoModelForObjectDetection

    return open_classifier(AutoModelForObjectDetection, folder, "object detector", names)


def open_propose(folder: Path) -> tuple[nn.Module, Propose]:
    """The network in a folder, and how it answers."""
    network = open_network(folder).eval()
    return network, proposing(network, read_processor(folder))


def proposing(network: Any, processor: Any) -> Propose:
    """Picture by picture, since a processor may make them of different sizes."""
    import torch

    inputs = processor_inputs(processor)

    def propose(pictures: Sequence[np.ndarray]) -> list[Proposals]:
        found = []
        for picture in pictures:
            height, width = picture.shape[:2]
            with torch.inference_mode():
                pixels = torch.from_numpy(np.ascontiguousarray(inputs(picture[None])))
                output = network(pixel_values=pixels.to(next(network.parameters(), torch.empty(0)).device))
            scores = shares(output.logits[0].float(), network.config.num_labels).cpu().numpy()
            middle, half = np.split(output.pred_boxes[0].float().cpu().numpy(), 2, axis=1)
            boxes = np.concatenate([middle - half / 2, middle + half / 2], axis=1)
            found.append(Proposals(boxes * np.array([width, height, width, height], np.float32), scores))
        return found

    return propose


def shares(logits: Tensor, num_labels: int) -> Tensor:
    """Scores (queries, classes): a softmax where there is an output for `nothing` too, which is the last, as DETR has;
    else each class for itself."""
    return logits.softmax(-1)[:, :-1] if logits.shape[-1] == num_labels + 1 else logits.sigmoid()


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
