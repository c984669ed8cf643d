"""BERT's pretraining on the English classics beside transformers' Trainer on the same network: speed, and loss.

python benchmarks/pretraining.py                 # real tokens per second of a processor; everybody takes turns
python benchmarks/pretraining.py --equal-loss    # validation loss after the same pairs, and what they cost

Both read the same pairs, ask for 15 % of the tokens, drawn anew by BERT's rule, and train `BertForPreTraining` of one
size, dropout and first weights. Trainer makes its batches with `DataCollatorForLanguageModeling`, each padded to its
longest pair. Real tokens are those of the texts and what stands around them, no padding. Seconds are those of the
processor, which count this program alone whatever else the machine does: give it one thread (OMP_NUM_THREADS=1). The
first steps of a turn are not counted. Trainer needs the package accelerate.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from measure import heading

import modelcommons as mc
from modelcommons.workbench.engine.dropout import quicken
from modelcommons.workbench.engine.train import train
from modelcommons.workbench.engine.training import Defaults, Training
from modelcommons.workbench.fields.text.pretraining.architectures import BertOptions
from modelcommons.workbench.fields.text.pretraining.documents import Options
from modelcommons.workbench.fields.text.pretraining.fitting import cost, counts, loss, sample
from modelcommons.workbench.fields.text.pretraining.model import FillMask, TorchNetwork
from modelcommons.workbench.fields.text.pretraining.network import new_network
from modelcommons.workbench.fields.text.pretraining.packing import Stretches
from modelcommons.workbench.fields.text.pretraining.pairs import Pairs
from modelcommons.workbench.fields.text.pretraining.pieces import Pieces, learn_pieces
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.resolve import resolve
from modelcommons.workbench.stages.get import get_source
from modelcommons.workbench.task import Row

WARM = 2  # steps of a turn that are not counted
SCORINGS = 8  # of one training, as the loop of the workbench has them
OPTIONS = Options(whole_words=False)  # Trainer's collator draws tokens


@dataclass
class Clock:
    """When each step began, and its real tokens."""

    begun: list[float] = field(default_factory=list)  # processor seconds
    tokens: list[int] = field(default_factory=list)
    paused: float = 0.0  # processor seconds of scoring

    def step(self, tokens: int) -> None:
        self.begun.append(time.process_time())
        self.tokens.append(tokens)

    @property
    def rate(self) -> float:
        """Real tokens per processor second of the steps between the first ones and the last."""
        return sum(self.tokens[WARM:-1]) / (self.begun[-1] - self.begun[WARM])

    def score(self, value: Callable[[], float], since: float) -> float:
        """Tells what is scored, which is no part of the seconds; `since`: processor seconds when training began."""
        spent = time.process_time() - since - self.paused
        nats = value()
        self.paused = time.process_time() - since - spent
        print(f"    {sum(self.tokens):9,} real tokens, {spent:6.1f} s: {nats:.4f} nats a masked word", flush=True)
        return nats


@dataclass(frozen=True)
class Setting:
    rows: Pairs
    stretches: Stretches
    judged: list[Row]
    pieces: Pieces
    folder: Path  # of the tokenizer
    options: dict[str, Any]  # of the network
    batch_size: int
    steps: int


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data"))
    wanted.add_argument("--layers", type=int, default=4)
    wanted.add_argument("--width", type=int, default=256)
    wanted.add_argument("--heads", type=int, default=4)
    wanted.add_argument("--dropout", type=float, default=BertOptions().dropout)
    wanted.add_argument("--batch-size", type=int, default=32)
    wanted.add_argument("--steps", type=int, default=7, help="of a turn, or of a training")
    wanted.add_argument("--rounds", type=int, default=3)
    wanted.add_argument("--minutes", type=float, default=60, help="no round begins that would end later")
    wanted.add_argument("--equal-loss", action="store_true")
    wanted.add_argument("--only", choices=("adamw", "muon", "trainer"), help="with --equal-loss")
    wanted.add_argument("--rates", type=float, nargs="+", default=[1e-3], help="with --equal-loss: learning rates")
    wanted.add_argument("--seeds", type=int, nargs="+", default=[0], help="with --equal-loss")
    given = wanted.parse_args()
    heading()
    with tempfile.TemporaryDirectory() as folder:
        setting = prepared(given, Path(folder))
        if given.equal_loss:
            learn(setting, given.rates, given.seeds, given.only)
        else:
            speed(setting, given.rounds, given.minutes)


def speed(setting: Setting, rounds: int, minutes: float) -> None:
    """Everybody's real tokens per second, and ours as multiples of Trainer's in the same round."""
    turns: dict[str, Callable[[], Clock]] = {
        "ours, AdamW": lambda: ours(setting, "adamw"),
        "ours, Muon": lambda: ours(setting, "muon"),
        "Trainer": lambda: trainer(setting),
        "Trainer, bf16": lambda: trainer(setting, bf16=True),
        "Trainer, bf16, pairs of like length": lambda: trainer(
            setting, bf16=True, train_sampling_strategy="group_by_length"
        ),
    }
    rates: dict[str, list[float]] = {name: [] for name in turns}
    begun = time.monotonic()
    for done in range(rounds):
        if (time.monotonic() - begun) * (done + 1) / max(1, done) > 60 * minutes:
            break
        for name, turn in turns.items():
            rates[name].append(turn().rate)
    for name, found in rates.items():
        print(f"{name}: {statistics.median(found):,.0f} real tokens/s ({min(found):,.0f} to {max(found):,.0f})")
        for other in [other for other in rates if other.startswith("Trainer")] if name.startswith("ours") else ():
            each = [a / b for a, b in zip(found, rates[other], strict=True)]
            print(f"    {statistics.median(each):.2f} times {other} ({min(each):.2f} to {max(each):.2f})")
    print(f"n = {len(found)} turns of {setting.steps - WARM - 1} steps")


def learn(setting: Setting, rates: list[float], seeds: list[int], only: str | None) -> None:
    """What a masked word of the validation rows costs after the same pairs."""
    turns: dict[str, Callable[[float, int], Clock]] = {
        "adamw": lambda rate, seed: ours(setting, "adamw", rate, scored=True, seed=seed),
        "muon": lambda rate, seed: ours(setting, "muon", rate, scored=True, seed=seed),
        "trainer": lambda rate, seed: trainer(setting, rate, scored=True, seed=seed, bf16=True, warmup_steps=0.1),
    }
    names = {"adamw": "ours, AdamW", "muon": "ours, Muon", "trainer": "Trainer, bf16"}
    for rate, seed in itertools.product(rates, seeds):
        for name in [only] if only else turns:
            print(f"{names[name]}, learning rate {rate:g}, seed {seed}", flush=True)
            turns[name](rate, seed)


def prepared(given: argparse.Namespace, folder: Path) -> Setting:
    """Training and validation rows, tokenizer and sizes."""
    data = {"source": str((given.data / "english_books").resolve()), "license": "cc0-1.0"}
    recipe = Recipe.model_validate({"task": "fill-mask", "model": {"new": "bert"}, "data": data})
    task = resolve(recipe)
    parts = task.split(task.rows(get_source(recipe.data), {}, OPTIONS), recipe.data.split, OPTIONS)
    rows, validation = parts.train, parts.validation
    assert isinstance(rows, Pairs) and isinstance(validation, Pairs)
    sizes = BertOptions(layers=given.layers, width=given.width, heads=given.heads, dropout=given.dropout)
    texts = [sentence for text in rows.texts for sentence in text.sentences]
    pieces = learn_pieces(texts, sizes.vocabulary, sizes.length, folder)
    few = rows.take(np.random.default_rng(0).permutation(len(rows))[: given.batch_size * given.steps])
    stretches, judged = Stretches(few, pieces, OPTIONS, ask_next=True, padded=False), sample(validation)
    print(
        f"{sizes} · {given.batch_size} pairs a step, {given.steps} steps · {len(judged)} validation rows\n", flush=True
    )
    return Setting(few, stretches, judged, pieces, folder, sizes.model_dump(), given.batch_size, given.steps)


def fresh(setting: Setting, seed: int) -> Any:
    """The network with everybody's first weights."""
    import torch

    torch.manual_seed(seed)
    return new_network(setting.options, setting.pieces.size, True)


def ours(setting: Setting, optimizer: str, rate: float = 1e-3, scored: bool = False, seed: int = 0) -> Clock:
    """The project's own loop, as the workbench runs it."""
    network, clock = fresh(setting, seed), Clock()
    quicken(network)

    def batch(indices: np.ndarray, rng: np.random.Generator) -> Any:
        made = setting.stretches.batch(indices, rng)
        clock.step(len(made["input_ids"]))
        return made

    def score(_: Any) -> float:
        return clock.score(lambda: judge(setting, network), begun) if scored else 0.0

    values = {"batch_size": setting.batch_size, "epochs": 1, "optimizer": optimizer, "learning_rate": rate}
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        train(
            network, num_rows=len(setting.stretches), batch=batch, loss=loss, counts=counts(True), score=score,
            metric="nats", direction="lower", limit=0.0, training=Training.model_validate(values),
            defaults=Defaults(1, setting.batch_size, rate), seed=seed, checkpoints=Path(folder), progress=mc.Silent(),
        )  # fmt: skip
    return clock


def trainer(setting: Setting, rate: float = 5e-5, scored: bool = False, seed: int = 0, **arguments: Any) -> Clock:
    """Trainer with its defaults, but for the arguments; 5e-5 is its own learning rate."""
    from transformers import (
        DataCollatorForLanguageModeling,
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )
    from transformers.utils import logging

    from modelcommons.workbench.engine.tokenizer import open_tokenizer

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    tokenizer, network, clock = open_tokenizer(setting.folder), fresh(setting, seed), Clock()
    examples = []
    for row in setting.rows:
        sides = (row.x.first, row.x.second) if row.x.second else (row.x.first,)
        made = dict(tokenizer(*sides, truncation=True, max_length=setting.pieces.length))
        examples.append(made | {"next_sentence_label": int(row.y.next is False)})
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=OPTIONS.mask)

    def collate(rows: list[Any]) -> Any:
        made = collator(rows)
        clock.step(int(made["attention_mask"].sum()))
        return made

    every = max(1, -(-setting.steps // SCORINGS))

    class Scoring(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if scored and (state.global_step % every == 0 or state.global_step == setting.steps):
                clock.score(lambda: judge(setting, network), begun)
                network.train()

    wanted = TrainingArguments(
        output_dir=str(setting.folder / "trainer"), per_device_train_batch_size=setting.batch_size,
        max_steps=setting.steps, learning_rate=rate, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
        logging_strategy="no", seed=seed, **arguments,
    )  # fmt: skip
    run = Trainer(network, wanted, data_collator=collate, train_dataset=examples, callbacks=[Scoring()])
    run.remove_callback(PrinterCallback)
    begun = time.process_time()
    run.train()
    return clock


def judge(setting: Setting, network: Any) -> float:
    """Nats of a masked word of the validation rows, all its pieces masked."""
    import torch

    with torch.autocast("cpu", enabled=False):
        return cost(FillMask(setting.pieces, TorchNetwork(network.eval())), setting.judged)


if __name__ == "__main__":
    main()
