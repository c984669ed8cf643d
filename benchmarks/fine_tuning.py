"""Fine-tuning MiniLM on BANKING77 and SMS spam beside transformers' Trainer: training rows per second, and accuracy.

python benchmarks/fine_tuning.py
python benchmarks/fine_tuning.py --accuracy --epochs 2

Rows per second: everybody trains on the same rows in turns, so that what else the machine does meets all alike; a first
turn of one step is not counted. The start of each training is in it, which few steps make weigh more: a long training
is what --accuracy times. Trainer's defaults are those of transformers' own run_classification.py: fp32, every
text padded to 128 tokens. Batch size and epochs are ours for all. --accuracy scores what comes of it on the test rows,
with the quickest flags and our learning rate: padding changes no loss, and the defaults would take hours.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure import heading
from measure.minilm import find_minilm

import modelcommons as mc
from modelcommons.workbench.engine.adapters import quiet
from modelcommons.workbench.engine.statistics import paired
from modelcommons.workbench.engine.tokenizer import open_tokenizer
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.text.classifier import load, open_network
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.resolve import resolve
from modelcommons.workbench.stages.get import get_model, get_source
from modelcommons.workbench.task import Choice, Job, Line, Parts, Rows, Task

BANK_TUNE = {"learning_rate": 2e-4, "label_smoothing": 0.1}  # as in recipes/banking77.yaml
SETS: dict[str, dict[str, Any]] = {"banking77": BANK_TUNE, "sms_spam": {}}
LONGEST = 128  # tokens, in run_classification.py
GROUPED = {"bf16": True, "train_sampling_strategy": "group_by_length"}
PEERS: dict[str, dict[str, Any]] = {
    "Trainer, defaults": {},
    "Trainer, bf16, grouped by length": GROUPED,
    "Trainer, bf16, grouped by length, one worker": GROUPED | {"dataloader_num_workers": 1},
}
QUICKEST = "Trainer, bf16, grouped by length"


@dataclass(frozen=True)
class Setting:
    task: Task
    recipe: Recipe
    parts: Parts
    base: Path  # MiniLM
    labels: list[str]
    batch_size: int


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data"))
    wanted.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    wanted.add_argument("--batch-size", type=int, default=32)
    wanted.add_argument("--steps", type=int, default=6, help="of a turn")
    wanted.add_argument("--rounds", type=int, default=3)
    wanted.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    wanted.add_argument("--accuracy", action="store_true")
    wanted.add_argument("--epochs", type=int, default=2, help="of --accuracy")
    wanted.add_argument("--rows", type=int, help="of --accuracy: trained on, drawn by chance; all when not given")
    wanted.add_argument("--seed", type=int, default=0)
    given = wanted.parse_args()
    heading()
    for name in given.sets:
        setting = prepared(name, given)
        sizes = [len(part) for part in (setting.parts.train, setting.parts.validation, setting.parts.test)]
        print(f"{name}: {sizes[0]:,} + {sizes[1]:,} + {sizes[2]:,} rows, {len(setting.labels)} labels", flush=True)
        if given.accuracy:
            compare_accuracy(setting, given.rows or len(setting.parts.train), given.epochs, given.seed)
        else:
            compare_speed(setting, given.peers, given.steps, given.rounds)
        print(flush=True)


def prepared(name: str, given: argparse.Namespace) -> Setting:
    data = {"source": str((given.data / name).resolve()), "split": {"validation": 0.05}}
    tune = {"batch_size": given.batch_size} | SETS[name]
    base = find_minilm()
    recipe = Recipe.model_validate({"task": "text-classification", "model": {"from": base}, "data": data, "tune": tune})
    task = resolve(recipe)
    options = task.options.model_validate({})
    parts = task.split(task.rows(get_source(recipe.data), {}, options), recipe.data.split, options)
    labels = sorted({parts.train[index].y for index in range(len(parts.train))})
    return Setting(task, recipe, parts, get_model(base), labels, given.batch_size)


def ours(
    setting: Setting,
    rows: Rows,
    validation: Rows,
    folder: Path,
    epochs: int,
    max_steps: int | None = None,
    seed: int = 0,
) -> Fit:
    """By the task's own door; the model folder is `folder`."""
    training = setting.recipe.tune.model_copy(update={"epochs": epochs, "seeds": (seed,)})
    with tempfile.TemporaryDirectory() as checkpoints:
        job = Job(
            Choice(setting.base), training, setting.task.options.model_validate({}), seed, folder,
            Path(checkpoints), mc.Silent(), max_steps=max_steps,
        )  # fmt: skip
        return setting.task.fit(rows, validation, job)


def peer(
    setting: Setting,
    rows: Rows,
    folder: Path,
    flags: dict[str, Any],
    epochs: int,
    max_steps: int = -1,
    seed: int = 0,
    keep: bool = False,
) -> float:
    """Seconds from the begin of Trainer's first step to the end of its last; the model folder is `folder` if kept."""
    from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
    from transformers.trainer_utils import set_seed
    from transformers.utils import logging

    class Clock(TrainerCallback):
        begun = ended = 0.0

        def on_train_begin(self, *given: Any, **more: Any) -> None:
            self.begun = time.monotonic()

        def on_train_end(self, *given: Any, **more: Any) -> None:
            self.ended = time.monotonic()

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    set_seed(seed)
    network, tokenizer, clock = open_network(setting.base, setting.labels), open_tokenizer(setting.base), Clock()
    padding = "max_length" if not flags else False
    codes = {label: code for code, label in enumerate(setting.labels)}
    kept = [rows[index] for index in range(len(rows))]
    examples = [
        dict(tokenizer(row.x, truncation=True, max_length=LONGEST, padding=padding)) | {"label": codes[row.y]}
        for row in kept
    ]
    arguments = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=setting.batch_size, num_train_epochs=epochs,
        max_steps=max_steps, seed=seed, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
        logging_strategy="no", **flags,
    )  # fmt: skip
    trainer = Trainer(
        network, arguments, train_dataset=examples, data_collator=DataCollatorWithPadding(tokenizer), callbacks=[clock]
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    if keep:
        with quiet():
            network.save_pretrained(folder)  # type: ignore[operator]
            tokenizer.save_pretrained(folder)
    return clock.ended - clock.begun


def compare_speed(setting: Setting, peers: Sequence[str], steps: int, rounds: int) -> None:
    """Everybody trains on the same `steps` batches of rows, in turns."""
    num_rows = steps * setting.batch_size
    rows = setting.parts.train.take(np.random.default_rng(0).permutation(len(setting.parts.train))[:num_rows])
    few, epochs = setting.parts.validation.take(np.arange(8)), 8
    print(f"a turn is {steps} steps of {setting.batch_size} rows\n", flush=True)

    def our_turn(folder: Path, steps: int) -> float:
        return num_rows / ours(setting, rows, few, folder, epochs, steps).seconds

    def peer_turn(flags: dict[str, Any]) -> Callable[[Path, int], float]:
        return lambda folder, steps: num_rows / peer(setting, rows, folder, flags, epochs, steps)

    turns = {"ours": our_turn} | {name: peer_turn(PEERS[name]) for name in peers}
    rates: dict[str, list[float]] = {name: [] for name in turns}
    for counted in range(-1, rounds):
        for name, turn in turns.items():
            with tempfile.TemporaryDirectory() as folder:
                rate = turn(Path(folder), steps if counted >= 0 else 1)
            if counted >= 0:
                rates[name].append(rate)
    for name, found in rates.items():
        text = f"{name}: {statistics.median(found):,.1f} rows/s ({min(found):,.1f} to {max(found):,.1f})"
        if name != "ours":
            ratios = [mine / theirs for mine, theirs in zip(rates["ours"], found, strict=True)]
            text += f" · ours is {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{text}, n = {len(found)} turns")


def compare_accuracy(setting: Setting, num_rows: int, epochs: int, seed: int) -> None:
    """Both train as many epochs on the same rows, at our learning rate; what comes of it answers the test rows."""
    parts = setting.parts
    rows = parts.train.take(np.random.default_rng(seed).permutation(len(parts.train))[:num_rows])
    print(f"{len(rows):,} rows, {epochs} epochs, seed {seed}", flush=True)
    lines: dict[str, list[Line]] = {}
    taken: dict[str, float] = {}  # seconds
    with tempfile.TemporaryDirectory() as folder:
        fit = ours(setting, rows, parts.validation, Path(folder), epochs, seed=seed)
        taken["ours"], lines["ours"] = fit.seconds, answered(parts.test, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        flags = PEERS[QUICKEST] | {"learning_rate": fit.settings["learning_rate"]}
        taken[QUICKEST] = peer(setting, rows, Path(folder), flags, epochs, seed=seed, keep=True)
        lines[QUICKEST] = answered(parts.test, Path(folder))
    p_value = paired(*(setting.task.losses(found) for found in lines.values()), seed)
    for name, found in lines.items():
        score = setting.task.scores(found)[0]
        text = f"{name}: {score.metric} {score.value:.4f} [{score.low:.4f}, {score.high:.4f}] of {score.den:,}"
        print(f"{text} after {taken[name]:.0f} s of training{' and validation' * (name == 'ours')}", flush=True)
    print(
        f"learning rate {fit.settings['learning_rate']:g} for both · as good as each other? p = {p_value:.2g}",
        flush=True,
    )


def answered(rows: Rows, folder: Path) -> list[Line]:
    """The test rows' lines, as `evaluate` would write them."""
    asked: Sequence[Any] = [rows[index] for index in range(len(rows))]
    answers = load(folder).predict(asked)
    return [{"id": row.id, "target": row.y, **answer} for row, answer in zip(asked, answers, strict=True)]


if __name__ == "__main__":
    main()
