"""English into Chinese: Tatoeba's sentences, a small Transformer from nothing within the minutes of its recipe.

python benchmarks/translation.py --seed 0

A run that was stopped goes on where it was; its minutes are those of training, all together. Beside sacreBLEU's scores,
which know every reference of a sentence, the character BLEU of the data folder's floor is printed: each of the 1,052
pairs for itself, with one reference, blanks counting as characters.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import RECIPES, Lines, heading, published

import modelcommons as mc
from modelcommons.formats import predictions
from modelcommons.workbench.recipe import load
from modelcommons.workbench.run import Run, run

ASKED = ("I have a dream.", "Where is the nearest station?", "My brother bought two books yesterday.")
BLANK = "▁"  # a blank as a character of its own


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data/tatoeba_en_zh"))
    wanted.add_argument("--seed", type=int, default=0)
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    wanted.add_argument("overrides", nargs="*", help="keys of the recipe, as for `commons run`")
    given = wanted.parse_args()
    heading()
    folder = given.out / f"tatoeba-seed-{given.seed}"
    overrides = [f"data.source={given.data}", f"tune.seeds=[{given.seed}]", *given.overrides]
    done = run(load(RECIPES / "tatoeba.yaml", overrides), folder, Lines())
    report(done)
    for name in ("model", "baseline"):
        lines = predictions.read(folder / f"evaluate/predictions/{name}.jsonl.gz")
        print(f"    {name}: character BLEU pair by pair {pair_by_pair(lines):.4f}")
    published("tatoeba-en-zh/v1")
    for text, answer in zip(ASKED, mc.load(folder).predict(list(ASKED)), strict=True):
        print(f"    {text} -> {answer['prediction']['text']}")


def report(done: Run) -> None:
    """The scores with the floor's, and of each slice."""
    main, fit = done.scored.main, done.tuned.trained[0].fit
    for score, floor in zip(main.scores, main.baseline, strict=True):
        print(
            f"{score.metric} {score.value:.4f} [{score.low:.4f}, {score.high:.4f}] · "
            f"{main.baseline_name} {floor.value:.4f} [{floor.low:.4f}, {floor.high:.4f}] · {score.method}"
        )
    print(
        f"    {main.num_rows:,} sentences · {fit.parameters:,} parameters · {fit.epochs:.2g} epochs, "
        f"{fit.steps:,} steps, {fit.seconds / 60:.1f} min of training · {dict(fit.settings)}"
    )
    for point in fit.curve:
        print(f"    {dataclasses.asdict(point)}")
    for kind, parts in main.slices.items():
        print(f"    {kind}: " + " · ".join(f"{part} {scores[0].value:.4f}" for part, scores in parts.items()))


def pair_by_pair(lines: Sequence[Mapping[str, Any]]) -> float:
    """BLEU of characters, each reference a sentence for itself."""
    from sacrebleu import corpus_bleu

    pairs = [(line["prediction"]["text"], known) for line in lines for known in line["target"]["references"]]
    texts, known = ([re.sub(r"\s", BLANK, one) for one in side] for side in zip(*pairs, strict=True))
    return corpus_bleu([" ".join(one) for one in texts], [[" ".join(one) for one in known]], tokenize="none").score


if __name__ == "__main__":
    main()
