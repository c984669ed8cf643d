"""What checks, receipts, reports, progress and checkpoints add to a run of recipes/fashion-mnist.yaml.

python benchmarks/overheads.py [--data DIR] [--rounds N] [--steps N]
python benchmarks/overheads.py --digests --rounds 5

The recipe is run on all rows with a few steps of training, so that every other stage costs what it costs in the whole
run. Then its training loop and a plain PyTorch loop over the same network, batches, precision and optimizer take
turns; a scoring of the validation rows and a checkpoint are timed inside the real loop. Seconds are the processor's,
which the machine's other work moves little; on one thread they are those of a quiet clock, and are told as a share of
the minutes that the recipe trains. Added is what one's own script does not do: checks, receipts, intervals, slices,
card, report, progress, checkpoints. Validation scorings and one bare answering of the test rows it does as well; they
stand apart, and in the sums below. Folders of random bytes say how fast `commons verify --level files` hashes a model.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import RECIPES, heading
from torch import nn

from modelcommons.formats.digest import folder_sha256, sha256
from modelcommons.formats.preprocess import measured
from modelcommons.workbench.engine.augment import augment
from modelcommons.workbench.engine.device import precision
from modelcommons.workbench.engine.pace import SCORINGS
from modelcommons.workbench.fields.image.architectures import ARCHITECTURES, defaults
from modelcommons.workbench.fields.image.models import build
from modelcommons.workbench.folder import RunFolder
from modelcommons.workbench.recipe import Recipe, load
from modelcommons.workbench.resolve import resolve
from modelcommons.workbench.run import run
from modelcommons.workbench.stages.evaluate import answers
from modelcommons.workbench.stages.get import get
from modelcommons.workbench.stages.prepare import prepare
from modelcommons.workbench.task import Job, Parts

MOST = 0.05  # of the training time
FEW_EPOCHS = 0.02  # trained where the other stages are looked at
LEAST = 0.7  # of the speed of sha256
WARM = 3  # steps that are not counted
MIB = 1 << 20
FILES = {  # number and bytes of each; opening the last takes longer than hashing them
    "1 file of 256 MiB": (1, 256 * MIB),
    "256 files of 1 MiB": (256, MIB),
    "2,000 files of 64 KiB": (2000, MIB // 16),
    "10,000 files of 4 KiB": (10_000, 4096),
}
LEAST_BYTES = MIB  # smaller files are held against sha256 of what is read, not of what lies in memory
SCORED = f"tune: validation scorings, {SCORINGS} or one an epoch"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--data", default="../shared/data/fashion_mnist")
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--steps", type=int, default=12, help="of each loop in each round")
    asked.add_argument("--digests", action="store_true", help="only how fast a model's files are hashed")
    given = asked.parse_args()
    heading()
    if given.digests:
        return hashing(given.rounds)
    recipe = load(RECIPES / "fashion-mnist.yaml", [f"data.source={given.data}"])
    assert recipe.tune.budget.minutes
    training = recipe.tune.budget.minutes * 60
    with tempfile.TemporaryDirectory(prefix="commons-bench-") as name:
        stages = by_stage(recipe, Path(name))
        inside, tested = in_tune(recipe, Path(name), given.rounds, given.steps, training)
    print(f"\nshares of the {training / 60:g} minutes that the recipe trains")
    scorings = inside.pop(SCORED)
    around = {stage: stages[stage] for stage in ("get", "prepare", "publish")}
    total = told(around | {"evaluate, but for answering the test rows": stages["evaluate"] - tested} | inside, training)
    told({"added to what one's own script does": total}, training)
    total += told({SCORED: scorings, "evaluate: the test rows answered, nothing else": tested}, training)
    told({"all but explanations and exports": total}, training)
    print(f"expected: at most {MOST:.0%}; {verdict(total <= MOST * training)}")
    total += told({stage: stages[stage] for stage in ("explain", "shrink")}, training)
    told({"all": total}, training)
    print()
    hashing(given.rounds)


def told(parts: dict[str, float], training: float) -> float:
    """Prints seconds and their shares of the training; returns their sum."""
    for what, seconds in parts.items():
        print(f"{what:<48}{seconds:7.2f} s {seconds / training:7.2%}")
    return sum(parts.values())


class Clock:
    """Progress that notes when each stage last said something."""

    def __init__(self) -> None:
        self.said: dict[str, float] = {"": time.process_time()}

    def line(self, stage: str, text: str) -> None:
        self.said[stage] = time.process_time()

    def step(self, stage: str, done: float, total: float, text: str = "") -> None:
        pass

    def seconds(self) -> dict[str, float]:
        """From one stage's last word to the next one's."""
        moments = list(self.said.items())
        return {stage: end - begun for (_, begun), (stage, end) in itertools.pairwise(moments)}


def by_stage(recipe: Recipe, folder: Path) -> dict[str, float]:
    """Seconds of each stage in a fresh folder, first imports included."""
    short = recipe.tune.model_copy(update={"epochs": FEW_EPOCHS})
    clock = Clock()
    done = run(recipe.model_copy(update={"tune": short}), folder / "run", clock)
    rows = {name: done.data["rows"][name] for name in ("train", "validation", "test")}
    print(
        f"rows {' + '.join(f'{count:,}' for count in rows.values())}, {done.tuned.trained[0].fit.parameters:,} weights"
    )
    found = clock.seconds()
    print(f"stages: {', '.join(f'{stage} {seconds:.1f} s' for stage, seconds in found.items())}", flush=True)
    return found


# --- inside `tune` ---------------------------------------------------------------------------------------------------


class Watch:
    """Progress that notes when each step of a training ended, in seconds of the processor."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def line(self, stage: str, text: str) -> None:
        pass

    def step(self, stage: str, done: float, total: float, text: str = "") -> None:
        self.ended.append(time.process_time())


def in_tune(recipe: Recipe, folder: Path, rounds: int, steps: int, training: float) -> tuple[dict[str, float], float]:
    """Seconds that a whole training spends on what is no step of a plain loop; and of answering the test rows once."""
    task, home = resolve(recipe), RunFolder(folder / "run")  # where slow findings about the rows are kept
    parts = prepare(task, get(task, recipe, Clock()).source, recipe, home, Clock()).parts
    plain = plain_loop(parts, recipe, steps)
    ours: list[float] = []
    theirs: list[float] = []
    with_checkpoints: list[float] = []
    scorings: list[float] = []
    for at in range(rounds):  # in turn, so that a busy machine is unfair to neither
        for every, taken in ((3600.0, ours), (0.0, with_checkpoints)):
            place = home.stage(f"{at}-{every:g}")
            seconds, scoring = real_loop(task, parts, recipe, place, steps, every)
            taken.append(seconds)
            scorings.append(scoring)
        theirs.append(plain())
    more = statistics.median(1 - bare / step for step, bare in zip(ours, theirs, strict=True))
    saving = statistics.median(late - step for step, late in zip(ours, with_checkpoints, strict=True))
    print(f"a step of the recipe's loop {ms(ours)}")
    print(f"of the plain loop           {ms(theirs)}")
    print(f"with a checkpoint           {ms(with_checkpoints)}")
    print(f"a scoring of {len(parts.validation):,} validation rows {ms(scorings)}")
    model, begun = task.load(place / "model"), time.process_time()
    for _ in answers(model, parts.test):
        pass
    tested = time.process_time() - begun
    return {
        "tune: more seconds of each step": max(0.0, more) * training,
        "tune: checkpoints, one a minute": training / recipe.tune.checkpoint_seconds * max(0.0, saving),
        SCORED: scored(recipe) * statistics.median(scorings),
    }, tested


def scored(recipe: Recipe) -> int:
    epochs = recipe.tune.epochs
    return max(SCORINGS, int(epochs)) if epochs != "auto" else SCORINGS


def real_loop(
    task: Any, parts: Parts, recipe: Recipe, place: Path, steps: int, checkpoint_seconds: float
) -> tuple[float, float]:
    """Median seconds of a step, and of the scoring at the end."""
    watch = Watch()
    (place / "model").mkdir(parents=True)
    job = Job(
        choice=get(task, recipe, Clock()).choices[0],
        training=recipe.tune.model_copy(update={"checkpoint_seconds": checkpoint_seconds}),
        options=task.options.model_validate(recipe.data.options),
        seed=0,
        folder=place / "model",
        checkpoints=place / "checkpoints",
        progress=watch,
        max_steps=WARM + steps,
    )
    task.fit(parts.train, parts.validation, job)
    return statistics.median(np.diff(watch.ended)[WARM - 1 :]), time.process_time() - watch.ended[-1]


def plain_loop(parts: Parts, recipe: Recipe, steps: int) -> Callable[[], float]:
    """Median seconds of a step of one's own loop: batch, forward, backward, clip, step."""
    train: Any = parts.train
    options = ARCHITECTURES["cnn"].model_validate(dict(recipe.model.options))
    values, preprocess = defaults("cnn", len(train)), measured(train.pixels, len(train))
    rng, bf16 = np.random.default_rng(0), precision(recipe.tune.precision) == "bf16"
    network = build(options, train.shape, len(train.labels))
    if values.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        network.parameters(), values.learning_rate, weight_decay=values.weight_decay, fused=True
    )

    def loop() -> float:
        network.train()
        taken = []
        for _ in range(WARM + steps):
            begun = time.process_time()
            indices = rng.integers(0, len(train), values.batch_size)
            pictures = augment(train.pixels(indices), ("flip", "crop"), preprocess.fill, rng)
            inputs = torch.from_numpy(preprocess.inputs(pictures))
            if values.channels_last:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = nn.functional.cross_entropy(network(inputs).float(), torch.from_numpy(train.codes[indices]))
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            loss.item()
            taken.append(time.process_time() - begun)
        return statistics.median(taken[WARM:])

    return loop


# --- verify --level files --------------------------------------------------------------------------------------------


def hashing(rounds: int) -> None:
    """Bytes a second of the digest that `verify --level files` takes of a model's files, beside sha256 of the same."""
    print(f"MB/s of the digest of a model folder, and of hashlib.sha256 and sha256sum; medians, n = {rounds}")
    holds = True
    for what, (number, size) in FILES.items():
        taken = speeds(number, size, rounds)
        ours, memory, read = (statistics.median(taken[work]) for work in ("folder", "in memory", "read whole"))
        holds &= ours >= LEAST * (memory if size >= LEAST_BYTES else read)
        told = " · ".join(f"{work} {rate(each)}" for work, each in taken.items())
        print(
            f"{what:<22} {told} · {ours / memory:.2f} of sha256 in memory, {ours / read:.2f} of read whole", flush=True
        )
    print(
        f"expected: at least {LEAST:g} of sha256 in memory, of files of 1 MiB and more, and of sha256 of files read "
        f"whole, of smaller ones; {verdict(holds)}"
    )


def speeds(number: int, size: int, rounds: int) -> dict[str, list[float]]:
    """MB/s of each round: of the folder's digest, of sha256 in memory, read from the same files, and of sha256sum."""
    with tempfile.TemporaryDirectory(prefix="commons-bench-") as name:
        folder, data = Path(name), os.urandom(size)
        names = [f"{at}.bin" for at in range(number)]
        for each in names:
            (folder / each).write_bytes(data)
        works: dict[str, Callable[[], Any]] = {
            "folder": lambda: folder_sha256(folder, names),
            "in memory": lambda: [sha256(data) for _ in names],
            "read whole": lambda: [sha256((folder / each).read_bytes()) for each in names],
            "sha256sum": lambda: subprocess.run(
                ["sha256sum", *names], cwd=folder, stdout=subprocess.DEVNULL, check=True
            ),
        }
        taken: dict[str, list[float]] = {work: [] for work in works}
        for _ in range(rounds):
            for work, do in works.items():
                begun = time.perf_counter()
                do()
                taken[work].append(number * size / (time.perf_counter() - begun) / 1e6)
    return taken


def rate(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def ms(values: list[float]) -> str:
    low, high = min(values) * 1000, max(values) * 1000
    return f"{statistics.median(values) * 1000:.1f} ms (median; {low:.1f} to {high:.1f}, n = {len(values)})"


def verdict(holds: bool) -> str:
    return "it holds" if holds else "it does not hold"


if __name__ == "__main__":
    main()
