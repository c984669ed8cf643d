"""Spoken digits in noise: what each noise loses at each loudness, voices never heard, and what a recogniser writes.

python benchmarks/speech_enhancement.py --seeds 0 --speakers theo --recogniser runs/benchmarks/fsdd-strings-seed-0

The official test has the voices of the training recordings. The second part asks about strangers: a run for each
speaker named, with all recordings of that speaker as the test. The third puts the test strings of fsdd_strings, which
are joined from test recordings, into noise, and lets a recogniser that was trained without noise write them: word error
rate, and short-time objective intelligibility (Taal et al., 2011; the library pystoi).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import Measured, heading, mean, measured

import modelcommons as mc
from modelcommons.formats.predictions import read
from modelcommons.workbench import fields
from modelcommons.workbench.engine.statistics import bootstrap, bootstrap_ratio
from modelcommons.workbench.fields.speech.denoising.mixtures import Mixtures
from modelcommons.workbench.fields.speech.transcription.alphabet import plain
from modelcommons.workbench.fields.speech.transcription.metrics import edits
from modelcommons.workbench.sources import local
from modelcommons.workbench.task import Line, Row, Score

TASK = fields.find("speech-enhancement")
RATIOS = (-5, 0, 5, 10)


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data/fsdd"))
    wanted.add_argument("--strings", type=Path, default=Path("../shared/data/fsdd_strings"))
    wanted.add_argument("--seeds", type=int, nargs="*", default=[0])
    wanted.add_argument("--speakers", nargs="*", default=[], help="whose recordings are the test, one after the other")
    wanted.add_argument("--recogniser", type=Path, help="a run of recipes/fsdd-strings.yaml")
    wanted.add_argument("--minutes", type=float, default=5, help="budget of each run")
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    given = wanted.parse_args()
    heading()
    budget = f"tune.budget.minutes={given.minutes}"
    runs = []
    for seed in given.seeds:
        folder = given.out / f"fsdd-noise-seed-{seed}"
        runs.append(measured("fsdd-noise", folder, f"data.source={given.data}", f"tune.seeds=[{seed}]", budget))
        report(seed, runs[-1], folder)
    if runs:
        print(mean([one.value for one in runs], "si_sdr_improvement"), flush=True)
    for speaker in given.speakers:
        stranger(speaker, given.data, given.out, budget)
    if given.recogniser:
        written(given.out / f"fsdd-noise-seed-{given.seeds[0]}", given.recogniser, given.strings)


def report(seed: int, one: Measured, folder: Path) -> None:
    """One seed's scores, then its gain and the floor's for each noise and ratio."""
    main, fit = one.run.scored.main, one.run.tuned.trained[0].fit
    print(
        f"seed {seed}: {told(main.scores)} of {main.num_rows:,} rows · {main.baseline_name} {told(main.baseline)} · "
        f"validation {fit.value:.3f} · {fit.parameters:,} parameters · {fit.epochs:.3g} epochs, {fit.steps:,} steps, "
        f"{one.minutes:.1f} min from data to signed model folder"
    )
    speakers = main.slices["speaker"].items()
    print("    speaker: " + " · ".join(f"{speaker} {scores[0].value:.2f}" for speaker, scores in speakers))
    files = {"model": main.predictions, "floor": one.run.scored.baseline_predictions}
    lines = {name: list(read(folder / path)) for name, path in files.items()}
    print(f"    gain in dB  {'':8}" + "".join(f"{f'{ratio} dB':>22}" for ratio in (*RATIOS, "all")))
    for kind in (*dict.fromkeys(line["target"]["noise"] for line in lines["model"]), "all"):
        for name, some in lines.items():
            cells = [gained(some, kind, ratio) for ratio in (*RATIOS, None)]
            print(f"    {kind:8}{name:12}" + "".join(f"{cell:>22}" for cell in cells))
    print(flush=True)


def gained(lines: Sequence[Line], kind: str, ratio: int | None) -> str:
    """`9.31 [8.70, 9.92]`: the gain over the rows of one noise at one ratio."""
    here = [
        line for line in lines if kind in ("all", line["target"]["noise"]) and ratio in (None, line["target"]["snr_db"])
    ]
    score = TASK.scores(here)[0]
    return f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"


def stranger(speaker: str, data: Path, out: Path, budget: str) -> None:
    """A speaker as the test of a model that was trained on the others; the noise of the test is other people's too."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    whole = pa.concat_tables([pq.read_table(data / f"{part}.parquet") for part in ("train", "test")])
    is_theirs = pc.equal(whole["speaker"], speaker)
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(whole.filter(is_theirs), f"{folder}/test.parquet")
        pq.write_table(whole.filter(pc.invert(is_theirs)), f"{folder}/train.parquet")
        source = (f"data.source={folder}", "data.license=cc-by-sa-4.0", "evaluate.protocol=null")
        one = measured("fsdd-noise", out / f"fsdd-noise-without-{speaker}", *source, "shrink.formats=[]", budget)
    main = one.run.scored.main
    print(f"without {speaker}: {told(main.scores)} · {main.baseline_name} {told(main.baseline)}")
    for name, parts in main.slices.items():
        print(f"    {name}: " + " · ".join(f"{part} {scores[0].value:.2f}" for part, scores in parts.items()))
    print(flush=True)


def told(scores: Sequence[Score]) -> str:
    """`si_sdr_improvement 9.312 [8.702, 9.921] · si_sdr ...`."""
    return " · ".join(f"{score.metric} {score.value:.3f} [{score.low:.3f}, {score.high:.3f}]" for score in scores)


# --- a recogniser ---------------------------------------------------------------------------------------------------


def written(enhancer: Path, recogniser: Path, strings: Path) -> None:
    """Word error rate and intelligibility of strings of digits in each noise, as they are and enhanced."""
    options: Any = TASK.options()
    model, writer = mc.load(enhancer).model, mc.load(recogniser).model
    said = fields.find("automatic-speech-recognition").rows(local.find(strings, "strings"), {}, _plain()).parts["test"]
    words = {row.id: plain(row.y) for row in (said[at] for at in range(len(said)))}
    rows = Mixtures(said, options, each=True)  # type: ignore[arg-type]
    noisy = [rows[at] for at in range(len(rows))]
    cleaned = [Row(row.id, model.enhanced(row.x), row.y, row.group) for row in noisy]  # type: ignore[attr-defined]
    clean = [said[at] for at in range(len(said))]
    print(f"{len(clean)} strings of digits in each noise: word error rate [95 % interval], intelligibility (STOI)")
    print(f"    {'without noise':24}{wer(writer, clean, [words[row.id] for row in clean])}")
    for kind in options.noises:
        here = [at for at, row in enumerate(noisy) if row.y.noise == kind]
        texts = [words[noisy[at].id.rpartition("+")[0]] for at in here]
        for name, some in (("in noise", noisy), ("enhanced", cleaned)):
            heard = [some[at] for at in here]
            print(f"    {f'{kind}, {name}':24}{wer(writer, heard, texts)}   {stoi(heard)}", flush=True)


def _plain() -> Any:
    return fields.find("automatic-speech-recognition").options()


def wer(writer: Any, rows: Sequence[Row], texts: Sequence[str]) -> str:
    found = [answer["prediction"]["text"] for answer in writer.predict(rows)]
    wrong = np.array([edits(a.split(), b.split()) for a, b in zip(texts, found, strict=True)], float)
    over = np.array([len(text.split()) for text in texts], float)
    low, high = bootstrap_ratio(wrong, over, 0, groups=[row.group or "" for row in rows])
    return f"{wrong.sum() / over.sum():.3f} [{low:.3f}, {high:.3f}]"


def stoi(rows: Sequence[Row]) -> str:
    from pystoi import stoi as measure

    pairs = [(row.y.sound.samples / 32_768, row.x.samples / 32_768, row.x.rate_hz) for row in rows]
    values = np.array([measure(*pair) for pair in pairs])
    low, high = bootstrap(values, 0, groups=[row.group or "" for row in rows])
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
