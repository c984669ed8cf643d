"""Strings of spoken digits: the official test, with noise, and each speaker by the other five.

python benchmarks/speech_recognition.py --seeds 0

The official test has the voices of the training recordings. The second part asks about strangers: six runs, each with
all recordings of one speaker as the test. White noise is added to the test recordings, as strong as the voice at 0 dB;
training has noise of many colours in half of its recordings, or none by --quiet.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from measure import Measured, heading, mean, measured, published

from modelcommons.formats import predictions
from modelcommons.workbench.fields.speech.transcription import metrics
from modelcommons.workbench.task import Line, Score


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data/fsdd_strings"))
    wanted.add_argument("--seeds", type=int, nargs="*", default=[0])
    wanted.add_argument("--speakers", nargs="*", help="whose recordings are the test, one after the other; all six")
    wanted.add_argument("--speaker-minutes", type=float, default=3.0, help="budget of each of these trainings")
    wanted.add_argument("--quiet", action="store_true", help="no noise in training")
    wanted.add_argument("--streaming", action="store_true", help="a network that hears only what came before")
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    given = wanted.parse_args()
    heading()
    chosen = ("model.options={streaming: true}",) * given.streaming
    chosen += ("data.options={augment: [splice, speed, gain, mask]}",) * given.quiet
    name = f"fsdd-strings{'-streaming' * given.streaming}{'-quiet' * given.quiet}"
    runs = []
    for seed in given.seeds:
        folder = given.out / f"{name}-seed-{seed}"
        runs.append(measured("fsdd-strings", folder, f"data.source={given.data}", f"tune.seeds=[{seed}]", *chosen))
        report(seed, runs[-1])
    if runs:
        print(mean([one.value for one in runs], "wer"))
        published("fsdd-strings/v1")
    strangers(given.data, given.speakers, given.out, name, (f"tune.budget.minutes={given.speaker_minutes}", *chosen))


def report(seed: int, one: Measured) -> None:
    """One seed's scores, and those of each speaker and length."""
    main, fit = one.run.scored.main, one.run.tuned.trained[0].fit
    print(
        f"seed {seed}: {told(main.scores)} of {main.num_rows:,} recordings · {main.baseline_name} "
        f"{main.baseline[0].value:.4f} · validation {fit.value:.4f} · {fit.parameters:,} parameters · "
        f"{fit.epochs:.2g} epochs, {fit.steps:,} steps, {one.minutes:.1f} min from data to signed model folder"
    )
    for kind, parts in main.slices.items():
        print(f"    {kind}: " + " · ".join(f"{part} {scores[0].value:.4f}" for part, scores in parts.items()))
    for name, scores in main.disturbed.items():
        print(f"    {name or 'as recorded'}: {told(scores)}")
    print(flush=True)


def strangers(data: Path, speakers: list[str] | None, out: Path, name: str, chosen: tuple[str, ...]) -> None:
    """Each speaker as the test of a model that was trained on the others."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    whole = pa.concat_tables([pq.read_table(data / f"{part}.parquet") for part in ("train", "test")])
    found, lines = [], list[Line]()
    for speaker in sorted(whole["speaker"].unique().to_pylist()) if speakers is None else speakers:
        with tempfile.TemporaryDirectory() as folder:
            is_theirs = pc.equal(whole["speaker"], speaker)
            pq.write_table(whole.filter(is_theirs), f"{folder}/test.parquet")
            pq.write_table(whole.filter(pc.invert(is_theirs)), f"{folder}/train.parquet")
            source = (f"data.source={folder}", "data.license=cc-by-sa-4.0", "evaluate.protocol=null")
            one = measured("fsdd-strings", out / f"{name}-without-{speaker}", *source, *chosen)
        found.append(one.value)
        lines += predictions.read(one.run.folder / one.run.scored.main.predictions)
        print(f"without {speaker}: {told(one.run.scored.main.scores)}\n", flush=True)
    if found:
        print(f"each speaker by the others, {mean(found, 'wer').replace('seeds', 'speakers')}")
        print(f"all their recordings together: {told(metrics.scores(lines))} of {len(lines):,}", flush=True)


def told(scores: tuple[Score, ...] | list[Score]) -> str:
    """`wer 0.0321 [0.0100, 0.0510] · cer 0.0123 [...] · ...`"""
    return " · ".join(f"{score.metric} {score.value:.4f} [{score.low:.4f}, {score.high:.4f}]" for score in scores)


if __name__ == "__main__":
    main()
