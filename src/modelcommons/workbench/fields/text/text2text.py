"""text2text-generation: texts turned into other texts: titles, summaries, another spelling, another form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
from pydantic import BaseModel

from modelcommons.workbench.fields.text.sequences import pairs, rewriting
from modelcommons.workbench.fields.text.sequences.pairs import Options
from modelcommons.workbench.fields.text.sequences.task import SequenceTask
from modelcommons.workbench.task import Json, Reading, Row, Source, Tiny


class Text2Text(SequenceTask):
    """Whatever two columns say of each other."""

    name = "text2text-generation"
    summary = "texts turned into other texts: titles, summaries, another spelling or form"
    options: type[BaseModel] = Options
    measures = rewriting
    metrics = rewriting.METRICS
    open_models = ("text2text-generation", "summarization", "translation")

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        return pairs.read(source, columns, cast(Options, options), "none")

    def target(self, row: Row) -> Json:
        """Every target known."""
        return {"references": list(row.y.texts)}

    def tiny(self, folder: Path) -> Tiny:
        """`07 March 1999` is to become `1999-03-07`."""
        rng = np.random.default_rng(7)
        months = ("January", "February", "March", "April", "May", "June")
        lines = ["source,target"]
        for _ in range(200):
            day, month, year = rng.integers(1, 10), rng.integers(6), rng.integers(1990, 1996)
            lines.append(f"0{day} {months[month]} {year},{year}-0{month + 1}-0{day}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dates.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        small = {"width": 32, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "ngrams": 2, "buckets": 512}
        small |= {"vocabulary": 420, "dropout": 0}
        recipe = {
            "model": {"new": "transformer", "options": small},
            "data": {"options": {"beam": 1}, "checks": []},
            "tune": {"epochs": 7, "batch_size": 4, "learning_rate": 0.005, "warmup": 0.2, "optimizer": "adamw"},
        }
        return Tiny(
            source=folder, recipe=recipe, metric="chrf", at_least=80.0, wrong_file="number\n1\n2\n",
            example="05 February 1994",
        )  # fmt: skip


TASK = Text2Text()
