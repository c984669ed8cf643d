"""Nuclei in microscope pictures, from recipe to signed model, once per seed, beside Otsu's threshold.

python benchmarks/image_segmentation.py --seeds 0 1 2
"""

from __future__ import annotations

import argparse
from pathlib import Path

from measure import Measured, heading, mean, measured, published


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", default="../shared/data/nuclei_dsb2018")
    wanted.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    given = wanted.parse_args()
    heading()
    runs = []
    for seed in given.seeds:
        folder = given.out / f"nuclei-seed-{seed}"
        runs.append(measured("nuclei", folder, f"data.source={given.data}", f"tune.seeds=[{seed}]"))
        report(seed, runs[-1])
    slowest = max(one.minutes for one in runs)
    print(f"{mean([one.value for one in runs], 'iou')} · slowest {slowest:.1f} min")
    published("nuclei-dsb2018/v1")


def report(seed: int, one: Measured) -> None:
    """The scores with the floor's, and of each slice."""
    main, fit = one.run.scored.main, one.run.tuned.trained[0].fit
    for score, floor in zip(main.scores, main.baseline, strict=True):
        print(
            f"seed {seed}: {score.metric} {score.value:.4f} [{score.low:.4f}, {score.high:.4f}] · "
            f"{main.baseline_name} {floor.value:.4f}"
        )
    print(
        f"    {main.num_rows:,} pictures · validation {fit.value:.4f} · {fit.parameters:,} parameters · "
        f"{fit.steps:,} steps of {fit.settings['batch_size']} pieces, {fit.rows_per_second:,.0f} pieces/s, "
        f"{fit.settings['precision']} · {fit.seconds / 60:.1f} min of training, "
        f"{one.minutes:.1f} min from data to signed model folder"
    )
    for kind, parts in main.slices.items():
        print(f"    {kind}: " + " · ".join(f"{part} {scores[0].value:.4f}" for part, scores in parts.items()))
    print(flush=True)


if __name__ == "__main__":
    main()
