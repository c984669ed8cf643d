"""text-generation: how a text goes on, token by token; scored by what real texts cost, per character."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import BaseModel

from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.text.language import metrics as measures
from modelcommons.workbench.fields.text.language import passages
from modelcommons.workbench.fields.text.language.architectures import ARCHITECTURES
from modelcommons.workbench.fields.text.language.ngrams import ORDER, CharacterNgrams
from modelcommons.workbench.fields.text.language.passages import Options, Passages
from modelcommons.workbench.task import Job, Json, Model, Parts, Reading, Row, Rows, Source, Split, Tiny

if TYPE_CHECKING:
    from modelcommons.workbench.fields.text.language.explain import Explainer

SHOUTED = 0.5  # share of the letters


class Generation:
    """Texts of any language, as characters, bytes or pieces; a network of our own or a causal model of transformers."""

    name = "text-generation"
    field = "text"
    summary = "how a text goes on, with temperature, top-k, top-p, seed and places to stop"
    roles: Mapping[str, str] = {
        "text": "texts",
        "id": "names of the texts; their place in the file when there are none",
        "group": "texts that must not be divided between train and test: author, book, thread",
    }
    options: type[BaseModel] = Options
    architectures: Mapping[str, type[BaseModel]] = ARCHITECTURES
    metrics = measures.METRICS
    open_models = ("text-generation",)
    quantization: Literal["dynamic", "static"] = "dynamic"
    slices: Mapping[str, str] = {
        "place": "the beginning of a text, where little stands before, or later",
        "case": "mostly capitals among the letters, or not",
        "group": "the text's group, or the text",
    }

    # --- data ---

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        return passages.read(source, columns, cast(Options, options))

    def split(self, reading: Reading, how: Split, options: BaseModel) -> Parts:
        return passages.split(reading, how, cast(Options, options))

    def read_input(self, value: Any, options: BaseModel) -> list[Row]:
        """A text, `{"text": ..., "temperature": ..., ...}`, a list of such, or the path of a .txt file."""
        return passages.read_input(value)

    def target(self, row: Row) -> Json:
        """The passage itself: its characters and bytes are counted from it."""
        return row.y

    def content(self, row: Row) -> str:
        return str(row.y)

    def slice(self, row: Row, name: str) -> str:
        if name == "place":
            return "beginning" if row.x.start == 0 else "later"
        if name == "group":
            return row.group or row.id.rsplit("@", 1)[0]
        letters = [char for char in row.y if char.isalpha()]
        return "capitals" if sum(map(str.isupper, letters)) > SHOUTED * len(letters) else "usual"

    # --- models ---

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        from modelcommons.workbench.fields.text.language.fitting import fit

        return fit(cast(Passages, train), cast(Passages, validation), job)

    def load(self, folder: Path, variant: str = "") -> Model:
        from modelcommons.workbench.fields.text.language.model import load

        return load(folder, variant)

    def files(self, folder: Path, variant: str = "") -> list[str]:
        from modelcommons.workbench.fields.text.language.model import files

        return files(folder, variant)

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """How often each character followed the four before it."""
        stretches = (text for text, _ in cast(Passages, train).stretches())
        return f"{ORDER}-gram of characters", CharacterNgrams(stretches)

    # --- scores ---

    scores = staticmethod(measures.scores)
    losses = staticmethod(measures.losses)
    block = staticmethod(measures.block)
    changed = staticmethod(measures.changed)
    agrees = staticmethod(measures.agrees)
    figures = staticmethod(measures.figures)

    # --- more ---

    def explainer(self, folder: Path) -> Explainer:
        from modelcommons.workbench.fields.text.language.explain import Explainer
        from modelcommons.workbench.fields.text.language.model import load

        return Explainer(load(folder))

    def export(self, folder: Path, out: Path) -> None:
        """ONNX: `input_ids` (batch, time) -> `logits` (batch, time, vocabulary)."""
        import torch

        from modelcommons.formats.model_folder import read_config
        from modelcommons.workbench.engine.quantize import export
        from modelcommons.workbench.fields.text.language.model import exportable, load_network

        network = exportable(load_network(folder, read_config(folder)))
        ids = torch.tensor([[2, 3, 4], [3, 2, 1]])
        export(network, {"input_ids": ids}, ["logits"], {"input_ids": {0: "batch", 1: "time"}}, out)

    def calibration(self, folder: Path, rows: Rows) -> Iterator[dict[str, np.ndarray]]:
        """Not asked for: dynamic quantisation needs none."""
        return iter(())

    def tiny(self, folder: Path) -> Tiny:
        """Lines such as `owl eats mice`: the animal is any of eight, its food is its own, four letters and more away.

        A 5-gram pays for both words, a model that looks back further for one: log 8 in about 16 characters.
        """
        rng = np.random.default_rng(7)
        foods = {"owl": "mice", "cat": "fish", "cow": "hay", "bee": "nectar", "ape": "figs", "hen": "corn",
                 "fox": "grapes", "pig": "roots"}  # fmt: skip
        lines = ["text"]
        for _ in range(60):
            animals = rng.choice(list(foods), 12).tolist()
            lines.append(" ".join(f"{animal} always eats {foods[animal]}." for animal in animals))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "animals.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        recipe = {
            "model": {"new": "gpt", "options": {"width": 32, "layers": 1, "heads": 2, "ngrams": 2, "buckets": 512}},
            "data": {"options": {"join": "\n", "context": 32, "passage": 200}, "checks": []},
            "tune": {"epochs": 4, "batch_size": 8, "learning_rate": 0.02, "optimizer": "adamw"},
        }
        return Tiny(
            source=folder, recipe=recipe, metric="nats_per_char", at_least=0.17, wrong_file="number\n1\n2\n",
            example={"text": "owl always eats", "max_tokens": 8, "temperature": 0},
        )  # fmt: skip


TASK = Generation()
