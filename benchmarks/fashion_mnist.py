"""Fashion-MNIST from recipe to signed model, once per seed: test accuracy with interval, minutes, parameters, machine.

python benchmarks/fashion_mnist.py --data ../shared/data/fashion_mnist --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from pathlib import Path

# two threads that spin while they wait lose ten times their speed as soon as a third process wants a core
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import modelcommons as mc
from modelcommons.workbench.recipe import load
from modelcommons.workbench.run import Run, run

RECIPE = Path(__file__).parent.parent / "recipes" / "fashion-mnist.yaml"


class Lines:
    """Prints what each stage says."""

    def line(self, stage: str, text: str) -> None:
        print(f"    {stage:10}{text}", flush=True)

    def step(self, stage: str, done: float, total: float, text: str = "") -> None:
        pass


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", default="../shared/data/fashion_mnist")
    wanted.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    wanted.add_argument("--out", type=Path, default=Path("runs"))
    given = wanted.parse_args()
    print(f"modelcommons {mc.__version__} · {machine()}\n")
    values = []
    for seed in given.seeds:
        started = time.monotonic()
        recipe = load(RECIPE, [f"data.source={given.data}", f"tune.seeds=[{seed}]"])
        done = run(recipe, given.out / f"fashion-mnist-seed-{seed}", Lines())
        values.append(report(seed, done, (time.monotonic() - started) / 60))
    spread = f" ± {statistics.stdev(values):.4f} (standard deviation)" if len(values) > 1 else ""
    print(f"\nmean of {len(values)} seeds: accuracy {statistics.mean(values):.4f}{spread}")


def report(seed: int, done: Run, minutes: float) -> float:
    """Prints one seed's row; returns its test accuracy."""
    score, fit = done.scored.main.scores[0], done.tuned.trained[0].fit
    print(
        f"seed {seed}: test accuracy {score.value:.4f} [{score.low:.4f}, {score.high:.4f}] of {score.den:,} · "
        f"validation {fit.value:.4f} · {fit.parameters:,} parameters · {fit.epochs:.2g} epochs in "
        f"{fit.seconds / 60:.1f} min of tuning ({fit.rows_per_second:,.0f} rows/s, {fit.settings['precision']}) · "
        f"{minutes:.1f} min from data to signed model folder",
        flush=True,
    )
    return score.value


def machine() -> str:
    """Processor, cores, Python and torch."""
    import torch

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())
    return f"{model}, {os.cpu_count()} cores · Python {platform.python_version()} · torch {torch.__version__}"


if __name__ == "__main__":
    main()
