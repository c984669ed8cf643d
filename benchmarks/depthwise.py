"""Training steps of open networks with depthwise convolutions, in bf16, as torch takes them and as ours does.

python benchmarks/depthwise.py --rounds 5

Weights are random, which changes no time: EfficientNet-B0 (filters of 3 and 5 pixels) and ConvNeXt-T (of 7).
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
from measure import heading
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from modelcommons.workbench.engine.depthwise import quicken
from modelcommons.workbench.engine.device import kept_memory


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--side", type=int, default=96, help="pixels")
    wanted.add_argument("--rows", type=int, default=32, help="pictures a step")
    wanted.add_argument("--rounds", type=int, default=5)
    given = wanted.parse_args()
    heading()
    for name, network in networks().items():
        plain = network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        quick = copy.deepcopy(plain)
        quicken(quick)
        pictures = torch.randn(given.rows, 3, given.side, given.side).to(memory_format=torch.channels_last)
        seconds: dict[str, list[float]] = {"plain": [], "quick": []}
        with kept_memory():
            for turn in range(given.rounds + 1):
                for which, one in (("plain", plain), ("quick", quick)):
                    begun = time.perf_counter()
                    step(one, pictures)
                    if turn:  # the first warms up
                        seconds[which].append(time.perf_counter() - begun)
        rates = {which: given.rows / statistics.median(times) for which, times in seconds.items()}
        ratios = [theirs / ours for theirs, ours in zip(seconds["plain"], seconds["quick"], strict=True)]
        print(
            f"{name}, {given.rows} pictures of {given.side} pixels a step, n = {given.rounds}: torch "
            f"{rates['plain']:.0f} pictures/s, ours {rates['quick']:.0f}: {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) times as fast",
            flush=True,
        )


def networks() -> dict[str, nn.Module]:
    """By name, with random weights."""
    from transformers import (
        ConvNextConfig,
        ConvNextForImageClassification,
        EfficientNetConfig,
        EfficientNetForImageClassification,
    )

    torch.manual_seed(0)
    small = EfficientNetConfig(width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280)
    return {
        "EfficientNet-B0": EfficientNetForImageClassification(small),
        "ConvNeXt-T": ConvNextForImageClassification(ConvNextConfig()),
    }


def step(network: nn.Module, pictures: Tensor) -> None:
    """Forward and backward."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(pictures).logits
    cross_entropy(logits.float(), torch.zeros(len(pictures), dtype=torch.int64)).backward()  # type: ignore[no-untyped-call]
    network.zero_grad()


if __name__ == "__main__":
    main()
