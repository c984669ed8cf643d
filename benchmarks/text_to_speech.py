"""A voice learned from recordings: its distance to them, and what a recogniser makes of what it says.

python benchmarks/text_to_speech.py --recipes fsdd-strings-speech
python benchmarks/text_to_speech.py --recipes ljspeech --no-recogniser

The recogniser is our own, trained by recipes/fsdd-strings.yaml on the training recordings of the same data. It hears
the test recordings, the same recordings taken to log-mel frames and back (what the vocoder alone costs), the voice
saying the test texts, and the floor, which says the nearest training text in a real voice. Runs that are there are not
made again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measure import RECIPES, Lines, heading
from speech_recognition import told

from modelcommons.workbench import fields
from modelcommons.workbench.fields.speech.sound import Sound
from modelcommons.workbench.fields.speech.speaking.nearest import Nearest
from modelcommons.workbench.fields.speech.transcription.alphabet import plain
from modelcommons.workbench.fields.speech.transcription.metrics import scores
from modelcommons.workbench.recipe import Recipe, load
from modelcommons.workbench.run import Run, run
from modelcommons.workbench.stages.get import get_source
from modelcommons.workbench.task import Row

DATA = {"fsdd-strings-speech": "fsdd_strings", "ljspeech": "ljspeech_small"}
COLUMNS = {"ljspeech": "data.columns={text: text_normalized}"}


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--recipes", nargs="*", choices=list(DATA), default=list(DATA))
    wanted.add_argument("--data", type=Path, default=Path("../shared/data"))
    wanted.add_argument("--minutes", type=float, default=5.0, help="budget of the recogniser")
    wanted.add_argument("--no-recogniser", action="store_true", help="distances only")
    wanted.add_argument("--recogniser", type=Path, help="one that is there, instead of training one")
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    given = wanted.parse_args()
    heading()
    for name in given.recipes:
        source = f"data.source={given.data / DATA[name]}"
        voice = load(RECIPES / f"{name}.yaml", [source])
        report(done(voice, given.out / name))
        if given.recogniser:
            understood(voice, given.out / name / "model", given.recogniser)
        elif not given.no_recogniser:
            columns = [COLUMNS[name]] if name in COLUMNS else []
            judge = ["evaluate.protocol=null", "evaluate.disturb=[]", f"tune.budget.minutes={given.minutes}"]
            folder = given.out / f"{name}-recogniser"
            done(load(RECIPES / "fsdd-strings.yaml", [source, *columns, *judge]), folder)
            understood(voice, given.out / name / "model", folder / "model")


def done(recipe: Recipe, folder: Path) -> Run:
    """The run in this folder; what is finished there is not done again."""
    begun = time.monotonic()
    found = run(recipe, folder, Lines())
    print(f"    {folder.name}: {(time.monotonic() - begun) / 60:.1f} min\n", flush=True)
    return found


def report(voice: Run) -> None:
    """The voice's distance to the recordings, and that of its parts."""
    main, fit = voice.scored.main, voice.tuned.trained[0].fit
    print(f"voice: {told(main.scores)} of {main.num_rows:,} texts")
    print(f"{main.baseline_name}: {told(main.baseline)}")
    print(
        f"validation {fit.metric} {fit.value:.4f} · {fit.parameters:,} parameters · {fit.epochs:.3g} epochs, "
        f"{fit.steps:,} steps, {fit.seconds / 60:.1f} min of training"
    )
    for kind, parts in main.slices.items():
        print(f"    {kind}: " + " · ".join(f"{part} {scores[0].value:.4f}" for part, scores in parts.items()))
    print(flush=True)


def understood(recipe: Recipe, voice_folder: Path, recogniser_folder: Path) -> None:
    """Word and character error rates of the recogniser on recordings and on what is made of their texts."""
    task: Any = fields.find("text-to-speech")
    options = task.options.model_validate(recipe.data.options)
    reading = task.rows(get_source(recipe.data), recipe.data.columns, options)
    parts = task.split(reading, recipe.data.split, options)
    voice: Any = task.load(voice_folder)
    recogniser = fields.find("automatic-speech-recognition").load(recogniser_folder)
    features, floor, rows = voice.speaks.features, Nearest(parts.train), list(parts.test)

    def there_and_back(row: Row) -> Sound:
        made: Sound = voice.speaks.played(features.logmel.features(row.y.at(features.logmel.rate_hz)))
        return made

    ways: dict[str, Callable[[Row], Sound]] = {
        "recordings": lambda row: row.y,
        "recordings through frames and Griffin-Lim": there_and_back,
        "the voice": lambda row: voice.speaks.say(row.x),
        "training recording of the nearest text": lambda row: floor.say(row.x),
    }
    for name, made in ways.items():
        print(f"{name}: {told(heard(recogniser, rows, [made(row) for row in rows]))}", flush=True)


def heard(recogniser: Any, rows: Sequence[Row], sounds: Sequence[Sound]) -> Any:
    """Scores of what the recogniser writes of these sounds."""
    found = recogniser.predict([Row(row.id, sound) for row, sound in zip(rows, sounds, strict=True)])
    return scores(
        [{"id": row.id, "target": plain(row.x.text), **answer} for row, answer in zip(rows, found, strict=True)]
    )


if __name__ == "__main__":
    main()
