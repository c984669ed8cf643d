"""Spoken digits (FSDD): the official test with several seeds, and each speaker by the other five.

python benchmarks/audio_classification.py --seeds 0 1 2

The official test has the voices of the training recordings; a stranger's voice is another question, which the second
part asks: six runs, each with all recordings of one speaker as the test.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from measure import Measured, heading, mean, measured, published, report


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data/fsdd"))
    wanted.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    wanted.add_argument("--speakers", nargs="*", help="whose recordings are the test, one after the other; all six")
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    given = wanted.parse_args()
    heading()
    runs = []
    for seed in given.seeds:
        folder = given.out / f"fsdd-seed-{seed}"
        runs.append(measured("fsdd", folder, f"data.source={given.data}", f"tune.seeds=[{seed}]"))
        report(seed, runs[-1])
        noise(runs[-1])
    if runs:
        print(mean([one.value for one in runs], "accuracy"))
        published("fsdd/v1")
    strangers(given.data, given.speakers, given.out)


def noise(one: Measured) -> None:
    """The test as it was recorded, and in white noise; each speaker."""
    main = one.run.scored.main
    told = {name or "as recorded": scores[0].value for name, scores in main.disturbed.items()}
    print("    " + " · ".join(f"{name} {value:.4f}" for name, value in told.items()))
    told = {name: scores[0].value for name, scores in main.slices["speaker"].items()}
    print("    " + " · ".join(f"{name} {value:.4f}" for name, value in told.items()) + "\n", flush=True)


def strangers(data: Path, speakers: list[str] | None, out: Path) -> None:
    """Each speaker as the test of a model that was trained on the others."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    whole = pa.concat_tables([pq.read_table(data / f"{part}.parquet") for part in ("train", "test")])
    right = asked = 0
    for speaker in sorted(whole["speaker"].unique().to_pylist()) if speakers is None else speakers:
        with tempfile.TemporaryDirectory() as folder:
            is_theirs = pc.equal(whole["speaker"], speaker)
            pq.write_table(whole.filter(is_theirs), f"{folder}/test.parquet")
            pq.write_table(whole.filter(pc.invert(is_theirs)), f"{folder}/train.parquet")
            checks = (
                "evaluate.protocol=null",
                "data.license=cc-by-sa-4.0",
                "evaluate.disturb=[]",
                "explain.examples=0",
                "shrink=[]",
            )
            one = measured("fsdd", out / f"fsdd-without-{speaker}", f"data.source={folder}", *checks)
        score = one.run.scored.main.scores[0]
        assert score.num is not None and score.den is not None
        right, asked = right + score.num, asked + score.den
        print(f"without {speaker}: accuracy {score.value:.4f} [{score.low:.4f}, {score.high:.4f}] of {score.den:,}\n")
    if asked:
        print(f"each speaker by the others: accuracy {right / asked:.4f}, {right:,} of {asked:,}", flush=True)


if __name__ == "__main__":
    main()
