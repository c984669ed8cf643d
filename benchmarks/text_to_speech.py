"""A voice learned from recordings: its distance to them, and what a recogniser makes of what it says.

python benchmarks/text_to_speech.py --recipes fsdd-strings-speech
python benchmarks/text_to_speech.py --recipes ljspeech

The recogniser is our own, trained by recipes/fsdd-strings.yaml or recipes/ljspeech-recognition.yaml on the training
recordings of the same data. It hears the test recordings, the same recordings taken to log-mel frames and back (what
the vocoder alone costs), the voice saying the test texts, and the floor, which says the nearest training text in a real
voice. Runs that are there are not made again.

Where it cannot write down even the recordings, it may still tell which of the test sentences is said: `found` is the
share of sounds in which the right one is the most probable of all test texts, each measured by how much more probable
it is there than in the other sounds. Since a sentence's length tells much, what length alone finds stands beside it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import RECIPES, Lines, heading
from speech_recognition import told

from modelcommons.formats.model_folder import read_config
from modelcommons.workbench import fields
from modelcommons.workbench.engine.statistics import wilson
from modelcommons.workbench.fields.speech.sound import Sound
from modelcommons.workbench.fields.speech.speaking.nearest import Nearest
from modelcommons.workbench.fields.speech.transcription.alphabet import Alphabet, plain
from modelcommons.workbench.fields.speech.transcription.metrics import scores
from modelcommons.workbench.fields.speech.transcription.model import Emissions, own_emissions, own_network, read_own
from modelcommons.workbench.recipe import Recipe, load
from modelcommons.workbench.run import Run, run
from modelcommons.workbench.stages.get import get_source
from modelcommons.workbench.task import Row

DATA = {"fsdd-strings-speech": "fsdd_strings", "ljspeech": "ljspeech_small"}
RECOGNISERS = {"fsdd-strings-speech": "fsdd-strings", "ljspeech": "ljspeech-recognition"}  # recipes


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--recipes", nargs="*", choices=list(DATA), default=list(DATA))
    wanted.add_argument("--data", type=Path, default=Path("../shared/data"))
    wanted.add_argument("--seed", type=int, default=0, help="of the voice")
    wanted.add_argument("--no-recogniser", action="store_true", help="distances only")
    wanted.add_argument("--recogniser", type=Path, help="one that is there, instead of training one")
    wanted.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    wanted.add_argument("overrides", nargs="*", help="keys of the voice's recipe, as for `commons run`")
    given = wanted.parse_args()
    heading()
    for name in given.recipes:
        source = f"data.source={given.data / DATA[name]}"
        voice = load(RECIPES / f"{name}.yaml", [source, f"tune.seeds=[{given.seed}]", *given.overrides])
        folder = given.out / (f"{name}-seed-{given.seed}" if given.seed else name)
        report(done(voice, folder))
        if not given.no_recogniser:
            understood(voice, folder / "model", given.recogniser or trained(name, source, given.out))


def trained(name: str, source: str, out: Path) -> Path:
    """The model folder of the recogniser that goes with this voice; how good it is is printed."""
    found = done(load(RECIPES / f"{RECOGNISERS[name]}.yaml", [source]), out / RECOGNISERS[name])
    main, fit = found.scored.main, found.tuned.trained[0].fit
    print(
        f"recogniser: {told(main.scores)} of {main.num_rows:,} recordings\n"
        f"{main.baseline_name}: {told(main.baseline)}\n"
        f"    validation {fit.metric} {fit.value:.4f} · {fit.parameters:,} parameters · {fit.epochs:.3g} epochs, "
        f"{fit.steps:,} steps, {fit.seconds / 60:.1f} min of training\n"
    )
    return out / RECOGNISERS[name] / "model"


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
    emissions, alphabet = emissions_of(recogniser_folder)
    texts = [plain(row.x.text) for row in rows]
    rates = [len(plain(row.x.text)) / row.y.seconds for row in parts.train]
    by_length = [[-abs(len(text) / row.y.seconds - statistics.median(rates)) for text in texts] for row in rows]
    print(f"length alone: {found(np.array(by_length), texts)}")
    for name, made in ways.items():
        sounds = [made(row) for row in rows]
        more = found(likelier([emissions([each.at(recogniser.rate_hz)])[0] for each in sounds], alphabet, texts), texts)
        print(f"{name}: {told(heard(recogniser, rows, sounds))} · {more}", flush=True)


def emissions_of(folder: Path) -> tuple[Emissions, Alphabet]:
    """What a recogniser of ours gives every frame."""
    options, alphabet, features = read_own(folder, read_config(folder))
    return own_emissions(own_network(folder, options, alphabet), features), alphabet


def likelier(emitted: Sequence[np.ndarray], alphabet: Alphabet, texts: Sequence[str]) -> np.ndarray:
    """How much more probable each text is in each sound than in all sounds on average, in nats, (sounds, texts)."""
    import torch
    from torch.nn.functional import ctc_loss

    def surprise(log_probs: np.ndarray, text: str) -> float:
        labels = torch.from_numpy(alphabet.encode(text))
        sizes = torch.tensor(len(log_probs)), torch.tensor(len(labels))
        return float(ctc_loss(torch.from_numpy(log_probs), labels, *sizes, reduction="sum"))

    nats = -np.array([[surprise(each, text) for text in texts] for each in emitted])
    highest = nats.max(axis=0)
    return np.asarray(nats - highest - np.log(np.exp(nats - highest).mean(axis=0)))


def found(scores: np.ndarray, texts: Sequence[str]) -> str:
    """`found 0.9583 [0.7978, 0.9926], rank 1.2 of 24`: how often the right text has the highest score; its mean rank.

    Args:
        scores: of each text in each sound, (sounds, texts); sound and text of the same number belong together. Of equal
            ones the right one comes last.
    """
    ranks = [1 + sum(row[at] <= score for other, score in enumerate(row) if texts[other] != texts[at])
             for at, row in enumerate(scores)]  # fmt: skip
    first = ranks.count(1)
    low, high = wilson(first, len(ranks))
    return f"found {first / len(ranks):.4f} [{low:.4f}, {high:.4f}], rank {statistics.mean(ranks):.1f} of {len(texts)}"


def heard(recogniser: Any, rows: Sequence[Row], sounds: Sequence[Sound]) -> Any:
    """Scores of what the recogniser writes of these sounds."""
    found = recogniser.predict([Row(row.id, sound) for row, sound in zip(rows, sounds, strict=True)])
    return scores(
        [{"id": row.id, "target": plain(row.x.text), **answer} for row, answer in zip(rows, found, strict=True)]
    )


if __name__ == "__main__":
    main()
