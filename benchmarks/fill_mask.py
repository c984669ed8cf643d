"""A small BERT pretrained on twelve English classics, then fine-tuned on BANKING77 beside the same network untrained.

python benchmarks/fill_mask.py

Stopped or killed, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from measure import RECIPES, Lines, heading

import modelcommons as mc
from modelcommons.workbench.diff import diff
from modelcommons.workbench.engine.tokenizer import open_tokenizer
from modelcommons.workbench.fields.text.pretraining.architectures import BertOptions
from modelcommons.workbench.fields.text.pretraining.network import new_network
from modelcommons.workbench.recipe import Recipe, load
from modelcommons.workbench.run import Run, run

ASKED = ("She looked out of the [MASK] and saw that it was raining.", "“I do not [MASK] you,” said he.")


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data"))
    wanted.add_argument("--seed", type=int, default=0)
    wanted.add_argument("--epochs", type=int, help="passes of fine-tuning, both times; as the recipe has it")
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    given = wanted.parse_args()
    heading()
    seed = f"tune.seeds=[{given.seed}]"
    pretrained = given.out / "english-books-bert"
    recipe = load(RECIPES / "english-books-bert.yaml", [f"data.source={given.data / 'english_books'}", seed])
    report(run(recipe, pretrained, Lines()))
    for text in ASKED:
        (place,) = mc.load(pretrained).predict(text)[0]["prediction"]["places"]
        print(f"    {text!r}: {', '.join(each['word'] for each in place['top'])}")
    untrained = given.out / "untrained-bert"
    untrain(recipe, pretrained / "model", untrained)
    tuned = {}
    for name, base in (("untrained", untrained), ("pretrained", pretrained / "model")):
        overrides = [f"data.source={given.data / 'banking77'}", seed, "explain.examples=0", "shrink=[]"]
        recipe = load(
            RECIPES / "banking77-books-bert.yaml", overrides, os.environ | {"BOOKS_BERT": str(base.resolve())}
        )
        tuned[name] = given.out / f"banking77-{name}-bert"
        print(f"\nBANKING77 from the {name} BERT")
        report(run(recipe, tuned[name], Lines()))
    print(f"\n{diff(tuned['untrained'], tuned['pretrained'])}")


def report(one: Run) -> None:
    """The scores with the floor's, of each slice too, and what training took."""
    main, fit = one.scored.main, one.tuned.trained[0].fit
    for score in main.scores:
        floor = next((each.value for each in main.baseline if each.metric == score.metric), float("nan"))
        interval = f"[{score.low:.4f}, {score.high:.4f}]"
        print(f"    {score.metric} {score.value:.4f} {interval} · {main.baseline_name} {floor:.4f}")
    print(
        f"    {main.num_rows:,} rows · {fit.parameters:,} parameters · {fit.epochs:.2g} epochs, {fit.steps:,} steps, "
        f"{fit.seconds / 60:.1f} min of training · validation {fit.metric} {fit.value:.4f}\n    {dict(fit.settings)}"
    )
    for kind, parts in main.slices.items():
        print(f"    {kind}: " + " · ".join(f"{part} {scores[0].value:.4f}" for part, scores in parts.items()))


def untrain(recipe: Recipe, folder: Path, out: Path) -> None:
    """The same network as it was before its first step, and the same tokenizer."""
    import torch

    if out.is_dir():
        return
    tokenizer = open_tokenizer(folder)
    torch.manual_seed(recipe.tune.seeds[0])
    network = new_network(BertOptions.model_validate(recipe.model.options).model_dump(), len(tokenizer), ask_next=True)
    network.save_pretrained(out)  # type: ignore[operator]
    tokenizer.save_pretrained(out)
    (out / "README.md").write_text("---\nlicense: cc0-1.0\n---\n", encoding="utf-8")


if __name__ == "__main__":
    main()
