"""fill-mask: which words are missing from a text; how a BERT is pretrained, or an open one goes on reading."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import BaseModel

from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.text.pretraining import metrics as measures
from modelcommons.workbench.fields.text.pretraining import pairs
from modelcommons.workbench.fields.text.pretraining.architectures import ARCHITECTURES
from modelcommons.workbench.fields.text.pretraining.documents import Options, count
from modelcommons.workbench.fields.text.pretraining.pairs import Pairs
from modelcommons.workbench.task import Job, Json, Model, Parts, Reading, Row, Rows, Source, Split, Tiny

if TYPE_CHECKING:
    from modelcommons.workbench.fields.text.pretraining.explain import Explainer

LENGTHS = ((16, "1-16 words"), (32, "17-32 words"), (64, "33-64 words"), (128, "65-128 words"))


class FillMask:
    """Documents of any language; a new BERT or a masked language model of the transformers library."""

    name = "fill-mask"
    field = "text"
    summary = "which words are missing from a text, and whether one stretch follows another: BERT's pretraining"
    roles: Mapping[str, str] = {
        "text": "documents",
        "sentences": "documents as lists of sentences, or as paragraphs of them, instead of `text`",
        "id": "names of the documents; their place in the file when there are none",
        "group": "documents that must not be divided between train and test: author, book",
    }
    options: type[BaseModel] = Options
    architectures: Mapping[str, type[BaseModel]] = ARCHITECTURES
    metrics = measures.METRICS
    open_models = ("fill-mask",)
    quantization: Literal["dynamic", "static"] = "dynamic"
    slices: Mapping[str, str] = {
        "length": "words and marks of the row, in steps",
        "pair": "the second stretch is the next, another, or there is none",
        "group": "the document's group, or the document",
    }

    # --- data ---

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        return pairs.read(source, columns, cast(Options, options))

    def split(self, reading: Reading, how: Split, options: BaseModel) -> Parts:
        return pairs.split(reading, how, cast(Options, options))

    def read_input(self, value: Any, options: BaseModel) -> list[Row]:
        """A text with `[MASK]`, `{"text": ..., "next": ...}`, a list of such, or the path of a .txt file."""
        return pairs.read_input(value)

    def target(self, row: Row) -> Json:
        return {"words": list(row.y.words), "next": row.y.next}

    def content(self, row: Row) -> str:
        """What stands in the document itself, not what was put behind it."""
        return str(row.x.stretch)

    def slice(self, row: Row, name: str) -> str:
        if name == "group":
            return row.group or row.id.rsplit("@", 1)[0]
        if name == "pair":
            return {True: "next", False: "another", None: "one stretch"}[row.y.next]
        words = sum(map(count, row.x.sides))
        return next((text for limit, text in LENGTHS if words <= limit), f"over {LENGTHS[-1][0]} words")

    # --- models ---

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        from modelcommons.workbench.fields.text.pretraining.fitting import fit

        return fit(cast(Pairs, train), cast(Pairs, validation), job)

    def load(self, folder: Path, variant: str = "") -> Model:
        from modelcommons.workbench.fields.text.pretraining.model import load

        return load(folder, variant)

    def files(self, folder: Path, variant: str = "") -> list[str]:
        from modelcommons.workbench.fields.text.pretraining.model import files

        return files(folder, variant)

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """How often each word stood in train; and what most pairs are."""
        from modelcommons.workbench.fields.text.pretraining.floor import NAME, Frequencies

        return NAME, Frequencies(cast(Pairs, train))

    # --- scores ---

    scores = staticmethod(measures.scores)
    losses = staticmethod(measures.losses)
    block = staticmethod(measures.block)
    changed = staticmethod(measures.changed)
    agrees = staticmethod(measures.agrees)
    figures = staticmethod(measures.figures)

    # --- more ---

    def explainer(self, folder: Path) -> Explainer:
        from modelcommons.workbench.fields.text.pretraining.explain import Explainer
        from modelcommons.workbench.fields.text.pretraining.model import load

        return Explainer(load(folder))

    def export(self, folder: Path, out: Path) -> None:
        """ONNX: `input_ids`, `attention_mask` and, for a BERT, `token_type_ids` (batch, time) -> `logits` (batch, time,
        vocabulary) and, where it has that head, `next` (batch, 2)."""
        import torch

        from modelcommons.workbench.engine.quantize import export
        from modelcommons.workbench.fields.text.pretraining.network import asks_next, exportable, is_bert, open_network

        network = open_network(folder)
        ids = torch.tensor([[2, 3, 4], [3, 2, 1]])
        inputs = {"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}
        if is_bert(network):
            inputs["token_type_ids"] = torch.tensor([[0, 0, 1], [0, 1, 1]])
        outputs = ["logits", "next"] if asks_next(network) else ["logits"]
        export(exportable(network), inputs, outputs, {name: {0: "batch", 1: "time"} for name in inputs}, out)

    def calibration(self, folder: Path, rows: Rows) -> Iterator[dict[str, np.ndarray]]:
        """Not asked for: dynamic quantisation needs none."""
        return iter(())

    def tiny(self, folder: Path) -> Tiny:
        """Documents of one animal each, such as `owl likes mice. owl sees mice.`: the animal tells the food and which
        sentences belong together, and both tell the animal.
        """
        rng = np.random.default_rng(7)
        foods = {"owl": "mice", "cat": "fish", "cow": "hay", "bee": "nectar", "ape": "figs", "hen": "corn"}
        lines = []
        for number in range(72):
            animal, food = list(foods.items())[number % len(foods)]
            made = [f"{animal} {rng.choice(['likes', 'sees', 'eats'])} {food}." for _ in range(12)]
            lines.append({"id": f"text {number}", "sentences": [made[:6], made[6:]]})
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "animals.jsonl").write_text(text, encoding="utf-8")
        options = {"layers": 1, "width": 64, "heads": 2, "vocabulary": 128, "length": 32, "dropout": 0.0}
        recipe = {
            "model": {"new": "bert", "options": options},
            "data": {"options": {"words": 16}, "checks": []},
            "tune": {"epochs": 6, "batch_size": 8, "learning_rate": 0.01},
        }
        return Tiny(
            source=folder, recipe=recipe, metric="masked_cross_entropy", at_least=0.8, wrong_file="number\n1\n2\n",
            example="owl likes [MASK].",
        )  # fmt: skip


TASK = FillMask()
