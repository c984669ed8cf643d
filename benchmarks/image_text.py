"""Noto emoji and their keywords: two small towers, both ways, beside the words of the nearest colours and any order.

python benchmarks/image_text.py --seeds 0 1 2
"""

from __future__ import annotations

import argparse
from pathlib import Path

from measure import Measured, heading, mean, measured, published

from modelcommons.workbench.fields.multimodal.metrics import CUTS, chance


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data/noto_emoji"))
    wanted.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    given = wanted.parse_args()
    heading()
    runs = []
    for seed in given.seeds:
        folder = given.out / f"noto-emoji-seed-{seed}"
        runs.append(measured("noto-emoji", folder, f"data.source={given.data}", f"tune.seeds=[{seed}]"))
        report(seed, runs[-1])
    print(mean([one.value for one in runs], "mean_recall"))
    published("noto-emoji/v1")


def report(seed: int, one: Measured) -> None:
    """The scores with the floor's and chance, and those of each slice."""
    main, fit = one.run.scored.main, one.run.tuned.trained[0].fit
    for score, floor in zip(main.scores, main.baseline, strict=True):
        cut = next((cut for cut in CUTS if score.metric.endswith(f"@{cut}")), None)
        luck = "" if cut is None else f" · any order {chance(main.num_rows, cut):.4f}"
        print(
            f"seed {seed}: {score.metric} {score.value:.4f} [{score.low:.4f}, {score.high:.4f}] · "
            f"{main.baseline_name} {floor.value:.4f}{luck}"
        )
    print(
        f"    {main.num_rows:,} pairs · validation {fit.value:.4f} · {fit.parameters:,} parameters · {fit.epochs:.2g} "
        f"epochs, {fit.steps:,} steps, {fit.seconds / 60:.1f} min of training, {one.minutes:.1f} min from data to "
        f"signed model folder\n    {dict(fit.settings)}"
    )
    for kind, parts in main.slices.items():
        print(f"    {kind}: " + " · ".join(f"{part} {scores[0].value:.4f}" for part, scores in parts.items()))
    print(flush=True)


if __name__ == "__main__":
    main()
