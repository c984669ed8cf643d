"""English into Chinese with a memory: what it adds to a network that has none.

python benchmarks/translation.py data.options.known=null
python benchmarks/translation_memory.py

From which likeness on the nearest training sentence's translation is the answer (`data.options.known`) is chosen by
character BLEU on the validation rows; the test is scored with that alone. Differences are of the same sentences drawn.
The floor of words is that of the data folder: TF-IDF of words and pairs of words.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from measure import heading

import modelcommons as mc
from modelcommons.formats import predictions
from modelcommons.workbench.fields.text.sequences.corpus import Corpus, bleu
from modelcommons.workbench.fields.text.sequences.memory import Neighbour, PairMemory
from modelcommons.workbench.fields.text.translation import TASK
from modelcommons.workbench.sources.local import find
from modelcommons.workbench.task import Row

LEAST = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)  # likeness


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data/tatoeba_en_zh"))
    wanted.add_argument("--seed", type=int, default=0)
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    given = wanted.parse_args()
    heading()
    folder = given.out / f"tatoeba-seed-{given.seed}"
    parts = TASK.rows(find(given.data, "tatoeba"), {"source": "en", "target": "zh"}, TASK.options()).parts
    train, validation, test = (
        [parts[name][at] for at in range(len(parts[name]))] for name in ("train", "validation", "test")
    )
    memory = PairMemory([(row.x, row.y.texts[0]) for row in train])
    references = [list(row.y.texts) for row in validation]
    near = memory.nearest([row.x for row in validation])
    network = [answer["prediction"]["text"] for answer in mc.load(folder).predict([row.x for row in validation])]
    print(f"validation, {len(near):,} sentences, character BLEU: network {scored(network, references).score():.2f}")
    found = {least: scored(answered(network, near, least), references).score() for least in LEAST}
    for least, value in found.items():
        print(f"    known from {least:.2f}: {value:.2f} · {sum(one.likeness >= least for one in near)} answered so")
    least = max(found, key=lambda one: found[one])
    print(f"    {right(near, references):.1%} have their neighbour's translation among their own")

    near = memory.nearest([row.x for row in test])
    lines = predictions.read(folder / "evaluate/predictions/model.jsonl.gz")
    floor = predictions.read(folder / "evaluate/predictions/baseline.jsonl.gz")
    assert [line["id"] for line in lines] == [line["id"] for line in floor] == [row.id for row in test]
    references = [list(row.y.texts) for row in test]
    network = [line["prediction"]["text"] for line in lines]
    with_memory = scored(answered(network, near, least), references)
    same = right(near, references)
    print(f"test, {len(near):,} sentences: {same:.1%} have their neighbour's translation among their own")
    tell(f"network and memory from {least:.2f}", with_memory)
    floors = {
        "floor of words": by_words(train, test),
        "floor": [line["prediction"]["text"] for line in floor],
    }
    for name, texts in {"network": network, **floors}.items():
        other = scored(texts, references)
        tell(name, other)
        low, high = np.quantile(with_memory.drawn(given.seed) - other.drawn(given.seed), [0.025, 0.975])
        print(f"    behind network and memory by {with_memory.score() - other.score():.2f} [{low:.2f}, {high:.2f}]")


def answered(network: Sequence[str], near: Sequence[Neighbour], least: float) -> list[str]:
    """The memory's answers where it is like enough, the network's elsewhere."""
    return [one.target if one.likeness >= least else text for text, one in zip(network, near, strict=True)]


def by_words(train: Sequence[Row], test: Sequence[Row]) -> list[str]:
    """The first target of the training source with most words and pairs of words in common, by TF-IDF."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    weights = TfidfVectorizer(ngram_range=(1, 2))
    sources = weights.fit_transform([row.x for row in train])
    alike = weights.transform([row.x for row in test]) @ sources.T
    return [train[int(one.toarray().argmax())].y.texts[0] for one in alike]


def right(near: Sequence[Neighbour], references: Sequence[Sequence[str]]) -> float:
    """The share of neighbours whose target is a known one, to the letter."""
    return sum(one.target in known for one, known in zip(near, references, strict=True)) / len(near)


def scored(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Corpus:
    return bleu("char", texts, references)


def tell(name: str, corpus: Corpus) -> None:
    low, high = corpus.interval(0)
    print(f"test: {name}: character BLEU {corpus.score():.2f} [{low:.2f}, {high:.2f}]")


if __name__ == "__main__":
    main()
