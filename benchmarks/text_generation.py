"""Tiny Shakespeare and twelve English classics, a small GPT each, within the minutes of its recipe (15 and 60).

python benchmarks/text_generation.py --sets tiny-shakespeare english-books

Everything is told per character, whatever the tokens, beside a 5-gram of characters trained on the same text.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from measure import Measured, heading, measured, published

import modelcommons as mc
from modelcommons.workbench.resolve import resolve
from modelcommons.workbench.run import Run
from modelcommons.workbench.stages.get import get_source

SETS = {"tiny-shakespeare": "ROMEO:", "english-books": "It was a dark evening, and"}


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data"))
    wanted.add_argument("--sets", nargs="+", choices=SETS, default=["tiny-shakespeare"])
    wanted.add_argument("--seed", type=int, default=0)
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    given = wanted.parse_args()
    heading()
    for name in given.sets:
        source = given.data / name.replace("-", "_")
        folder = given.out / f"{name}-seed-{given.seed}"
        one = measured(name, folder, f"data.source={source}", f"tune.seeds=[{given.seed}]")
        report(name, one)
        print(f"    all validation rows: nats_per_char {validation(one.run):.4f}")
        published(f"{name}/v1")
        for temperature in (0.5, 0.8, 1.0):
            asked = {"text": SETS[name], "max_tokens": 200, "temperature": temperature, "seed": 0}
            print(f"    temperature {temperature}: {mc.load(folder).predict(asked)[0]['prediction']['text']!r}")
        print(flush=True)


def report(name: str, one: Measured) -> None:
    """The scores with the floor's, and of each slice."""
    main, fit = one.run.scored.main, one.run.tuned.trained[0].fit
    for score, floor in zip(main.scores, main.baseline, strict=True):
        print(
            f"{name}: {score.metric} {score.value:.4f} [{score.low:.4f}, {score.high:.4f}] · "
            f"{main.baseline_name} {floor.value:.4f}"
        )
    print(
        f"    {main.num_rows:,} passages · {fit.parameters:,} parameters · {fit.epochs:.2g} epochs, "
        f"{fit.steps:,} steps, {fit.seconds / 60:.1f} min of training, "
        f"{one.minutes:.1f} min from data to signed model folder\n"
        f"    {dict(fit.settings)}"
    )
    for kind, parts in main.slices.items():
        print(f"    {kind}: " + " · ".join(f"{part} {scores[0].value:.4f}" for part, scores in parts.items()))


def validation(done: Run) -> float:
    """Nats per character over all validation rows; checkpoints were chosen by some of them."""
    task, data = resolve(done.recipe), done.recipe.data
    options = task.options.model_validate(data.options)
    rows = task.split(task.rows(get_source(data), data.columns, options), data.split, options).validation
    answers = task.load(done.folder / "model").predict([rows[at] for at in range(len(rows))])
    nats = math.fsum(answer["prediction"]["nats"] for answer in answers)
    return nats / sum(len(rows[at].y) for at in range(len(rows)))


if __name__ == "__main__":
    main()
