"""Training steps by how long a thread that waits for the other spins before it sleeps, alone and beside busy programs.

python benchmarks/waiting.py --spins 0 1000 3000 --rounds 3

Weights are random, which changes no time: the network of Fashion-MNIST, one of MiniLM's size, EfficientNet-B0.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from measure import heading

STEPS = 8


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--spins", type=int, nargs="+", default=[0, 300, 1000, 3000, 30000], help="GOMP_SPINCOUNT")
    wanted.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="programs beside")
    wanted.add_argument("--rounds", type=int, default=3)
    wanted.add_argument("--steps", action="store_true", help=argparse.SUPPRESS)  # what each turn's process is asked
    given = wanted.parse_args()
    if given.steps:
        print(json.dumps(steps()))
        return
    heading()
    for many in given.busy:
        taken: dict[int, list[dict[str, float]]] = {spin: [] for spin in given.spins}
        for _ in range(given.rounds):
            for spin in given.spins:
                with beside(many):
                    taken[spin].append(asked(spin))
        print(f"beside {many} busy programs, n = {given.rounds} turns of {STEPS} steps, ms a step:")
        for spin, turns in taken.items():
            told = [f"{name} {spread([turn[name] for turn in turns])}" for name in turns[0]]
            print(f"    spin {spin:6}: {' · '.join(told)}", flush=True)


def spread(values: list[float]) -> str:
    """`154 (150 to 157)`: median, least and most."""
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


@contextmanager
def beside(many: int) -> Iterator[None]:
    """So many processes that do nothing but want a core."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(many)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def asked(spin: int) -> dict[str, float]:
    """What `steps` comes to in a process of its own."""
    told = subprocess.run(
        [sys.executable, __file__, "--steps"],
        env=os.environ | {"GOMP_SPINCOUNT": str(spin)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return found


def steps() -> dict[str, float]:
    """Milliseconds of a step, forward and backward, of each network, here."""
    import torch
    from torch import Tensor, nn
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        EfficientNetConfig,
        EfficientNetForImageClassification,
    )

    from modelcommons.workbench.engine.cnn import Cnn
    from modelcommons.workbench.engine.depthwise import quicken
    from modelcommons.workbench.engine.device import kept_memory

    torch.manual_seed(0)
    last = torch.channels_last
    minilm = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    efficientnet = EfficientNetConfig(width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280)
    networks: dict[str, tuple[nn.Module, Tensor]] = {
        "small network": (Cnn((28, 28, 1), 10, (32, 64, 128), 0.0), torch.randn(128, 1, 28, 28)),
        "MiniLM": (BertForSequenceClassification(minilm), torch.randint(0, 30_000, (32, 16))),
        "EfficientNet": (EfficientNetForImageClassification(efficientnet), torch.randn(32, 3, 64, 64)),
    }
    found = {}
    for name, (network, inputs) in networks.items():
        quicken(network)
        if inputs.ndim == 4:
            network.to(memory_format=last)  # type: ignore[call-overload]
            inputs = inputs.to(memory_format=last)
        times = []
        with kept_memory():
            for at in range(STEPS + 2):  # the first two warm up
                begun = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16):
                    made = network(inputs)
                getattr(made, "logits", made).float().square().mean().backward()
                times += [time.perf_counter() - begun] if at > 1 else []
        found[name] = 1000 * statistics.median(times)
    return found


if __name__ == "__main__":
    main()
