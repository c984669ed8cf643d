"""translation: texts of one language in another, scored by sacreBLEU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, cast

import numpy as np
from pydantic import BaseModel, Field

from modelcommons.workbench.fields.text.sequences import pairs, translating
from modelcommons.workbench.fields.text.sequences.task import SequenceTask
from modelcommons.workbench.task import Reading, Rows, Source, Tiny


class TranslationOptions(pairs.Options):
    """`data.options` of translation."""

    tokenize: Literal["auto", "13a", "zh", "char", "intl", "none"] = Field(
        "auto", description="How sacreBLEU cuts texts into words: `zh` for Chinese, `13a` for most other languages, "
        "`char`, `intl`, `none`; `auto`: `zh` where most letters of the targets are Chinese characters, else `13a`."
    )  # fmt: skip


class Translation(SequenceTask):
    """Any pair of languages."""

    name = "translation"
    summary = "texts of one language in another"
    options: type[BaseModel] = TranslationOptions
    measures = translating
    metrics = translating.METRICS
    open_models = ("translation", "text2text-generation")
    quantization: Literal["dynamic", "static"] = "dynamic"

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        asked = cast(TranslationOptions, options)
        return pairs.read(source, columns, asked, asked.tokenize)

    def export(self, folder: Path, out: Path) -> None:
        """ONNX: `input_ids` and `attention_mask` (batch, source), `decoder_input_ids` (batch, target) -> `logits`
        (batch, target, vocabulary)."""
        import torch

        from modelcommons.formats.model_folder import read_config
        from modelcommons.workbench.engine.quantize import export
        from modelcommons.workbench.fields.text.sequences.model import load_network
        from modelcommons.workbench.fields.text.sequences.networks import exportable

        network = exportable(load_network(folder, read_config(folder)))
        ids = torch.tensor([[2, 3, 4], [3, 2, 1]])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "decoder_input_ids": ids[:, :2]}
        free = {name: {0: "batch", 1: "source"} for name in ("input_ids", "attention_mask")}
        export(network, inputs, ["logits"], {**free, "decoder_input_ids": {0: "batch", 1: "target"}}, out)

    def calibration(self, folder: Path, rows: Rows) -> Iterator[dict[str, np.ndarray]]:
        """Not asked for: dynamic quantisation needs none."""
        return iter(())

    def tiny(self, folder: Path) -> Tiny:
        """`two red owls see one cow .` in a language whose words have other names and whose colours stand behind."""
        rng = np.random.default_rng(7)
        counts = {"one": "uno", "two": "due", "ten": "dieci"}
        colors = {"red": "rossi", "blue": "blu", "grey": "grigi"}
        animals = {"owl": "gufi", "cat": "gatti", "cow": "mucche", "bee": "api"}
        lines = ["english,foreign"]
        for _ in range(200):
            picked = [(rng.choice(list(some)) for some in (counts, colors, animals)) for _ in range(2)]
            first, second = (tuple(each) for each in picked)
            said = [f"{count} {color} {animal}" for count, color, animal in (first, second)]
            told = [f"{counts[count]} {animals[animal]} {colors[color]}" for count, color, animal in (first, second)]
            lines.append(f"{said[0]} see {said[1]},{told[0]} vedono {told[1]}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "animals.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        recipe = {
            "model": {
                "new": "transformer",
                "options": {"width": 32, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "ngrams": 1,
                            "vocabulary": 420, "dropout": 0},
            },
            "data": {
                "columns": {"source": "english", "target": "foreign"}, "options": {"beam": 2, "known": 0.99},
                "checks": [],
            },
            "tune": {"epochs": 6, "batch_size": 4, "learning_rate": 0.005, "warmup": 0.2, "optimizer": "adamw"},
        }  # fmt: skip
        return Tiny(
            source=folder, recipe=recipe, metric="bleu", at_least=80.0, wrong_file="number\n1\n2\n",
            example="ten red bees see two grey owls",
        )  # fmt: skip


TASK = Translation()
