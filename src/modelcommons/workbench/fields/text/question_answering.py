"""question-answering: the stretch of a text that answers a question about it, or that the text has no answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import BaseModel

from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.text import disturb
from modelcommons.workbench.fields.text.ngrams import WORD
from modelcommons.workbench.fields.text.spans import metrics as measures
from modelcommons.workbench.fields.text.spans import questions
from modelcommons.workbench.fields.text.spans.architectures import ARCHITECTURES
from modelcommons.workbench.fields.text.spans.kinds import kind_of
from modelcommons.workbench.fields.text.spans.overlap import BestSentence, NoAnswer, learn_rarity
from modelcommons.workbench.fields.text.spans.questions import Options
from modelcommons.workbench.task import Job, Json, Model, Parts, Reading, Row, Rows, Source, Split, Tiny

if TYPE_CHECKING:
    from modelcommons.workbench.fields.text.spans.explain import Explainer

CONTEXTS = ((100, "1-100 words"), (200, "101-200 words"), (400, "201-400 words"), (800, "401-800 words"))
ANSWERS = ((1, "1 word"), (3, "2-3 words"), (6, "4-6 words"), (12, "7-12 words"), (24, "13-24 words"))


class QuestionAnswering:
    """Questions in any language about texts of any length; a network of our own or an open model of transformers."""

    name = "question-answering"
    field = "text"
    summary = "the stretch of a text that answers a question, or that there is none"
    roles: Mapping[str, str] = {
        "question": "questions",
        "context": "texts in which the answers stand",
        "answers": "known answers and where they begin; nothing where the context has none",
        "id": "names of the questions; their place in the file when there are none, or one comes twice",
        "group": "what must not be divided between train and test: the article; the context when there is none",
        "language": "language of a row, for `data.options.language`",
    }
    options: type[BaseModel] = Options
    architectures: Mapping[str, type[BaseModel]] = ARCHITECTURES
    metrics = measures.METRICS
    open_models = ("question-answering", "fill-mask", "feature-extraction", "sentence-similarity")
    quantization: Literal["dynamic", "static"] = "dynamic"
    slices: Mapping[str, str] = {
        "question": "what is asked for, by the question word: who, what, when, ..., in English or Chinese",
        "context": "words of the context, in steps",
        "answer": "words of the first known answer, in steps; or that there is none",
    }

    disturbances: Mapping[str, str] = {name: f"in the question {words}" for name, words in disturb.DISTURBANCES.items()}

    # --- data ---

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        return questions.read(source, columns, cast(Options, options))

    def split(self, reading: Reading, how: Split, options: BaseModel) -> Parts:
        return questions.split(reading, how)

    def read_input(self, value: Any, options: BaseModel) -> list[Row]:
        """`{"question": ..., "context": ...}`, a list of such, or the path of a table or of SQuAD's JSON."""
        return questions.read_input(value)

    def target(self, row: Row) -> Json:
        """The known answers, the rules by which others are compared with them, and a short name of the context."""
        known = row.y
        return {"answers": list(known.texts), "rules": known.rules, "passage": questions.passage(row.x.context)}

    def content(self, row: Row) -> str:
        return f"{row.x.question}\n{row.x.context}"

    def slice(self, row: Row, name: str) -> str:
        if name == "question":
            return kind_of(row.x.question)
        if name == "answer" and not row.y.texts:
            return "no answer"
        text, steps = (row.x.context, CONTEXTS) if name == "context" else (row.y.texts[0], ANSWERS)
        count = sum(1 for _ in WORD.finditer(text))
        return next((words for limit, words in steps if count <= limit), f"over {steps[-1][0]} words")

    def disturb(self, row: Row, name: str) -> Row:
        """Only the question: the answer stands in the context as it is."""
        question = disturb.disturb(row.x.question, name, row.id)
        return Row(row.id, questions.Asked(question, row.x.context), row.y, row.group)

    # --- models ---

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        from modelcommons.workbench.fields.text.spans.fitting import fit

        return fit(train, validation, job)

    def load(self, folder: Path, variant: str = "") -> Model:
        from modelcommons.workbench.fields.text.spans.reader import load

        return load(folder, variant)

    def files(self, folder: Path, variant: str = "") -> list[str]:
        from modelcommons.workbench.fields.text.spans.reader import files

        return files(folder, variant)

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """The sentence that shares the rarest words with the question; no answer where most questions have none."""
        rows = [train[at] for at in range(len(train))]
        if 2 * sum(not row.y.texts for row in rows) > len(rows):
            return "no answer", NoAnswer()
        return "best sentence", BestSentence(learn_rarity(list(dict.fromkeys(row.x.context for row in rows))))

    # --- scores ---

    scores = staticmethod(measures.scores)
    losses = staticmethod(measures.losses)
    block = staticmethod(measures.block)
    changed = staticmethod(measures.changed)
    agrees = staticmethod(measures.agrees)
    figures = staticmethod(measures.figures)

    # --- more ---

    def explainer(self, folder: Path) -> Explainer:
        from modelcommons.workbench.fields.text.spans.explain import Explainer
        from modelcommons.workbench.fields.text.spans.reader import load

        return Explainer(load(folder))

    def export(self, folder: Path, out: Path) -> None:
        """ONNX: `input_ids`, `attention_mask`, what else the model reads, (batch, time), and our own networks'
        `features` (batch, time, features) -> `start_logits` and `end_logits` (batch, time)."""
        import torch

        from modelcommons.formats.model_folder import MODEL_TYPE, read_config
        from modelcommons.workbench.engine.quantize import export
        from modelcommons.workbench.fields.text.spans.reader import exportable, load, load_network

        config = read_config(folder)
        own = config["model_type"] == MODEL_TYPE
        asked = [questions.Asked("who ran home", "Ann ran home"), questions.Asked("who ran", "Bob ran")]
        encoder = load(folder).encoder
        made = encoder.collate([encoder.windows(each)[0] for each in asked])
        inputs = {name: torch.from_numpy(array) for name, array in made.items()}
        free = {name: {0: "batch", 1: "time"} for name in inputs}
        network = exportable(load_network(folder, config), own, "token_type_ids" in inputs)
        export(network, inputs, ["start_logits", "end_logits"], free, out)

    def calibration(self, folder: Path, rows: Rows) -> Iterator[dict[str, np.ndarray]]:
        """Not asked for: dynamic quantisation needs none."""
        return iter(())

    def tiny(self, folder: Path) -> Tiny:
        """`Ada the owl lives in Rome.` for several animals a text: where does one live, or what is it?

        The names are never seen before, so the answer must be found by the words that question and sentence share.
        """
        rng = np.random.default_rng(7)
        animals = ["owl", "cat", "cow", "fox", "hen", "pig"]
        cities = ["Rome", "Oslo", "Bonn", "Lima", "Baku", "Kyiv"]
        lines = []
        for number in range(90):
            names = [f"{first}{number}" for first in ("Ada", "Bob", "Cem")]
            homes = [f"{rng.choice(cities)}" for _ in names]
            facts = [
                f"{name} the {rng.choice(animals)} lives in {home}." for name, home in zip(names, homes, strict=True)
            ]
            text, at = " ".join(facts), int(rng.integers(3))
            start = text.index(facts[at]) + facts[at].index(homes[at])
            answers = {"text": [homes[at]], "answer_start": [start]}
            lines.append({"question": f"Where does {names[at]} live?", "context": text, "answers": answers})
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "homes.jsonl").write_text(text, encoding="utf-8")
        recipe = {
            "model": {"new": "convolution", "options": {"width": 16, "layers": 2, "vocabulary": 128}},
            "data": {"options": {"max_length": 40}},
            "tune": {"epochs": 4, "batch_size": 8, "learning_rate": 0.01},
        }
        return Tiny(
            source=folder, recipe=recipe, metric="f1", at_least=0.9, wrong_file="number\n1\n2\n",
            example={"question": "Where does Eve live?", "context": "Dan the cat lives in Bonn. Eve the hen in Rome."},
        )  # fmt: skip


TASK = QuestionAnswering()
