"""Spoken digits in noise: what each noise loses at each loudness, voices never heard, and what a recogniser writes.

python benchmarks/speech_enhancement.py --seeds 0 --speakers theo

The official test has the voices of the training recordings. The second part asks about strangers: a run for each
speaker named, with all recordings of that speaker as the test. The third puts the test strings of fsdd_strings, which
are joined from test recordings, into noise: short-time objective intelligibility (Taal et al., 2011; the library
pystoi), and, with --recogniser, word error rate of one that was trained without noise.
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
from modelcommons.workbench.fields.speech.sound import FULL
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
    wanted.add_argument("--run", type=Path, help="a run of recipes/fsdd-noise.yaml that is there, instead of new ones")
    wanted.add_argument("--recogniser", type=Path, help="a run of recipes/fsdd-strings.yaml")
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    wanted.add_argument("overrides", nargs="*", help="keys of the recipe, as for `commons run`")
    given = wanted.parse_args()
    heading()
    folders, values = [given.run] if given.run else [], []
    for seed in [] if given.run else given.seeds:
        folders.append(given.out / f"fsdd-noise-seed-{seed}")
        one = measured("fsdd-noise", folders[-1], f"data.source={given.data}", f"tune.seeds=[{seed}]", *given.overrides)
        values.append(one.value)
        print(f"seed {seed}: {trained(one)}")
    for folder in folders:
        report(folder)
    if len(values) > 1:
        print(f"{mean(values, 'si_sdr_improvement')}\n", flush=True)
    strange = [stranger(speaker, given.data, given.out, given.overrides) for speaker in given.speakers]
    if len(strange) > 1:
        told_mean = mean(strange, "si_sdr_improvement").replace("seeds", "speakers")
        print(f"each speaker by the others, {told_mean}\n", flush=True)
    if folders:
        strings(folders[0], given.recogniser, given.strings)


def trained(one: Measured) -> str:
    fit = one.run.tuned.trained[0].fit
    return (
        f"validation {fit.value:.3f} · {fit.parameters:,} parameters · {fit.epochs:.3g} epochs, {fit.steps:,} steps, "
        f"{one.minutes:.1f} min from data to signed model folder"
    )


def report(folder: Path) -> None:
    """The scores of a run and of the floor from what they answered: all, and for each noise, ratio and speaker."""
    files = {"model": "model", "floor": "baseline"}
    lines = {name: list(read(folder / f"evaluate/predictions/{file}.jsonl.gz")) for name, file in files.items()}
    for name, some in lines.items():
        print(f"{name}: {told(TASK.scores(some))} of {len(some):,} rows")
        speakers = {line["target"]["speaker"]: [] for line in some}
        for line in some:
            speakers[line["target"]["speaker"]].append(line)
        means = [f"{speaker} {TASK.scores(theirs)[0].value:.2f}" for speaker, theirs in sorted(speakers.items())]
        print(f"    by speaker: {' · '.join(means)}")
    print(
        "gain in dB, each speaker drawn again".ljust(38) + "".join(f"{ratio} dB".ljust(22) for ratio in RATIOS) + "all"
    )
    for kind in (*dict.fromkeys(line["target"]["noise"] for line in lines["model"]), "all"):
        for name, some in lines.items():
            cells = [gained(some, kind, ratio) for ratio in (*RATIOS, None)]
            print(f"    {kind} ({name})".ljust(38) + "".join(cell.ljust(22) for cell in cells).rstrip())
    print(flush=True)


def gained(lines: Sequence[Line], kind: str, ratio: int | None) -> str:
    """`9.31 [8.70, 9.92]`: the gain over the rows of one noise at one ratio."""
    here = [
        line for line in lines if kind in ("all", line["target"]["noise"]) and ratio in (None, line["target"]["snr_db"])
    ]
    score = TASK.scores(here)[0]
    return f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"


def stranger(speaker: str, data: Path, out: Path, overrides: Sequence[str]) -> float:
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
        one = measured("fsdd-noise", out / f"fsdd-noise-without-{speaker}", *source, "shrink.formats=[]", *overrides)
    main = one.run.scored.main
    print(f"without {speaker}: {told(main.scores)} · {main.baseline_name} {told(main.baseline)}")
    for name, parts in main.slices.items():
        print(f"    {name}: " + " · ".join(f"{part} {scores[0].value:.2f}" for part, scores in parts.items()))
    print(flush=True)
    return one.value


def told(scores: Sequence[Score]) -> str:
    """`si_sdr_improvement 9.312 [8.702, 9.921] · si_sdr ...`."""
    return " · ".join(f"{score.metric} {score.value:.3f} [{score.low:.3f}, {score.high:.3f}]" for score in scores)


# --- strings of digits ----------------------------------------------------------------------------------------------


def strings(enhancer: Path, recogniser: Path | None, data: Path) -> None:
    """Intelligibility and word error rate of strings of digits in each noise, as they are and enhanced."""
    options: Any = TASK.options()
    model: Any = mc.load(enhancer).model
    recognition = fields.find("automatic-speech-recognition")
    said: Any = recognition.rows(local.find(data, "strings"), {}, recognition.options()).parts["test"]
    texts = {row.id: row.y for row in said}
    writer = mc.load(recogniser).model if recogniser else None
    rows = Mixtures(said, options, each=True)
    noisy = [rows[at] for at in range(len(rows))]
    cleaned = [Row(row.id, model.enhanced(row.x), row.y, row.group) for row in noisy]
    print(f"{len(said)} strings of digits, {', '.join(f'{ratio} dB' for ratio in options.snrs_db)}:")
    if writer:
        print(f"    {'without noise':24}{wer(writer, list(said), list(texts.values()))}")
    for kind in options.noises:
        for name, some in (("in noise", noisy), ("enhanced", cleaned)):
            heard = [row for row in some if row.y.noise == kind]
            words = wer(writer, heard, [texts[row.id.rpartition("+")[0]] for row in heard]) if writer else ""
            print(f"    {f'{kind}, {name}':24}{stoi(heard)}  {words}".rstrip(), flush=True)


def wer(writer: Any, rows: Sequence[Row], texts: Sequence[str]) -> str:
    found = [answer["prediction"]["text"] for answer in writer.predict(rows)]
    wrong = np.array([edits(a.split(), b.split()) for a, b in zip(texts, found, strict=True)], float)
    over = np.array([len(text.split()) for text in texts], float)
    low, high = bootstrap_ratio(wrong, over, 0, groups=[row.group or "" for row in rows])
    return f"wer {wrong.sum() / over.sum():.3f} [{low:.3f}, {high:.3f}]"


def stoi(rows: Sequence[Row]) -> str:
    from pystoi import stoi as intelligible

    pairs = [(row.y.sound.samples / FULL, row.x.samples / FULL, row.x.rate_hz) for row in rows]
    values = np.array([intelligible(*pair) for pair in pairs])
    low, high = bootstrap(values, 0, groups=[row.group or "" for row in rows])
    return f"stoi {values.mean():.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
