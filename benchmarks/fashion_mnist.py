"""Fashion-MNIST from recipe to signed model, once per seed: at least 0.92 of the test right, within ten minutes.

python benchmarks/fashion_mnist.py --seeds 0 1 2
"""

from __future__ import annotations

import argparse
from pathlib import Path

from measure import heading, mean, measured, published, report


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", default="../shared/data/fashion_mnist")
    wanted.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    given = wanted.parse_args()
    heading()
    runs = []
    for seed in given.seeds:
        folder = given.out / f"fashion-mnist-seed-{seed}"
        runs.append(measured("fashion-mnist", folder, f"data.source={given.data}", f"tune.seeds=[{seed}]"))
        report(seed, runs[-1])
    slowest = max(one.minutes for one in runs)
    print(f"{mean([one.value for one in runs], 'accuracy')} · slowest {slowest:.1f} min")
    published("fashion-mnist/v1")


if __name__ == "__main__":
    main()
