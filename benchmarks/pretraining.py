"""Real tokens per second of BERT pretraining on the English classics, beside transformers' Trainer on the same network.

python benchmarks/pretraining.py --peer

Real tokens are those of the texts and what stands around them, no padding. Everybody takes turns, so that what else the
machine does meets all alike; the first two steps of a turn are not counted. --peer needs the package accelerate.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure import heading

import modelcommons as mc
from modelcommons.workbench.engine.train import train
from modelcommons.workbench.engine.training import Defaults, Training
from modelcommons.workbench.fields.text.pretraining.architectures import BertOptions
from modelcommons.workbench.fields.text.pretraining.documents import Options
from modelcommons.workbench.fields.text.pretraining.fitting import PACKED, loss
from modelcommons.workbench.fields.text.pretraining.network import new_network
from modelcommons.workbench.fields.text.pretraining.packing import Stretches
from modelcommons.workbench.fields.text.pretraining.pairs import Pairs
from modelcommons.workbench.fields.text.pretraining.pieces import Pieces, learn_pieces
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.resolve import resolve
from modelcommons.workbench.stages.get import get_source

WARM = 2  # steps of a turn that are not counted


@dataclass
class Clock:
    """When each step began, and its real tokens."""

    begun: list[float]
    tokens: list[int]

    def step(self, tokens: int) -> None:
        self.begun.append(time.monotonic())
        self.tokens.append(tokens)

    @property
    def rate(self) -> float:
        """Real tokens per second of the steps between the first ones and the last."""
        return sum(self.tokens[WARM:-1]) / (self.begun[-1] - self.begun[WARM])


@dataclass(frozen=True)
class Setting:
    rows: Pairs
    pieces: Pieces
    options: dict[str, Any]  # of the network
    batch_size: int
    steps: int


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--data", type=Path, default=Path("../shared/data"))
    wanted.add_argument("--layers", type=int, default=4)
    wanted.add_argument("--width", type=int, default=256)
    wanted.add_argument("--heads", type=int, default=4)
    wanted.add_argument("--batch-size", type=int, default=32)
    wanted.add_argument("--steps", type=int, default=12)
    wanted.add_argument("--rounds", type=int, default=3)
    wanted.add_argument("--peer", action="store_true")
    given = wanted.parse_args()
    heading()
    with tempfile.TemporaryDirectory() as folder:
        setting = prepared(given, Path(folder))
        turns: dict[str, Callable[[], float]] = {
            "ours": lambda: ours(setting, "muon"),
            "ours, AdamW": lambda: ours(setting, "adamw"),
            "ours, AdamW, padded": lambda: ours(setting, "adamw", packing=False),
        }
        if given.peer:
            turns["Trainer"] = lambda: peer(setting, Path(folder), bf16=False)
            turns["Trainer, bf16"] = lambda: peer(setting, Path(folder), bf16=True)
        rates: dict[str, list[float]] = {name: [] for name in turns}
        for _ in range(given.rounds):
            for name, turn in turns.items():
                rates[name].append(turn())
    for name, found in rates.items():
        text = f"{name}: {statistics.median(found):,.0f} real tokens/s ({min(found):,.0f} to {max(found):,.0f})"
        for other in [other for other in rates if other.startswith("Trainer")] if name.startswith("ours") else ():
            ratio = statistics.median(a / b for a, b in zip(found, rates[other], strict=True))
            text += f" · {ratio:.2f} times {other}"
        print(f"{text}, n = {len(found)} turns of {given.steps - WARM - 1} steps")


def prepared(given: argparse.Namespace, folder: Path) -> Setting:
    """Training rows, tokenizer and sizes."""
    data = {"source": str((given.data / "english_books").resolve()), "license": "cc0-1.0"}
    recipe = Recipe.model_validate({"task": "fill-mask", "model": {"new": "bert"}, "data": data})
    task, options = resolve(recipe), Options()
    rows = task.split(task.rows(get_source(recipe.data), {}, options), recipe.data.split, options).train
    assert isinstance(rows, Pairs)
    sizes = BertOptions(layers=given.layers, width=given.width, heads=given.heads)
    texts = [sentence for text in rows.texts for sentence in text.sentences]
    pieces = learn_pieces(texts, sizes.vocabulary, sizes.length, folder)
    few = rows.take(np.random.default_rng(0).permutation(len(rows))[: given.batch_size * given.steps])
    print(f"{sizes} · {given.batch_size} pairs a step\n", flush=True)
    return Setting(few, pieces, sizes.model_dump(), given.batch_size, given.steps)


def ours(setting: Setting, optimizer: str, packing: bool = True) -> float:
    """Real tokens per second of the project's own loop."""
    capacity = PACKED if packing else None
    stretches = Stretches(setting.rows, setting.pieces, Options(), True, capacity)
    network, clock = new_network(setting.options, setting.pieces.size, True), Clock([], [])

    def batch(indices: np.ndarray, rng: np.random.Generator) -> Any:
        made = stretches.batch(indices, rng)
        clock.step(int((made["position_ids"] > 0).sum()) + len(made["first"]))
        return made

    training = Training.model_validate({"batch_size": setting.batch_size, "epochs": 1, "optimizer": optimizer})
    with tempfile.TemporaryDirectory() as folder:
        train(
            network, num_rows=len(stretches), batch=batch, loss=loss, score=lambda _: 0.0, metric="none",
            direction="lower", limit=0.0, training=training, defaults=Defaults(1, setting.batch_size, 1e-3), seed=0,
            checkpoints=Path(folder), progress=mc.Silent(), lengths=None if packing else stretches.lengths(),
        )  # fmt: skip
    return clock.rate


def peer(setting: Setting, folder: Path, bf16: bool) -> float:
    """Real tokens per second of Trainer with its defaults: pairs padded to the network's length, all logits made."""
    from transformers import DataCollatorForLanguageModeling, PrinterCallback, Trainer, TrainingArguments
    from transformers.utils import logging

    from modelcommons.workbench.engine.tokenizer import open_tokenizer

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    tokenizer, clock = open_tokenizer(folder), Clock([], [])
    length = setting.pieces.length
    examples = []
    for row in setting.rows:
        sides = (row.x.first, row.x.second) if row.x.second else (row.x.first,)
        made = dict(tokenizer(*sides, truncation=True, max_length=length, padding="max_length"))
        examples.append(made | {"next_sentence_label": int(row.y.next is False)})
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)

    def collate(rows: list[Any]) -> Any:
        made = collator(rows)
        clock.step(int(made["attention_mask"].sum()))
        return made

    network = new_network(setting.options, setting.pieces.size, True)
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"), per_device_train_batch_size=setting.batch_size, max_steps=setting.steps,
        bf16=bf16, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True, logging_strategy="no",
    )  # fmt: skip
    trainer = Trainer(network, arguments, data_collator=collate, train_dataset=examples)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return clock.rate


if __name__ == "__main__":
    main()
