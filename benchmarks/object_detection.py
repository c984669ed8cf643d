"""Cells in pictures of blood, from recipe to signed model, once per seed, beside the same boxes on every picture.

python benchmarks/object_detection.py --seeds 0 1 2
"""

from __future__ import annotations

import argparse
from pathlib import Path

from measure import Measured, heading, mean, measured, published

from modelcommons.formats import predictions
from modelcommons.workbench.fields.image.boxes.metrics import by_class


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", default="../shared/data/bccd")
    wanted.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    wanted.add_argument("overrides", nargs="*", help="of the recipe: model.new=faster-rcnn")
    given = wanted.parse_args()
    heading()
    runs = []
    for seed in given.seeds:
        folder = given.out / f"bccd-seed-{seed}"
        runs.append(measured("bccd", folder, f"data.source={given.data}", f"tune.seeds=[{seed}]", *given.overrides))
        report(seed, runs[-1], folder)
    slowest = max(one.minutes for one in runs)
    print(f"{mean([one.value for one in runs], 'map_50')} · slowest {slowest:.1f} min")
    published("bccd/v1")


def report(seed: int, one: Measured, folder: Path) -> None:
    """The scores with the floor's, those of each class, of each slice, and of worse pictures."""
    main, fit = one.run.scored.main, one.run.tuned.trained[0].fit
    for score, floor in zip(main.scores, main.baseline, strict=True):
        print(
            f"seed {seed}: {score.metric} {score.value:.4f} [{score.low:.4f}, {score.high:.4f}] · "
            f"{main.baseline_name} {floor.value:.4f}"
        )
    print(
        f"    {main.num_rows:,} pictures · validation {fit.value:.4f} · {fit.parameters:,} parameters · "
        f"{fit.steps:,} steps of {fit.settings['batch_size']} pictures, {fit.rows_per_second:,.0f} pictures/s, "
        f"{fit.settings['precision']} · {fit.seconds / 60:.1f} min of training, "
        f"{one.minutes:.1f} min from data to signed model folder"
    )
    classes = by_class(list(predictions.read(folder / main.predictions)))
    print("    AP at IoU 0.5: " + " · ".join(f"{name} {values[0]:.4f}" for name, values in classes.items()))
    for kind, parts in {**main.slices, "disturbed": main.disturbed}.items():
        told = (f"{part or 'as it is'} {scores[0].value:.4f}" for part, scores in parts.items())
        print(f"    {kind}: " + " · ".join(told))
    print(flush=True)


if __name__ == "__main__":
    main()
