"""open_models: open detectors of the transformers library (DETR, RT-DETR, YOLOS, ...), and how they answer.

They propose every thing once, so that nothing is left out for lying on something better.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.workbench.engine.adapters import open_model
from modelcommons.workbench.engine.processors import processor_inputs, read_processor
from modelcommons.workbench.fields.image.boxes.answers import Proposals
from modelcommons.workbench.fields.image.boxes.detector import Propose

if TYPE_CHECKING:
    from torch import Tensor, nn


def open_network(folder: Path, names: Sequence[str] | None = None) -> nn.Module:
    """A model of the transformers library; with `names` of classes, a new head where the old one has others.

    Raises:
        FormatError: it is no detector that the library knows, or needs code from the folder.
    """
    from transformers import AutoModelForObjectDetection

    return open_model(AutoModelForObjectDetection, folder, "object detector", names)


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
