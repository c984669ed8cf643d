"""together: several classifiers of pictures that answer as one, by the mean of their probabilities.

The folder holds each of them as a model folder of its own, and an own config.json, as of our networks:
`architecture` is `together`, and `options.members` names the folders. An open model's processor stands beside it.

Source: Lakshminarayanan et al., Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles (2017).
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcommons.errors import FormatError
from modelcommons.formats.model_folder import CONFIG, MODEL_TYPE, read_config, write_config
from modelcommons.workbench.engine.processors import PROCESSOR

if TYPE_CHECKING:
    from torch import Tensor, nn

ARCHITECTURE = "together"
MEMBER = re.compile(r"seed-[0-9]{1,20}")


def join(task: str, folders: Mapping[str, Path], out: Path) -> None:
    """A model folder of several, which were trained on the same rows: each is copied below it, under its name."""
    first = next(iter(folders.values()))
    config = read_config(first)
    for name, folder in folders.items():
        shutil.copytree(folder, out / name)
    if (first / PROCESSOR).is_file():
        shutil.copy(first / PROCESSOR, out)
    rest = {key: config[key] for key in ("id2label", "preprocess")}
    write_config(out, task, ARCHITECTURE, {"members": list(folders)}, **rest)


def members(config: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Names of the folders of those that answer together; none of a model that answers alone.

    Raises:
        FormatError: they are no names of such folders.
    """
    if config["model_type"] != MODEL_TYPE or config.get("architecture") != ARCHITECTURE:
        return ()
    try:
        names = tuple(config["options"]["members"])
        if not names or not all(MEMBER.fullmatch(name) for name in names):
            raise ValueError(f"got {names}")
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{folder / CONFIG}: expected the members' folders, seed-0 and so on ({error}).") from error
    return names


def mean(networks: Sequence[nn.Module]) -> nn.Module:
    """One network out of several that take the same inputs and give logits, (B, labels); it gives log probabilities."""
    import torch
    from torch import nn

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.networks = nn.ModuleList(networks)

        def forward(self, pixel_values: Tensor) -> Tensor:
            each_NBK = torch.stack([network(pixel_values).log_softmax(1) for network in self.networks])
            return each_NBK.logsumexp(0) - math.log(len(networks))

    return Mean()
