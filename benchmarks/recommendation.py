"""MovieTweetings, every film a candidate: all models, the trend, mixed lists, a split by time; then 100,000 items.

python benchmarks/recommendation.py --parts models mixed time scale

The official test holds the last events of each user, so what others chose later stands in train; `time` divides all
events at one moment instead, and nothing later is known. `scale` ranks made-up factors for 16,554 users.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
from measure import Measured, heading, measured, published

PARTS = ("models", "mixed", "time", "scale")
MODELS = ("popularity", "item-knn", "ease", "slit", "ials", "two-tower", "sasrec")
WEIGHTS = (0.1, 0.3, 0.5)  # of unlikeness
NUM_ITEMS, NUM_USERS, FACTORS = 100_000, 16_554, 64


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data/movietweetings_100k"))
    wanted.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    wanted.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    wanted.add_argument("--best", choices=MODELS, default="slit", help="by validation rows")
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    given = wanted.parse_args()
    heading()
    pooled = ("data.options.official=false", "data.split.by=time", "evaluate.protocol=null")
    plain = "model.options.trend=0"
    runs = {
        "models": [(name, name, (plain,)) for name in given.models]
        + [(f"{given.best}-trend", given.best, ())],
        "mixed": [
            (f"{given.best}-mixed-{weight}", given.best, (plain, f"model.options.diversity={weight}"))
            for weight in WEIGHTS
        ],
        "time": [(f"{name}-time", name, pooled) for name in ("popularity", given.best)],
    }  # fmt: skip
    for part in given.parts:
        for name, model, overrides in runs.get(part, ()):
            folder = given.out / f"movietweetings-{name}"
            options = (f"data.source={given.data}", f"model.new={model}", "explain.examples=0", *overrides)
            report(name, measured("movietweetings", folder, *options))
    published("movietweetings/v1")
    if "scale" in given.parts:
        scale()


def report(name: str, one: Measured) -> None:
    """One model's scores beside popularity's, and of cold users and items."""
    main, fit = one.run.scored.main, one.run.tuned.trained[0].fit
    floor = main.baseline[0]
    scores = " · ".join(
        f"{score.metric} {score.value:.4f} [{score.low:.4f}, {score.high:.4f}]" for score in main.scores
    )
    print(
        f"{name}: {scores} · {main.num_rows:,} users · {main.scores[0].value / floor.value:.2f} times "
        f"{main.baseline_name} {floor.value:.4f} · validation {fit.value:.4f} · {fit.parameters:,} numbers · "
        f"{one.minutes:.1f} min\n    {dict(fit.settings)}"
    )
    for kind, parts in main.slices.items():
        print(f"    {kind}: " + " · ".join(f"{part} {scores[0].value:.4f}" for part, scores in parts.items()))
    print(flush=True)


def scale() -> None:
    """Lists of ten out of 100,000 items for everybody, by factors that are made up: time and the most memory."""
    from scipy.sparse import csr_array

    from modelcommons.workbench.fields.recommendation import closed, recommender
    from modelcommons.workbench.fields.recommendation.events import History
    from modelcommons.workbench.task import Row

    rng = np.random.default_rng(0)
    items = tuple(map(str, range(NUM_ITEMS)))
    weights = {"factors": rng.normal(0, 0.1, (NUM_ITEMS, FACTORS)).astype(np.float32)}
    score = closed.scorer("ials", weights, NUM_ITEMS, {"unobserved": 0.1, "regularization": 0.01})
    catalogue = recommender.Catalogue(
        items, items, np.ones(NUM_ITEMS, np.int64), NUM_USERS, csr_array((NUM_ITEMS, 1)), csr_array((1, NUM_ITEMS)), 0
    )
    model = recommender.Recommender(catalogue, score, recommender.Blend())
    rows = [
        Row(str(user), History(tuple(map(str, rng.choice(NUM_ITEMS, 10, replace=False))))) for user in range(NUM_USERS)
    ]
    before, begun = _peak(), time.monotonic()
    answers = model.predict(rows)
    seconds = time.monotonic() - begun
    full = NUM_ITEMS * NUM_USERS * 8 / 2**30
    assert len(answers) == NUM_USERS
    print(
        f"scale: {NUM_USERS:,} users against {NUM_ITEMS:,} items each: {seconds:.0f} s, "
        f"{NUM_USERS / seconds:,.0f} users/s, peak memory {before:.2f} -> {_peak():.2f} GiB; "
        f"all scores at once would take {full:.1f} GiB"
    )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GiB


if __name__ == "__main__":
    main()
