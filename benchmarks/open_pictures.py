"""Training steps of open networks of pictures, in bf16, as they come and as ours takes them.

python benchmarks/open_pictures.py --rounds 5

EfficientNet-B0 (filters of 3 and 5 pixels) and ConvNeXt-T (of 7), with random weights, by torch's gradients of
depthwise convolutions and by ours; EfficientNet-Lite0 by ours, with its gates, which are open for good, and without.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from measure import efficientnet, heading
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from modelcommons.workbench.engine.depthwise import quicken
from modelcommons.workbench.engine.device import kept_memory
from modelcommons.workbench.fields.image.classifier import open_network


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--side", type=int, default=96, help="pixels")
    wanted.add_argument("--rows", type=int, default=32, help="pictures a step")
    wanted.add_argument("--rounds", type=int, default=5)
    given = wanted.parse_args()
    heading()
    for name, theirs, ours in pairs(given.side):
        for network in (theirs, ours):
            network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        pictures = torch.randn(given.rows, 3, given.side, given.side).to(memory_format=torch.channels_last)
        seconds: dict[str, list[float]] = {"theirs": [], "ours": []}
        with kept_memory():
            for turn in range(given.rounds + 1):
                for which, one in (("theirs", theirs), ("ours", ours)):
                    begun = time.perf_counter()
                    step(one, pictures)
                    if turn:  # the first warms up
                        seconds[which].append(time.perf_counter() - begun)
        rates = {which: given.rows / statistics.median(times) for which, times in seconds.items()}
        ratios = [long / short for long, short in zip(seconds["theirs"], seconds["ours"], strict=True)]
        print(
            f"{name}, {given.rows} pictures of {given.side} pixels a step, n = {given.rounds}: as it comes "
            f"{rates['theirs']:.0f} pictures/s, ours {rates['ours']:.0f}: {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) times as fast",
            flush=True,
        )


def pairs(side: int) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    """Name, network as it comes, the same as ours takes it."""
    from transformers import (
        AutoModelForImageClassification,
        ConvNextConfig,
        ConvNextForImageClassification,
        EfficientNetConfig,
        EfficientNetForImageClassification,
    )

    torch.manual_seed(0)
    small = EfficientNetConfig(width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280)
    for name, network in (
        ("EfficientNet-B0, depthwise", EfficientNetForImageClassification(small)),
        ("ConvNeXt-T, depthwise", ConvNextForImageClassification(ConvNextConfig())),
    ):
        yield name, network, quickened(copy.deepcopy(network))
    with tempfile.TemporaryDirectory() as folder:
        efficientnet.write(Path(folder), side)
        gated = AutoModelForImageClassification.from_pretrained(folder, dtype="float32")
        yield "EfficientNet-Lite0, gates", quickened(gated), quickened(open_network(Path(folder)))


def quickened(network: nn.Module) -> nn.Module:
    """Itself, with quick gradients of depthwise convolutions."""
    quicken(network)
    return network


def step(network: nn.Module, pictures: Tensor) -> None:
    """Forward and backward."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(pictures).logits
    cross_entropy(logits.float(), torch.zeros(len(pictures), dtype=torch.int64)).backward()  # type: ignore[no-untyped-call]
    network.zero_grad()


if __name__ == "__main__":
    main()
