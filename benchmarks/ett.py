"""ETTh1 and ETTh2 at four horizons, every test window scored (drop_last false), by linear maps and by networks.

python benchmarks/ett.py
python benchmarks/ett.py --models lstm transformer ensemble --horizons 96

The linear maps have nothing random in them, so there is one run of each; look-backs and ridges are chosen without the
test. A network is trained once, with seed 0, inside the minutes that it is given; an ensemble's members share them.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from measure import heading, measured, published

HORIZONS = (96, 192, 336, 720)  # hours
LOOKBACK = "{lookback: 336}"  # hours that a network looks back, as PatchTST does
MODELS = {
    "linear": "",  # as the recipe says
    "lstm": LOOKBACK,
    "transformer": LOOKBACK,
    "ensemble": "{members: [linear, lstm, transformer]}",
}


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data/ett_small"))
    wanted.add_argument("--sets", nargs="+", choices=("h1", "h2"), default=("h1", "h2"))
    wanted.add_argument("--horizons", type=int, nargs="+", choices=HORIZONS, default=HORIZONS)
    wanted.add_argument("--models", nargs="+", choices=MODELS, default=("linear",))
    wanted.add_argument("--minutes", type=float, default=2.0, help="for the training of one network")
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    given = wanted.parse_args()
    heading()
    for name, horizon, model in itertools.product(given.sets, given.horizons, given.models):
        protocol, folder = f"ett-{name}-{horizon}/v1", given.out / f"ett-{name}-{horizon}-{model}"
        asked = f"model={{new: {model}, options: {MODELS[model]}}}"
        network = (asked, f"tune.budget.minutes={given.minutes}", "explain.examples=0", "shrink.formats=[]")
        one = measured(
            f"ett-{name}", folder, f"data.source={given.data / f'ETT{name}.csv'}", f"data.options.horizon={horizon}",
            f"evaluate.protocol={protocol}", *(network if MODELS[model] else ()),
        )  # fmt: skip
        main = one.run.scored.main
        scores = " · ".join(
            f"{score.metric} {score.value:.4f} [{score.low:.4f}, {score.high:.4f}] "
            f"({main.baseline_name} {floor.value:.4f})"
            for score, floor in zip(main.scores, main.baseline, strict=True)
        )
        fit = one.run.tuned.trained[0].fit
        print(
            f"ETT{name} {horizon}, {model}: {scores} · {main.num_rows:,} windows · {fit.steps:,} steps · "
            f"{one.minutes:.1f} min"
        )
        published(protocol)


if __name__ == "__main__":
    main()
