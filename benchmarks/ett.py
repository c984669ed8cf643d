"""ETTh1 and ETTh2 at four horizons, every test window scored (drop_last false), by a linear map in closed form.

python benchmarks/ett.py

Nothing here is random, so there is one run of each; look-backs and ridges are chosen without the test.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from measure import heading, measured, published

HORIZONS = (96, 192, 336, 720)  # hours


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data/ett_small"))
    wanted.add_argument("--sets", nargs="+", choices=("h1", "h2"), default=("h1", "h2"))
    wanted.add_argument("--horizons", type=int, nargs="+", choices=HORIZONS, default=HORIZONS)
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    given = wanted.parse_args()
    heading()
    for name in given.sets:
        for horizon in given.horizons:
            protocol = f"ett-{name}-{horizon}/v1"
            one = measured(
                f"ett-{name}", given.out / f"ett-{name}-{horizon}", f"data.source={given.data / f'ETT{name}.csv'}",
                f"data.options.horizon={horizon}", f"evaluate.protocol={protocol}",
            )  # fmt: skip
            main = one.run.scored.main
            scores = " · ".join(
                f"{score.metric} {score.value:.4f} [{score.low:.4f}, {score.high:.4f}] "
                f"({main.baseline_name} {floor.value:.4f})"
                for score, floor in zip(main.scores, main.baseline, strict=True)
            )
            print(f"ETT{name} {horizon}: {scores} · {main.num_rows:,} windows · {one.minutes:.1f} min")
            published(protocol)


if __name__ == "__main__":
    main()
